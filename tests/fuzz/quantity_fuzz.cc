// Any text either parses to an amount within bounds, whose views agree with each other, or is refused as malformed.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/kube/quantity.h"

using clusterpulse::kube::Quantity;

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto quantity = Quantity::Parse(text);
  if (!quantity.ok()) {
    Require(quantity.status().code() == absl::StatusCode::kInvalidArgument);
    return 0;
  }
  const std::int64_t units = quantity->Value();
  Require(units >= -Quantity::kMax);
  // Rounded away from zero, by less than one.
  const double amount = quantity->AsDouble();
  Require(std::isfinite(amount));
  Require(std::fabs(static_cast<double>(units)) >= std::fabs(amount) * (1 - 1e-12));
  Require(std::fabs(static_cast<double>(units) - amount) < 1.0 + std::fabs(amount) * 1e-12);
  Require((units == 0) == quantity->IsZero());
  Require((quantity->MilliValue() == 0) == quantity->IsZero());
  Require((*quantity < Quantity()) == (amount < 0));
  // The sign mirrors the amount.
  if (!text.empty() && text[0] != '-' && text[0] != '+') {
    const auto negative = Quantity::Parse("-" + std::string(text));
    Require(negative.ok() && negative->Value() == -units && (*negative + *quantity).IsZero());
  }
  return 0;
}
