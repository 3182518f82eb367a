# The hub's reader alone, not all of hub_app.
cp_fuzz(yaml_fuzz
  SRCS yaml_fuzz.cc ${CMAKE_SOURCE_DIR}/hub/app/yaml.cc
  DEPS common_base common_json yaml-cpp
  CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/yaml)
