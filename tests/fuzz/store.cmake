cp_fuzz(resp_fuzz SRCS ${CMAKE_CURRENT_LIST_DIR}/resp_fuzz.cc DEPS hub_store CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/resp)
