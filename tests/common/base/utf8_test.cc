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

TEST_CASE("text is cut between characters") {
  struct Case {
    std::string text;
    std::size_t most;
    std::string cut, shortened;
  };
  const Case c = GENERATE(values<Case>({{"abc", 3, "abc", "abc"},
                                        {"abcd", 3, "abc", "abc..."},
                                        {"aü", 2, "a", "a..."},
                                        {"aü", 3, "aü", "aü"},
                                        {"😀x", 3, "", "..."},
                                        {"", 0, "", ""}}));
  CHECK(CutUtf8(c.text, c.most) == c.cut);
  CHECK(Shortened(c.text, c.most) == c.shortened);
}

TEST_CASE("code points become sequences") {
  for (const std::string text : {"a", "ü", "€", "😀"}) {
    const std::uint32_t point = text == "a" ? 0x61 : text == "ü" ? 0xFC : text == "€" ? 0x20AC : 0x1F600;
    std::string out;
    AppendUtf8(out, point);
    CHECK(out == text);
  }
}

}  // namespace
}  // namespace clusterpulse::base
