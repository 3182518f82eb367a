cp_fuzz(wire_fuzz SRCS ${CMAKE_CURRENT_LIST_DIR}/wire_fuzz.cc DEPS common_wire CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/wire)
