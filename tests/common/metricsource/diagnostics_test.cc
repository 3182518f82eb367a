#include "common/metricsource/diagnostics.h"

#include <array>
#include <string>

#include <catch2/catch.hpp>

namespace clusterpulse::metricsource {
namespace {

TEST_CASE("a diagnostic says where, what and what was perhaps meant") {
  Diagnostics diagnostics;
  diagnostics.ErrorAt("spec.computed[2].expression", 14, "unknown function \"rouns\"", "round");
  diagnostics.Warning("spec.aggregations[0].field", "count counts rows, its field is not read");
  diagnostics.Error("", "the file is empty");
  REQUIRE(diagnostics.items().size() == 3);
  CHECK(diagnostics.items()[0].ToString() ==
        "spec.computed[2].expression:14: unknown function \"rouns\", did you mean \"round\"?");
  CHECK(diagnostics.items()[1].ToString() == "spec.aggregations[0].field: count counts rows, its field is not read");
  CHECK(diagnostics.items()[2].ToString() == "the file is empty");
  CHECK(diagnostics.errors() == 2);
  CHECK(diagnostics.Summary() ==
        "spec.computed[2].expression:14: unknown function \"rouns\", did you mean \"round\"?\nthe file is empty");
}

TEST_CASE("warnings refuse nothing") {
  Diagnostics diagnostics;
  diagnostics.WarningAt("spec.computed[0].expression", 3, "always false");
  CHECK_FALSE(diagnostics.has_errors());
  CHECK(diagnostics.Summary().empty());
}

TEST_CASE("what is too much is counted, and still refuses") {
  Diagnostics diagnostics;
  for (std::size_t i = 0; i < Diagnostics::kMax; ++i) diagnostics.Warning("spec", "odd");
  diagnostics.Error("spec", "wrong");
  CHECK(diagnostics.items().size() == Diagnostics::kMax);
  CHECK(diagnostics.left_out() == 1);
  CHECK(diagnostics.has_errors());
  CHECK(diagnostics.Summary() == "and 1 more");
}

TEST_CASE("the nearest candidate is one that could have been meant") {
  constexpr std::array<std::string_view, 6> kNames = {"round", "floor", "ceil", "coalesce", "startsWith", "min"};
  CHECK(Nearest("rouns", kNames) == "round");
  CHECK(Nearest("Round", kNames) == "round");
  CHECK(Nearest("colaesce", kNames) == "coalesce");
  CHECK(Nearest("startswiths", kNames) == "startsWith");
  CHECK(Nearest("mni", kNames) == "min");
  CHECK(Nearest("mx", kNames).empty());
  CHECK(Nearest("frobnicate", kNames).empty());
  CHECK(Nearest("", kNames).empty());
  CHECK(Nearest(std::string(100'000, 'r'), kNames).empty());
  CHECK(Nearest("round", {}).empty());
}

}  // namespace
}  // namespace clusterpulse::metricsource
