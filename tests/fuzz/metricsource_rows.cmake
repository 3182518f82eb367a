cp_fuzz(metricsource_path_fuzz SRCS metricsource_path_fuzz.cc DEPS common_metricsource CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/metricsource_path)
cp_fuzz(metricsource_rows_fuzz SRCS metricsource_rows_fuzz.cc DEPS common_metricsource CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/metricsource_rows)
