#include "common/base/utf8.h"

#include <string>

#include <catch2/catch.hpp>

namespace clusterpulse::base {
namespace {

TEST_CASE("what is UTF-8") {
  struct Case {
    std::string name, text;
    bool ok;
  };
  const std::vector<Case> cases = {
      {"nothing", "", true},
      {"ASCII", "a\x7f\x01", true},
      {"two bytes", "\xc2\x80\xdf\xbf", true},
      {"three bytes", "\xe0\xa0\x80\xef\xbf\xbf", true},
      {"four bytes", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", true},
      {"a lone tail", "a\x80", false},
      {"overlong, two bytes", "\xc1\xbf", false},
      {"overlong, three bytes", "\xe0\x9f\xbf", false},
      {"overlong, four bytes", "\xf0\x8f\xbf\xbf", false},
      {"a surrogate", "\xed\xa0\x80", false},
      {"beyond Unicode", "\xf4\x90\x80\x80", false},
      {"no such byte", "\xf8\x88\x80\x80\x80", false},
      {"cut after one", "\xc3", false},
      {"cut after two", "\xe2\x82", false},
      {"cut after three", "\xf0\x9f\x98", false},
      {"no tail", "\xc3(", false},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) { CHECK(IsUtf8(c.text) == c.ok); }
  }
}

}  // namespace
}  // namespace clusterpulse::base
