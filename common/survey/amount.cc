#include "common/survey/amount.h"

namespace clusterpulse::survey {

kube::Quantity ReadQuantity(json::Cursor value, Unreadable& unreadable) {
  std::string_view text;
  if (!value.Get(text)) {
    const auto raw = value.type() == json::Type::kNumber ? value.Raw() : absl::StatusOr<std::string_view>("");
    if (raw.ok()) text = *raw;
  }
  if (const auto quantity = kube::Quantity::Parse(text); quantity.ok()) return *quantity;
  ++unreadable.quantities;
  return {};
}

}  // namespace clusterpulse::survey
