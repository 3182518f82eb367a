cp_fuzz(quantity_fuzz SRCS quantity_fuzz.cc DEPS common_kube CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/quantity)
