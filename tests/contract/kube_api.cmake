cp_test(kube_api_contract_test
  SRCS kube_api_test.cc
  DEPS common_kube common_kube_testing kubesim_lib test_support
  LABELS contract
  TIMEOUT 180)
set_tests_properties(kube_api_contract_test PROPERTIES ENVIRONMENT CLUSTERPULSE_CONTRACT=simulated)
# The same cases on a real kube-apiserver. PROCESSORS: it wants both cores while it starts.
add_test(NAME kube_api_contract_real COMMAND kube_api_contract_test)
set_tests_properties(kube_api_contract_real PROPERTIES
  ENVIRONMENT CLUSTERPULSE_CONTRACT=real
  LABELS e2e TIMEOUT 180 PROCESSORS 2 SKIP_REGULAR_EXPRESSION "^SKIPPED: ")
