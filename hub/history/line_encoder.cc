#include "hub/history/line_encoder.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <numeric>

#include "common/base/printable.h"
#include "common/base/utf8.h"

namespace clusterpulse::history {
namespace {

// Of the longest number, and of a stamp.
constexpr std::size_t kNumberRoom = 32;
constexpr std::size_t kExampleBytes = 200;

char* Append(char* at, std::string_view text) {
  std::memcpy(at, text.data(), text.size());
  return at + text.size();
}

// REQUIRES: finite; kNumberRoom bytes.
char* AppendReal(char* at, double value) {
  const double magnitude = std::abs(value);
  // Most are counts of cores: whole and small.
  if (magnitude < 1e6 && value == std::trunc(value)) {
    if (std::signbit(value) && value == 0) *at++ = '-';
    return std::to_chars(at, at + kNumberRoom, static_cast<std::int32_t>(value)).ptr;
  }
  const auto form = magnitude >= 1e6 || magnitude < 1e-4 ? std::chars_format::scientific : std::chars_format::fixed;
  return std::to_chars(at, at + kNumberRoom, value, form).ptr;
}

}  // namespace

std::string_view ToString(Refusal refusal) {
  switch (refusal) {
    case Refusal::kName:
      return "name";
    case Refusal::kLabel:
      return "label";
    case Refusal::kValue:
      return "value";
    case Refusal::kTime:
      return "time";
    case Refusal::kAmbiguous:
      return "ambiguous";
  }
  return "";
}

void LineBuffer::Clear(std::size_t keep) {
  size_ = 0;
  if (capacity_ <= keep) return;
  data_.reset();
  capacity_ = 0;
}

void LineBuffer::Grow(std::size_t count) {
  const std::size_t capacity = std::max({size_ + count, capacity_ * 2, std::size_t{4096}});
  auto data = std::make_unique_for_overwrite<char[]>(capacity);
  if (size_ > 0) std::memcpy(data.get(), data_.get(), size_);
  data_ = std::move(data);
  capacity_ = capacity;
}

bool AppendLabelValue(std::string& out, std::string_view value) {
  if (value.size() > LineEncoder::kMaxLabelBytes || !base::IsUtf8(value)) return false;
  for (const char c : value) {
    switch (c) {
      case '\\':
        out.append("\\\\");
        break;
      case '"':
        out.append("\\\"");
        break;
      case '\n':
        out.append("\\n");
        break;
      default:
        out.push_back(c);
    }
  }
  return true;
}

LineEncoder::LineEncoder(LineBuffer& out, std::int64_t batch_ms, std::int64_t now_ms)
    : out_(out), batch_ms_(batch_ms), now_ms_(now_ms) {
  Stamp(batch_ms);
}

void LineEncoder::Stamp(std::int64_t stamp_ms) {
  is_stamp_ok_ = stamp_ms > 0 && stamp_ms - now_ms_ <= kMaxAheadMs;
  char* at = stamp_;
  *at++ = ' ';
  at = std::to_chars(at, stamp_ + sizeof stamp_, stamp_ms).ptr;
  *at++ = '\n';
  stamp_size_ = static_cast<std::size_t>(at - stamp_);
}

void LineEncoder::Labels(std::string_view cluster, std::string_view key, std::string_view value) {
  labels_.assign("{");
  bad_label_.clear();
  if (!AppendLabel("cluster", cluster)) bad_label_ = "cluster";
  if (!key.empty() && !AppendLabel(key, value)) bad_label_ = key;
  labels_.append("} ");
}

bool LineEncoder::AppendLabel(std::string_view key, std::string_view value) {
  if (value.empty()) return true;
  if (labels_.size() > 1) labels_.push_back(',');
  labels_.append(key).append("=\"");
  const bool ok = AppendLabelValue(labels_, value);
  labels_.push_back('"');
  return ok;
}

void LineEncoder::Sample(const MetricName& name, Number value) {
  if (!is_stamp_ok_) return Refuse(Refusal::kTime, name.text());
  if (!bad_label_.empty()) return Refuse(Refusal::kLabel, bad_label_);
  if (!name.is_valid()) return Refuse(Refusal::kName, name.text());
  if (!value.is_integer() && !std::isfinite(value.real())) return Refuse(Refusal::kValue, name.text());
  char* at = out_.Room(name.text().size() + labels_.size() + kNumberRoom + sizeof stamp_);
  at = Append(at, name.text());
  at = Append(at, labels_);
  at = value.is_integer() ? std::to_chars(at, at + kNumberRoom, value.integer()).ptr : AppendReal(at, value.real());
  at = Append(at, {stamp_, stamp_size_});
  out_.Commit(at);
  ++written_;
}

void LineEncoder::Refuse(Refusal kind, std::string_view example) {
  if (refused_[Index(kind)]++ == 0) examples_[Index(kind)] = base::Printable(std::string(example), kExampleBytes);
}

std::size_t LineEncoder::refused() const { return std::accumulate(refused_.begin(), refused_.end(), std::size_t{0}); }

}  // namespace clusterpulse::history
