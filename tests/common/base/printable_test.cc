#include "common/base/printable.h"

#include <catch2/catch.hpp>

namespace clusterpulse::base {
namespace {

TEST_CASE("a text of others is cut and loses what is not printable") {
  struct Case {
    const char* text;
    const char* want;
  };
  const Case c = GENERATE(values<Case>({{"", ""},
                                        {" plain~", " plain~"},
                                        {"a\nb\x7f\xff", "a?b??"},
                                        {"gr\xc3\xbc\xc3\x9f", "gr????"},
                                        {"0123456789", "01234567"}}));
  CHECK(Printable(c.text, 8) == c.want);
}

}  // namespace
}  // namespace clusterpulse::base
