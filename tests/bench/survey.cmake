cp_library(bench_pod_pages SRCS pod_pages.cc DEPS fmt::fmt)
target_compile_definitions(bench_pod_pages PRIVATE CLUSTERPULSE_POD_DATA="${CMAKE_CURRENT_SOURCE_DIR}/data/pods.json")

cp_bench(survey_bench SRCS survey_bench.cc DEPS bench_pod_pages common_json common_kube common_survey)
target_include_directories(survey_bench SYSTEM PRIVATE ${RAPIDJSON_INCLUDE_DIRS})

cp_bench(survey_memory_bench SRCS survey_memory_bench.cc DEPS bench_pod_pages common_http common_kube common_survey)
