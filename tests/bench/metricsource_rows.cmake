# From a page of objects to rows, and from rows to aggregations. The short run is a test.
cp_binary(metricsource_rows_bench
  SRCS metricsource_rows_bench.cc
  DEPS bench_pod_pages common_json common_kube common_metricsource fmt::fmt)
target_include_directories(metricsource_rows_bench SYSTEM PRIVATE ${RAPIDJSON_INCLUDE_DIRS})
add_test(NAME metricsource_rows_bench_smoke COMMAND metricsource_rows_bench --smoke)
set_tests_properties(metricsource_rows_bench_smoke PROPERTIES LABELS "bench" TIMEOUT 120)
