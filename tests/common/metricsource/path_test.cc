#include "common/metricsource/path.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace clusterpulse::metricsource {
namespace {

// Keys as they are, indexes as "#n", fan-out as "*".
std::vector<std::string> Segments(const Path& path) {
  std::vector<std::string> out;
  for (const Path::Segment& segment : path.segments()) {
    switch (segment.type) {
      case Path::Segment::Type::kKey:
        out.push_back(segment.key);
        break;
      case Path::Segment::Type::kIndex:
        out.push_back("#" + std::to_string(segment.index));
        break;
      case Path::Segment::Type::kAll:
        out.push_back("*");
        break;
    }
  }
  return out;
}

using Texts = std::vector<std::string>;

TEST_CASE("paths are read into segments") {
  struct Case {
    std::string text;
    Texts segments;
  };
  const auto c = GENERATE(values<Case>({
      {".status.usage.disk", {"status", "usage", "disk"}},
      {"status..state.", {"status", "state"}},
      {".spec.routes[0].names[11]", {"spec", "routes", "#0", "names", "#11"}},
      {".b.[1]", {"b", "#1"}},
      {"[3].y", {"#3", "y"}},
      {"..y", {"y"}},
      {".n.0", {"n", "0"}},
      {".", {}},
      {"...", {}},
      {".list[-1].x", {"list", "#-1", "x"}},
      {".list[+1][01]", {"list", "#1", "#1"}},
      {".list[-0]", {"list", "#0"}},
      {".list[99999999999999999999]", {"list", "#9223372036854775807"}},
      {".list[-99999999999999999999]", {"list", "#-9223372036854775807"}},
      {".spec.boxes[*].image", {"spec", "boxes", "*", "image"}},
      {".a[*][*]", {"a", "*", "*"}},
      {".metadata.labels['shop.io/tier']", {"metadata", "labels", "shop.io/tier"}},
      {".metadata.labels[\"shop.io/tier\"].x", {"metadata", "labels", "shop.io/tier", "x"}},
      {"['a]b'].c", {"a]b", "c"}},
      {"['it\\'s']", {"it's"}},
      {"[\"a\\\\b\\c\"]", {"a\\b\\c"}},
      {"['']", {""}},
      {"['*']", {"*"}},
      {"['0']", {"0"}},
      {".metadata.labels.shop\\.io/tier", {"metadata", "labels", "shop.io/tier"}},
      {".a\\[0\\].b\\\\c", {"a[0]", "b\\c"}},
      {".a\\q", {"a\\q"}},
      {".größe.単位", {"größe", "単位"}},
      {".a b.c-d", {"a b", "c-d"}},
  }));
  CAPTURE(c.text);
  Diagnostics diagnostics;
  const auto path = Path::Compile(c.text, "spec.fields[0].path", diagnostics);
  REQUIRE(path.has_value());
  CHECK(Segments(*path) == c.segments);
  CHECK(diagnostics.items().empty());
  CHECK(path->text() == c.text);
  CHECK(path->fans_out() == (c.text.find("[*]") != std::string::npos));
}

TEST_CASE("what upstream reads oddly keeps its meaning, with a warning") {
  struct Case {
    std::string text;
    Texts segments;
    int column;
    std::string suggestion;
  };
  const auto c = GENERATE(values<Case>({
      {".b[0", {"b", "0"}, 3, ""},
      {".b]c", {"b]c"}, 3, ""},
      {"$.spec.y", {"$", "spec", "y"}, 1, ".spec.y"},
      {"{.spec.y}", {"{", "spec", "y}"}, 1, ".spec.y"},
  }));
  CAPTURE(c.text);
  Diagnostics diagnostics;
  const auto path = Path::Compile(c.text, "spec.fields[0].path", diagnostics);
  REQUIRE(path.has_value());
  CHECK(Segments(*path) == c.segments);
  CHECK_FALSE(diagnostics.has_errors());
  REQUIRE(diagnostics.items().size() == 1);
  CHECK(diagnostics.items()[0].column == c.column);
  CHECK(diagnostics.items()[0].suggestion == c.suggestion);
}

TEST_CASE("paths that lead nowhere are refused, with their column") {
  struct Case {
    std::string text;
    int column;
    std::string suggestion;
  };
  const auto c = GENERATE(values<Case>({
      {"", 0, ""},
      {".labels[tier]", 9, "['tier']"},
      {".größe[x]", 8, "['x']"},
      {".a[]", 4, "[*]"},
      {".a[1.5]", 4, "['1.5']"},
      {".a[ 1]", 4, "[' 1']"},
      {".a[?(@.b==1)]", 4, "['?(@.b==1)']"},
      {".a[0:2]", 4, "['0:2']"},
      {".a['b]", 4, ""},
      {".a['b'c]", 7, ""},
      {".a['b'", 7, ""},
      {".a\xff", 0, ""},
  }));
  CAPTURE(c.text);
  Diagnostics diagnostics;
  CHECK_FALSE(Path::Compile(c.text, "spec.fields[3].path", diagnostics).has_value());
  CHECK(diagnostics.errors() == 1);
  REQUIRE_FALSE(diagnostics.items().empty());
  CHECK(diagnostics.items().back().path == "spec.fields[3].path");
  CHECK(diagnostics.items().back().column == c.column);
  CHECK(diagnostics.items().back().suggestion == c.suggestion);
}

TEST_CASE("paths are bounded") {
  Diagnostics diagnostics;
  std::string deep;
  for (std::size_t i = 0; i < Path::kMaxSegments; ++i) deep += ".a";
  CHECK(Path::Compile(deep, "p", diagnostics).has_value());
  CHECK_FALSE(Path::Compile(deep + ".a", "p", diagnostics).has_value());
  CHECK(Path::Compile("." + std::string(Path::kMaxBytes - 1, 'k'), "p", diagnostics).has_value());
  CHECK_FALSE(Path::Compile("." + std::string(Path::kMaxBytes, 'k'), "p", diagnostics).has_value());
  CHECK(diagnostics.errors() == 2);
}

TEST_CASE("upstream's segments are made as it makes them") {
  struct Case {
    std::string text;
    Texts segments;
  };
  const auto c = GENERATE(values<Case>({
      {".status.usage.disk", {"status", "usage", "disk"}},
      {"status..state.", {"status", "state"}},
      {".spec.routes[0].names[11]", {"spec", "routes", "[0]", "names", "[11]"}},
      {".b.[1]", {"b", "[1]"}},
      {"[3].y", {"[3]", "y"}},
      {".b[0", {"b", "0"}},
      {".b]c", {"b]c"}},
      {"..y", {"y"}},
      {".n.0", {"n", "0"}},
      {".boxes[*].image", {"boxes", "[*]", "image"}},
      {".metadata.labels['shop.io/tier']", {"metadata", "labels", "['shop.io/tier']"}},
      {"['a]b'].c", {"['a]", "b']", "c"}},
      {"$.spec.y", {"$", "spec", "y"}},
      {"{.spec.y}", {"{", "spec", "y}"}},
      {".a\\.b", {"a\\", "b"}},
      {".\xc3\xa9", {"\xc3\x83\xc2\xa9"}},
      {".a[\xc3\xa9]", {"a", "[\xc3\x83\xc2\xa9]"}},
      {".", {}},
      {"", {}},
  }));
  CAPTURE(c.text);
  CHECK(UpstreamPathSegments(c.text) == c.segments);
}

TEST_CASE("what can hold secrets is not read") {
  struct Case {
    std::string text;
    bool of_secret, of_other;
  };
  const auto c = GENERATE(values<Case>({
      {".metadata.name", true, true},
      {".type", true, true},
      {".", true, true},
      {".metadata", true, true},
      {".metadata.annotations", true, true},
      {".metadata.annotations['team']", true, true},
      {".data", false, true},
      {".data.password", false, true},
      {"['data']['password']", false, true},
      {".data[*]", false, true},
      {".stringData.password", false, true},
      {".immutable", false, true},
      {"[0]", false, true},
      {".metadata.annotations['kubectl.kubernetes.io/last-applied-configuration']", false, false},
      {".metadata.annotations.kubectl\\.kubernetes\\.io/last-applied-configuration", false, false},
      {".metadata.annotations['kubectl.kubernetes.io/last-applied-configuration'][0]", false, false},
      {".spec.annotations['kubectl.kubernetes.io/last-applied-configuration']", false, true},
  }));
  CAPTURE(c.text);
  Diagnostics diagnostics;
  const auto path = Path::Compile(c.text, "p", diagnostics);
  REQUIRE(path.has_value());
  CHECK(CheckReadable(*path, true, "p", diagnostics) == c.of_secret);
  CHECK(CheckReadable(*path, false, "p", diagnostics) == c.of_other);
  CHECK(diagnostics.errors() == (c.of_secret ? 0u : 1u) + (c.of_other ? 0u : 1u));
}

}  // namespace
}  // namespace clusterpulse::metricsource
