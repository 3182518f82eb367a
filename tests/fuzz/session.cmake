cp_fuzz(session_fuzz SRCS ${CMAKE_CURRENT_LIST_DIR}/session_fuzz.cc DEPS hub_ingest_testing hub_history_testing CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/session)
