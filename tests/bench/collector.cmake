# The hub at the other end is the one of the link's tests: real gRPC with TLS.
cp_binary(collector_memory_bench
  SRCS collector_memory_bench.cc ../collector/link/test_hub.cc
  DEPS common_base common_http common_json common_wire gRPC::grpc++ http_testing test_support CLI11::CLI11)
add_dependencies(collector_memory_bench clusterpulse-collector kubesim)
add_test(NAME collector_memory_bench_smoke
  COMMAND collector_memory_bench --nodes 10 --pods-per-node 5 --interval 5 --settle 0 --seconds 2)
set_tests_properties(collector_memory_bench_smoke PROPERTIES LABELS "bench" TIMEOUT 120)

cp_binary(collector_sources_memory_bench
  SRCS collector_sources_memory_bench.cc ../collector/link/test_hub.cc
  DEPS common_base common_http common_json common_wire gRPC::grpc++ http_testing kubesim_lib test_support CLI11::CLI11)
add_dependencies(collector_sources_memory_bench clusterpulse-collector)
add_test(NAME collector_sources_memory_bench_smoke
  COMMAND collector_sources_memory_bench --objects 1200 --runs 1 --settle 0)
set_tests_properties(collector_sources_memory_bench_smoke PROPERTIES LABELS "bench" TIMEOUT 120)
