cp_library(test_redis SRCS ${CMAKE_CURRENT_LIST_DIR}/redis_server.cc DEPS test_support fmt::fmt)
target_compile_definitions(test_redis PRIVATE CLUSTERPULSE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
