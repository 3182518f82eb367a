cp_library(test_victoria_metrics
  SRCS ${CMAKE_CURRENT_LIST_DIR}/victoria_metrics_server.cc
  DEPS test_support common_http common_json fmt::fmt)
target_compile_definitions(test_victoria_metrics PRIVATE CLUSTERPULSE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
