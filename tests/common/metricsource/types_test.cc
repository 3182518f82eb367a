#include "common/metricsource/types.h"

#include <set>
#include <string_view>

#include <catch2/catch.hpp>

namespace clusterpulse::metricsource {
namespace {

TEST_CASE("each word names one thing and comes back as that word") {
  for (const std::string_view word : FieldTypeNames()) CHECK(Name(ParseFieldType(word).value()) == word);
  for (const std::string_view word : ResultTypeNames()) CHECK(Name(ParseResultType(word).value()) == word);
  for (const std::string_view word : AggregationFunctionNames()) {
    CHECK(Name(ParseAggregationFunction(word).value()) == word);
  }
  for (const std::string_view word : FilterOperatorNames()) CHECK(Name(ParseFilterOperator(word).value()) == word);
  CHECK(FieldTypeNames().size() == 7);
  CHECK(ResultTypeNames().size() == 4);
  CHECK(AggregationFunctionNames().size() == 7);
  CHECK(FilterOperatorNames().size() == 10);
}

TEST_CASE("the words are the facts' own") {
  CHECK(ParseFieldType("arrayLength") == FieldType::kArrayLength);
  CHECK(ParseFieldType("quantity") == FieldType::kQuantity);
  CHECK(ParseResultType("float") == ResultType::kFloat);
  CHECK(ParseAggregationFunction("distinct") == AggregationFunction::kDistinct);
  CHECK(ParseFilterOperator("notIn") == FilterOperator::kNotIn);
  CHECK(ParseFilterOperator("matches") == FilterOperator::kMatches);
}

TEST_CASE("other words name nothing") {
  for (const std::string_view word : {"", "String", "int", "arraylength", " string"}) CHECK_FALSE(ParseFieldType(word));
  CHECK_FALSE(ParseResultType("quantity"));
  CHECK_FALSE(ParseAggregationFunction("median"));
  CHECK_FALSE(ParseFilterOperator("Equals"));
}

TEST_CASE("what a type can be") {
  CHECK(KindsOf(FieldType::kQuantity) == kNumbers);
  CHECK(KindsOf(FieldType::kArrayLength) == KindSet(Kind::kInt));
  CHECK(KindsOf(FieldType::kTimestamp) == KindSet(Kind::kText));
  CHECK(KindsOf(ResultType::kFloat) == KindSet(Kind::kDouble));
  CHECK(KindsOf(ResultType::kBoolean) == KindSet(Kind::kBool));
}

}  // namespace
}  // namespace clusterpulse::metricsource
