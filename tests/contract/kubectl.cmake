cp_test(kubectl_contract_test
  SRCS kubectl_test.cc
  DEPS common_kube kubesim_lib test_support
  LABELS e2e
  TIMEOUT 180)
target_compile_definitions(kubectl_contract_test PRIVATE CLUSTERPULSE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
set_tests_properties(kubectl_contract_test PROPERTIES PROCESSORS 2 SKIP_REGULAR_EXPRESSION "^SKIPPED: ")
