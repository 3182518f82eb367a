cp_test(kube_cache_test
  SRCS object_meta_test.cc quantity_test.cc lister_test.cc watch_cache_test.cc
  DEPS common_kube
  TIMEOUT 120)
