cp_fuzz(link_fuzz SRCS ${CMAKE_CURRENT_LIST_DIR}/link_fuzz.cc DEPS collector_link collector_spool_testing CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/link)
