#include "common/metricsource/text_functions.h"

#include <string>

#include <catch2/catch.hpp>

namespace clusterpulse::metricsource {
namespace {

std::string Change(std::string_view text, bool to_upper) {
  TextArena arena;
  std::string_view out;
  REQUIRE(ChangeCase(text, to_upper, arena, out));
  return std::string(out);
}

TEST_CASE("case changes one character for one, in any language, and may change sizes") {
  CHECK(Change("straße-äé", true) == "STRAßE-ÄÉ");
  CHECK(Change("СЕРВЕР", false) == "сервер");
  CHECK(Change("ı", true) == "I");         // two bytes to one
  CHECK(Change("\xC9\x90", true) == "Ɐ");  // two bytes to three
  CHECK(Change("ǆ", true) == "Ǆ");
  CHECK(Change("中文😀", true) == "中文😀");
  CHECK(Change("", true).empty());
}

TEST_CASE("text that does not change is not copied") {
  TextArena arena;
  std::string_view out;
  const std::string_view text = "already-lower-42";
  REQUIRE(ChangeCase(text, false, arena, out));
  CHECK(out.data() == text.data());
}

TEST_CASE("text that is over the bound is not made") {
  TextArena arena;
  std::string_view out = "as before";
  CHECK_FALSE(ChangeCase(std::string(TextArena::kMaxBytes + 1, 'x'), true, arena, out));
  CHECK(out == "as before");
  REQUIRE(arena.Allocate(TextArena::kMaxBytes - 3) != nullptr);
  CHECK_FALSE(FormatBytes(1024, arena, out));
}

TEST_CASE("parts that meet in bytes meet, wherever they are cut") {
  const std::string text = "a\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80z";
  for (std::int64_t cut = 1; cut < static_cast<std::int64_t>(text.size()); ++cut) {
    CAPTURE(cut);
    const std::string head(Substring(text, 0, cut)), tail(Substring(text, cut, INT64_MAX));
    CHECK(head + tail == text);
    CHECK(static_cast<std::int64_t>(head.size()) <= cut);
  }
  CHECK(Substring("ab", 1, INT64_MAX) == "b");
  CHECK(Substring("ab", INT64_MAX, 1).empty());
  CHECK(Substring("ab", INT64_MIN, INT64_MAX).empty());
  CHECK(Substring("ab", 0, INT64_MIN).empty());
}

TEST_CASE("sizes that no disk has are written too") {
  TextArena arena;
  std::string_view out;
  REQUIRE(FormatBytes(1.7976931348623157e308, arena, out));
  CHECK(out.ends_with(".00Pi"));
  REQUIRE(FormatBytes(-1.7976931348623157e308, arena, out));
  CHECK(out.ends_with(".00B"));
  CHECK(out.size() == 314);
}

}  // namespace
}  // namespace clusterpulse::metricsource
