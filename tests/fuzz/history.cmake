cp_fuzz(history_fuzz
  SRCS ${CMAKE_CURRENT_LIST_DIR}/history_fuzz.cc
  DEPS hub_history re2::re2
  CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/history)
