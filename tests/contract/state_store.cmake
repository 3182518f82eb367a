cp_test(state_store_contract_test
  SRCS ${CMAKE_CURRENT_LIST_DIR}/state_store_test.cc
  DEPS hub_store test_redis
  LABELS contract TIMEOUT 240)
