cp_bench(store_bench SRCS ${CMAKE_CURRENT_LIST_DIR}/store_bench.cc DEPS common_tls hub_store test_redis)
