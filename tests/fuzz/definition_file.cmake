cp_fuzz(definition_file_fuzz
  SRCS definition_file_fuzz.cc
  DEPS collector_sources collector_spool collector_spool_testing
  CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/definition_file)
