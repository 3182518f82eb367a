cp_binary(wire_bench SRCS wire_bench.cc ../support/counted_allocations.cc DEPS common_wire cp_proto fmt::fmt)
add_test(NAME wire_bench_smoke COMMAND wire_bench --smoke)
set_tests_properties(wire_bench_smoke PROPERTIES LABELS "bench" TIMEOUT 120)
