#include "common/metricsource/text_dictionary.h"

#include <string>

#include <catch2/catch.hpp>

namespace clusterpulse::metricsource {
namespace {

TEST_CASE("texts have numbers in the order they came, each once") {
  TextDictionary texts;
  CHECK(texts.Find("a") == TextDictionary::kNone);
  CHECK(texts.Add("a") == 0);
  CHECK(texts.Add("") == 1);
  CHECK(texts.Add("b") == 2);
  CHECK(texts.Add("a") == 0);
  CHECK(texts.Add("") == 1);
  CHECK(texts.Find("b") == 2);
  CHECK(texts.Find("c") == TextDictionary::kNone);
  CHECK(texts.size() == 3);
  CHECK(texts.Get(2) == "b");
}

TEST_CASE("texts stay where they are while others come") {
  TextDictionary texts;
  texts.Add("first");
  const char* const first = texts.Get(0).data();
  const std::string large(200'000, 'x');
  for (int i = 0; i < 10'000; ++i) REQUIRE(texts.Add("text " + std::to_string(i)) == static_cast<unsigned>(i) + 1);
  CHECK(texts.Add(large) == 10'001);
  for (int i = 0; i < 10'000; ++i) REQUIRE(texts.Add("text " + std::to_string(i)) == static_cast<unsigned>(i) + 1);
  CHECK(texts.Get(0).data() == first);
  CHECK(texts.Get(10'001) == large);
  CHECK(texts.Find(large) == 10'001);
  const TextDictionary moved = std::move(texts);
  CHECK(moved.Get(0).data() == first);
  CHECK(moved.MemoryBytes() > large.size());
}

TEST_CASE("appended texts have numbers of their own") {
  TextDictionary texts;
  CHECK(texts.Append("n") == 0);
  CHECK(texts.Append("n") == 1);
  CHECK(texts.Get(1) == "n");
}

}  // namespace
}  // namespace clusterpulse::metricsource
