cp_fuzz(spool_fuzz SRCS ${CMAKE_CURRENT_LIST_DIR}/spool_fuzz.cc DEPS collector_spool collector_spool_testing CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/spool)
