#include "common/kube/quantity.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string>

#include "common/base/status.h"

namespace clusterpulse::kube {
namespace {

__extension__ typedef unsigned __int128 Uint128;

constexpr int kSignificant = 38;  // 10^38 is the largest power of ten below 2^128

constexpr std::array<Uint128, kSignificant + 1> MakePowers() {
  std::array<Uint128, kSignificant + 1> powers{};
  Uint128 power = 1;
  for (std::size_t i = 0; i < powers.size(); ++i, power *= 10) powers[i] = power;
  return powers;
}
constexpr std::array<Uint128, kSignificant + 1> kPowers = MakePowers();

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

absl::Status Malformed(std::string_view text) {
  return base::InvalidArgument("malformed quantity \"{}\"", text.substr(0, 64));
}

// What a suffix multiplies by: 10^ten or 2^two.
struct Suffix {
  std::int64_t ten = 0;
  int two = 0;
};

bool ReadSuffix(std::string_view text, Suffix& out) {
  if (text.empty()) return true;
  if (text.size() == 1) {
    switch (text[0]) {
      case 'n':
        out.ten = -9;
        return true;
      case 'u':
        out.ten = -6;
        return true;
      case 'm':
        out.ten = -3;
        return true;
      case 'k':
        out.ten = 3;
        return true;
      case 'M':
        out.ten = 6;
        return true;
      case 'G':
        out.ten = 9;
        return true;
      case 'T':
        out.ten = 12;
        return true;
      case 'P':
        out.ten = 15;
        return true;
      case 'E':
        out.ten = 18;
        return true;
      default:
        return false;
    }
  }
  if (text.size() == 2 && text[1] == 'i') {
    constexpr std::string_view kBinary = "KMGTPE";
    const std::size_t at = kBinary.find(text[0]);
    if (at == std::string_view::npos) return false;
    out.two = 10 * (static_cast<int>(at) + 1);
    return true;
  }
  if (text[0] != 'e' && text[0] != 'E') return false;
  text.remove_prefix(1);
  if (text.size() > 1 && text[0] == '+' && IsDigit(text[1])) text.remove_prefix(1);  // from_chars knows only the minus
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out.ten);
  if (error != std::errc() || end != text.data() + text.size()) return false;
  // Far beyond both bounds already; keeps the sums below in range.
  out.ten = std::clamp<std::int64_t>(out.ten, -1'000'000'000, 1'000'000'000);
  return true;
}

}  // namespace

// digits * 10^exponent10 * 2^exponent2 in nanos, rounded up, or kMaxNanos. `inexact`: there were further digits.
Quantity::Uint128 Quantity::Scale(Uint128 digits, std::int64_t exponent10, int exponent2, bool inexact) {
  if (digits == 0) return inexact ? 1 : 0;
  constexpr auto kCap = static_cast<Uint128>(kMaxNanos);
  std::int64_t ten = exponent10 + 9;
  Uint128 divisor = 1;
  if (ten < 0) {
    // Digits so far right that the divisor has no room for them only round.
    for (; ten < -kSignificant && digits != 0; ++ten) {
      inexact = inexact || digits % 10 != 0;
      digits /= 10;
    }
    if (digits == 0) return 1;
    divisor = kPowers[static_cast<std::size_t>(-ten)];
  }
  for (; ten > 0; --ten) {
    if (digits > kCap) return kCap;
    digits *= 10;
  }
  Uint128 whole = digits / divisor;
  Uint128 rest = digits % divisor;
  for (int i = 0; i < exponent2; ++i) {  // long division in base 2: nothing overflows, nothing is lost
    if (whole > kCap) return kCap;
    whole *= 2;
    rest *= 2;
    if (rest >= divisor) {
      rest -= divisor;
      ++whole;
    }
  }
  if (rest != 0 || inexact) ++whole;
  return std::min(whole, kCap);
}

absl::StatusOr<Quantity> Quantity::Parse(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  bool negative = false;
  if (at != end && (*at == '-' || *at == '+')) negative = *at++ == '-';

  // Nearly every quantity of a pod or node is up to 18 digits and nothing, m, Ki, Mi or Gi.
  std::uint64_t small = 0;
  const char* const first = at;
  for (; at != end && IsDigit(*at) && at - first < 18; ++at) small = small * 10 + static_cast<std::uint64_t>(*at - '0');
  if (at != first) {
    Int128 nanos = -1;
    if (at == end) {
      nanos = Int128{small} * kNanosPerUnit;
    } else if (end - at == 1 && *at == 'm') {
      nanos = Int128{small} * (kNanosPerUnit / 1000);
    } else if (end - at == 2 && at[1] == 'i' && small < (std::uint64_t{1} << 33)) {
      const int shift = *at == 'K' ? 10 : *at == 'M' ? 20 : *at == 'G' ? 30 : 0;
      if (shift != 0) nanos = Int128{small << shift} * kNanosPerUnit;
    }
    if (nanos >= 0) return Quantity(negative ? -nanos : nanos);
  }

  at = first;
  Uint128 digits = 0;
  int significant = 0;
  std::int64_t exponent = 0;
  bool inexact = false;
  bool any = false;
  bool fraction = false;
  for (; at != end; ++at) {
    if (*at == '.' && !fraction) {
      fraction = true;
      continue;
    }
    if (!IsDigit(*at)) break;
    any = true;
    if (significant < kSignificant) {
      digits = digits * 10 + static_cast<Uint128>(*at - '0');
      if (digits != 0) ++significant;
      if (fraction) --exponent;
    } else {
      inexact = inexact || *at != '0';
      if (!fraction) ++exponent;
    }
  }
  Suffix suffix;
  if (!any || !ReadSuffix(std::string_view(at, static_cast<std::size_t>(end - at)), suffix)) return Malformed(text);
  const auto nanos = static_cast<Int128>(Scale(digits, exponent + suffix.ten, suffix.two, inexact));
  return Quantity(negative ? -nanos : nanos);
}

std::int64_t Quantity::Value() const {
  const Int128 up = nanos_ >= 0 ? kNanosPerUnit - 1 : 1 - kNanosPerUnit;
  return static_cast<std::int64_t>((nanos_ + up) / kNanosPerUnit);
}

std::int64_t Quantity::MilliValue() const {
  constexpr std::int64_t kNanosPerMilli = kNanosPerUnit / 1000;
  const Int128 up = nanos_ >= 0 ? kNanosPerMilli - 1 : 1 - kNanosPerMilli;
  const Int128 millis = (nanos_ + up) / kNanosPerMilli;
  return static_cast<std::int64_t>(std::clamp<Int128>(millis, -Int128{kMax}, Int128{kMax}));
}

double Quantity::AsDouble() const {
  constexpr double kScale = 1e9;
  constexpr std::int64_t kExact = std::int64_t{1} << 53;
  // Both operands are exact, so the quotient is the nearest double.
  if (nanos_ > -kExact && nanos_ < kExact) return static_cast<double>(static_cast<std::int64_t>(nanos_)) / kScale;
  const auto whole = static_cast<std::int64_t>(nanos_ / kNanosPerUnit);
  const auto rest = static_cast<std::int64_t>(nanos_ % kNanosPerUnit);
  return static_cast<double>(whole) + static_cast<double>(rest) / kScale;
}

}  // namespace clusterpulse::kube
