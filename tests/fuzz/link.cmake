cp_fuzz(link_fuzz SRCS ${CMAKE_CURRENT_LIST_DIR}/link_fuzz.cc DEPS collector_link CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/link)
