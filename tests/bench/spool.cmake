cp_bench(spool_bench SRCS ${CMAKE_CURRENT_LIST_DIR}/spool_bench.cc DEPS collector_spool test_support)
