#include "common/base/wildcard.h"

#include <string>

#include <catch2/catch.hpp>

namespace clusterpulse::base {
namespace {

TEST_CASE("wildcards match the whole text, a star for any run and a question mark for one character") {
  struct Case {
    std::string pattern, text;
    bool matches;
  };
  const Case c = GENERATE(values<Case>({
      {"team-*", "team-", true},
      {"team-*", "team-a", true},
      {"team-*", "xteam-a", false},
      {"t?m", "tim", true},
      {"t?m", "tm", false},
      {"t?m", "t\xc3\xbcm", true},  // one character of two bytes
      {"t??m", "t\xc3\xbcm", false},
      {"?", "\xff", true},  // no UTF-8: a byte is one
      {"a.b", "a.b", true},
      {"a.b", "acb", false},
      {"a+b", "a+b", true},
      {"a|b", "a", false},
      {"a|b", "a|b", true},
      {"[a]", "a", false},
      {"*", "", true},
      {"", "", true},
      {"", "a", false},
      {"A*", "a1", false},
      {"*-test", "web-test-test", true},
      {"*a*b*c", "xxaxxbxxc", true},
      {"*a*b*c", "xxaxxbxxcx", false},
      {"a**b", "ab", true},
      {"abc", "ab", false},
      {"*\xbc", "t\xc3\xbc", false},  // a run ends between characters
  }));
  CAPTURE(c.pattern, c.text);
  CHECK(MatchesWildcard(c.pattern, c.text) == c.matches);
}

TEST_CASE("a pattern of many stars takes no more than its length times the text's") {
  const std::string pattern = std::string(200, '*') + std::string(200, 'a') + "b";
  CHECK_FALSE(MatchesWildcard(pattern, std::string(20000, 'a')));
}

}  // namespace
}  // namespace clusterpulse::base
