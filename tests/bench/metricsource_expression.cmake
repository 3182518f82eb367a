cp_binary(metricsource_expression_bench SRCS metricsource_expression_bench.cc ../support/counted_allocations.cc DEPS common_metricsource fmt::fmt)
add_test(NAME metricsource_expression_bench_smoke COMMAND metricsource_expression_bench --smoke)
set_tests_properties(metricsource_expression_bench_smoke PROPERTIES LABELS "bench" TIMEOUT 120)
