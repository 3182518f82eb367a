#include "common/json/validate.h"

#include <string>

#include <catch2/catch.hpp>

namespace clusterpulse::json {
namespace {

TEST_CASE("only one whole JSON object in UTF-8 is one") {
  struct Case {
    std::string text;
    bool is_object;
  };
  const Case c = GENERATE(values<Case>({
      {"{}", true},
      {" {\"a\":[1,-2.5e3,null,true,{\"b\":\"\\u00e9\\n\"}]} ", true},
      {"{\"a\":\"\xc3\xa9\"}", true},
      {"", false},
      {"null", false},
      {"[1]", false},
      {"{\"a\":1}{}", false},
      {"{\"a\":1} x", false},
      {"{\"a\":}", false},
      {"{\"a\":01}", false},
      {"{\"a\":NaN}", false},
      {"{\"a\":\"\xff\"}", false},
      {"{\"a\":\"\n\"}", false},
      {"{'a':1}", false},
      {"{\"a\":1", false},
      {std::string("{\"a\":1}\0", 8), false},
  }));
  CAPTURE(c.text);
  CHECK(IsObject(c.text) == c.is_object);
}

TEST_CASE("nesting costs no stack") {
  const std::size_t depth = 200'000;
  std::string text;
  for (std::size_t i = 0; i < depth; ++i) text += "{\"a\":";
  text += "1" + std::string(depth, '}');
  CHECK(IsObject(text));
}

}  // namespace
}  // namespace clusterpulse::json
