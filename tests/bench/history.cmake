# The writer of samples against a real VictoriaMetrics, and curl beside it. The short run is a test.
cp_binary(history_bench
  SRCS history_bench.cc
  DEPS common_base cp_malloc fmt::fmt hub_history http_testing test_support test_victoria_metrics)
add_test(NAME history_bench_smoke COMMAND history_bench --smoke)
set_tests_properties(history_bench_smoke PROPERTIES LABELS "bench" TIMEOUT 120 SKIP_RETURN_CODE 77)
