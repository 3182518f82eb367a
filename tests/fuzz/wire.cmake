cp_fuzz(wire_fuzz SRCS ${CMAKE_CURRENT_LIST_DIR}/wire_fuzz.cc DEPS common_wire cp_proto fmt::fmt CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/wire)
