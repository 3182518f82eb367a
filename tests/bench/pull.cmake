cp_binary(pull_bench SRCS pull_bench.cc DEPS test_support CLI11::CLI11)
add_dependencies(pull_bench clusterpulse-hub kubesim)
