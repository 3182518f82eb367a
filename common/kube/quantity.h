#pragma once

#include <compare>
#include <cstdint>
#include <string_view>

#include <absl/status/statusor.h>

namespace clusterpulse::kube {

// An amount as Kubernetes writes it: "2", "250m", "1.5", "128974848", "129e6", "16Gi", "12k". A plain value type.
//
// Exact in units of 1e-9. As in Kubernetes, what is finer rounds away from zero (0.1n is 1n), and no amount is larger
// than 2^63-1 in magnitude: what is larger becomes that. Sums saturate at the same bound.
class Quantity {
 public:
  static constexpr std::int64_t kMax = INT64_MAX;

  Quantity() = default;  // zero
  // `units` whole units.
  static Quantity FromUnits(std::int64_t units) { return Quantity(Clamp(Int128{units} * kNanosPerUnit)); }

  // [+-] digits[.digits] with one of n u m (none) k M G T P E, Ki Mi Gi Ti Pi Ei, or an exponent e3, E-3, e+3. Case
  // matters, blanks are not allowed, and at least one digit is needed (Kubernetes' own reader takes "Ki" for zero; its
  // grammar does not). kInvalidArgument otherwise. Of more than 38 significant digits the rest only rounds.
  static absl::StatusOr<Quantity> Parse(std::string_view text);

  // Whole units and thousandths, rounded away from zero; thousandths are capped to 64 bits.
  std::int64_t Value() const;
  std::int64_t MilliValue() const;
  // The nearest double of the amount in units (of amounts from 9e6 up with a fraction: within one step of it).
  double AsDouble() const;
  bool IsZero() const { return nanos_ == 0; }

  Quantity& operator+=(Quantity other) {
    nanos_ = Clamp(nanos_ + other.nanos_);
    return *this;
  }
  friend Quantity operator+(Quantity a, Quantity b) { return a += b; }
  friend bool operator==(Quantity a, Quantity b) { return a.nanos_ == b.nanos_; }
  friend std::strong_ordering operator<=>(Quantity a, Quantity b) {
    return a.nanos_ < b.nanos_   ? std::strong_ordering::less
           : a.nanos_ > b.nanos_ ? std::strong_ordering::greater
                                 : std::strong_ordering::equal;
  }

 private:
  __extension__ typedef __int128 Int128;
  __extension__ typedef unsigned __int128 Uint128;
  static constexpr std::int64_t kNanosPerUnit = 1'000'000'000;
  static constexpr Int128 kMaxNanos = Int128{kMax} * kNanosPerUnit;

  explicit Quantity(Int128 nanos) : nanos_(nanos) {}
  static constexpr Int128 Clamp(Int128 nanos) {
    return nanos > kMaxNanos ? kMaxNanos : nanos < -kMaxNanos ? -kMaxNanos : nanos;
  }
  static Uint128 Scale(Uint128 digits, std::int64_t exponent10, int exponent2, bool inexact);

  Int128 nanos_ = 0;
};

}  // namespace clusterpulse::kube
