#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "hub/history/series.h"

namespace clusterpulse::history {

// Why a sample is not written.
enum class Refusal { kName, kLabel, kValue, kTime, kAmbiguous };
inline constexpr std::array kRefusals = {Refusal::kName, Refusal::kLabel, Refusal::kValue, Refusal::kTime,
                                         Refusal::kAmbiguous};
// "name", "label", "value", "time", "ambiguous".
std::string_view ToString(Refusal refusal);

// Text that is appended to piece by piece and keeps its memory. Confined to one thread.
class LineBuffer {
 public:
  std::string_view view() const { return {data_.get(), size_}; }
  // Forgets the text, and gives memory above `keep` bytes back.
  void Clear(std::size_t keep);
  // At least `count` bytes to write to; `Commit` what was written. Valid until the next call.
  char* Room(std::size_t count) {
    if (capacity_ - size_ < count) Grow(count);
    return data_.get() + size_;
  }
  void Commit(const char* end) { size_ = static_cast<std::size_t>(end - data_.get()); }

 private:
  void Grow(std::size_t count);

  std::unique_ptr<char[]> data_;
  std::size_t size_ = 0, capacity_ = 0;
};

// Writes samples as lines of Prometheus' text format, `name{cluster="c",node="n"} 42 1700000000000`, each ending with a
// newline. VictoriaMetrics answers 204 to lines that it then ignores, so nothing leaves that it would not take:
//   name    [a-zA-Z_:][a-zA-Z0-9_:]*
//   label   UTF-8 of at most kMaxLabelBytes; backslash, quote and newline are escaped
//   value   finite; whole numbers in full, others as the shortest text that reads back the same, with an exponent from
//           1e6 up and below 1e-4
//   time    after 1970 and at most kMaxAhead after `now_ms`: it ignores what is more than two days ahead
// What breaks a rule is counted by kind and left out, and the first such of each kind is kept for a log line.
//
// Confined to one thread. Nothing is allocated per sample.
class LineEncoder final : public SampleSink {
 public:
  static constexpr std::size_t kMaxLabelBytes = 1024;
  static constexpr std::int64_t kMaxAheadMs = std::int64_t{24} * 3600 * 1000;

  // All borrowed and appended to; must outlive this.
  LineEncoder(LineBuffer& out, std::int64_t batch_ms, std::int64_t now_ms);

  void Labels(std::string_view cluster, std::string_view key, std::string_view value) override;
  void Earlier(std::chrono::milliseconds age) override { Stamp(batch_ms_ - age.count()); }
  void Sample(const MetricName& name, Number value) override;
  void Ambiguous(std::string_view name) override { Refuse(Refusal::kAmbiguous, name); }

  std::size_t written() const { return written_; }
  std::size_t refused(Refusal kind) const { return refused_[Index(kind)]; }
  std::size_t refused() const;
  // What was refused first: names the series or the label; cut.
  const std::string& example(Refusal kind) const { return examples_[Index(kind)]; }

 private:
  static constexpr std::size_t Index(Refusal kind) { return static_cast<std::size_t>(kind); }
  void Stamp(std::int64_t stamp_ms);
  void Refuse(Refusal kind, std::string_view example);
  // False: the value breaks the rule.
  bool AppendLabel(std::string_view key, std::string_view value);

  LineBuffer& out_;
  const std::int64_t batch_ms_, now_ms_;
  std::string labels_;     // with braces and the blank behind them
  std::string bad_label_;  // why the samples that follow are refused; empty: they are not
  char stamp_[24] = {};    // with the blank in front and the newline
  std::size_t stamp_size_ = 0;
  bool is_stamp_ok_ = false;
  std::size_t written_ = 0;
  std::array<std::size_t, kRefusals.size()> refused_{};
  std::array<std::string, kRefusals.size()> examples_;
};

// Appends the text between the quotes of a label's value. False, and nothing appended, when it breaks the rule above.
bool AppendLabelValue(std::string& out, std::string_view value);

}  // namespace clusterpulse::history
