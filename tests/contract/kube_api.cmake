cp_test(kube_api_contract_test
  SRCS kube_api_test.cc
  DEPS common_kube common_kube_testing kubesim_lib
  LABELS contract
  TIMEOUT 180)
