cp_fuzz(kubeconfig_fuzz
  SRCS ${CMAKE_CURRENT_LIST_DIR}/kubeconfig_fuzz.cc
  DEPS common_kube
  CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/kubeconfig)
cp_fuzz(watch_stream_fuzz
  SRCS ${CMAKE_CURRENT_LIST_DIR}/watch_stream_fuzz.cc
  DEPS common_kube
  CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/watch_stream)
