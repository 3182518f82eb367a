#include "common/metricsource/value.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "common/json/writer.h"

namespace clusterpulse::metricsource {
namespace {

constexpr double kTwoTo63 = 9223372036854775808.0;
// Most rows make less text than the first block holds; what Reset keeps of a row that made more.
constexpr std::size_t kFirstBlock = std::size_t{4} << 10;
constexpr std::size_t kKept = std::size_t{64} << 10;

int Sign(std::int64_t a, std::int64_t b) { return a < b ? -1 : (a > b ? 1 : 0); }

int CompareIntToDouble(std::int64_t a, double b) {
  if (b >= kTwoTo63) return -1;
  if (b < -kTwoTo63) return 1;
  // The whole part is an int64 exactly; what is left of `b` decides when it equals `a`.
  const auto whole = static_cast<std::int64_t>(b);
  if (a != whole) return Sign(a, whole);
  const double rest = b - static_cast<double>(whole);
  return rest > 0 ? -1 : (rest < 0 ? 1 : 0);
}

}  // namespace

bool SameValue(Value a, Value b) {
  if (a.IsNumber() && b.IsNumber()) return CompareNumbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  if (a.IsText()) return a.AsText() == b.AsText();
  return a.IsNull() || a.AsBool() == b.AsBool();
}

int CompareNumbers(Value a, Value b) {
  if (a.kind() == Kind::kInt) {
    return b.kind() == Kind::kInt ? Sign(a.AsInt(), b.AsInt()) : CompareIntToDouble(a.AsInt(), b.AsDouble());
  }
  if (b.kind() == Kind::kInt) return -CompareIntToDouble(b.AsInt(), a.AsDouble());
  return a.AsDouble() < b.AsDouble() ? -1 : (a.AsDouble() > b.AsDouble() ? 1 : 0);
}

std::int64_t TruncateToInt(Value number) {
  if (number.kind() == Kind::kInt) return number.AsInt();
  const double value = number.AsDouble();
  if (value >= kTwoTo63) return std::numeric_limits<std::int64_t>::max();
  if (value < -kTwoTo63) return std::numeric_limits<std::int64_t>::min();
  return static_cast<std::int64_t>(value);
}

std::size_t WriteNumber(char* out, Value number) {
  std::int64_t whole = 0;
  if (number.kind() == Kind::kInt) {
    whole = number.AsInt();
  } else {
    const double value = number.AsDouble();
    if (!(value >= -kTwoTo63 && value < kTwoTo63) || std::trunc(value) != value) return json::WriteNumber(out, value);
    whole = static_cast<std::int64_t>(value);
  }
  const fmt::format_int digits(whole);
  std::memcpy(out, digits.data(), digits.size());
  return digits.size();
}

void AppendText(std::string& out, Value value) {
  switch (value.kind()) {
    case Kind::kNull:
      return;
    case Kind::kBool:
      out.append(value.AsBool() ? "true" : "false");
      return;
    case Kind::kInt:
    case Kind::kDouble: {
      char digits[kMaxNumberText];
      out.append(digits, WriteNumber(digits, value));
      return;
    }
    case Kind::kText:
      out.append(value.AsText());
  }
}

TextArena::TextArena() = default;

TextArena::~TextArena() {
  for (const Block& block : blocks_) delete[] block.data;
}

char* TextArena::Allocate(std::size_t size) {
  if (size > kMaxBytes - total_) return nullptr;
  while (block_ < blocks_.size() && size > blocks_[block_].size - used_) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const std::size_t next = blocks_.empty() ? kFirstBlock : std::min(2 * blocks_.back().size, kMaxBytes);
    const std::size_t bytes = std::max(size, next);
    blocks_.push_back({new char[bytes], bytes});
  }
  char* const at = blocks_[block_].data + used_;
  used_ += size;
  total_ += size;
  return at;
}

void TextArena::GiveBack(std::size_t size) {
  used_ -= size;
  total_ -= size;
}

bool TextArena::Copy(std::string_view text, std::string_view& out) {
  char* const copy = Allocate(text.size());
  if (copy == nullptr) return false;
  if (!text.empty()) std::memcpy(copy, text.data(), text.size());
  out = {copy, text.size()};
  return true;
}

void TextArena::Reset() {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    kept += blocks_[i].size;
    if (kept <= kKept) continue;
    for (std::size_t k = i; k < blocks_.size(); ++k) delete[] blocks_[k].data;
    blocks_.resize(i);
  }
  block_ = used_ = total_ = 0;
}

}  // namespace clusterpulse::metricsource
