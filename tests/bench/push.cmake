# Push mode: the real hub, Redis, kubesim. The short run of each is a test.
cp_library(bench_push
  SRCS push_rig.cc redis_replay.cc
  DEPS absl::strings common_base common_kube common_tls fleetload_lib hub_store test_redis test_support
  PRIVATE_DEPS http_testing)

cp_binary(plain_server SRCS plain_server.cc DEPS common_app cp_malloc cp_proto gRPC::grpc++)

foreach(bench ingest_bench push_bench streams_bench latency_bench config_bench)
  cp_binary(${bench} SRCS ${bench}.cc DEPS bench_push common_http)
  add_dependencies(${bench} clusterpulse-hub kubesim plain_server)
  add_test(NAME ${bench}_smoke COMMAND ${bench} --smoke)
  set_tests_properties(${bench}_smoke PROPERTIES LABELS "bench" TIMEOUT 120 SKIP_RETURN_CODE 77)
endforeach()
add_dependencies(latency_bench clusterpulse-collector)

# The collector's side is in the program; VictoriaMetrics beside.
cp_binary(drain_bench
  SRCS drain_bench.cc
  DEPS bench_push collector_link_grpc collector_spool cp_malloc ingest_raw_client test_victoria_metrics)
add_dependencies(drain_bench clusterpulse-hub kubesim)
add_test(NAME drain_bench_smoke COMMAND drain_bench --smoke)
set_tests_properties(drain_bench_smoke PROPERTIES LABELS "bench" TIMEOUT 180 SKIP_RETURN_CODE 77)
