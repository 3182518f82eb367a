cp_fuzz(config_fuzz SRCS config_fuzz.cc DEPS common_config CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/config)
