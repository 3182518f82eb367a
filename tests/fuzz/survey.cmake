cp_fuzz(survey_fuzz SRCS survey_fuzz.cc DEPS common_survey CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/survey)
