#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/model/batch.h"

// What of a batch becomes history: the series of the contract (wire-and-store.md E), in one table.
namespace clusterpulse::history {

// The value of a sample. Whole numbers stay such: they are written in full.
class Number {
 public:
  constexpr Number(std::int32_t value) : is_integer_(true), integer_(value) {}
  constexpr Number(std::int64_t value) : is_integer_(true), integer_(value) {}
  constexpr Number(double value) : is_integer_(false), real_(value) {}

  constexpr bool is_integer() const { return is_integer_; }
  constexpr std::int64_t integer() const { return integer_; }  // REQUIRES: is_integer()
  constexpr double real() const { return is_integer_ ? static_cast<double>(integer_) : real_; }

 private:
  bool is_integer_;
  union {
    std::int64_t integer_;
    double real_;
  };
};

// [a-zA-Z_:][a-zA-Z0-9_:]*
constexpr bool IsMetricName(std::string_view name) {
  if (name.empty()) return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    const bool is_digit = c >= '0' && c <= '9';
    const bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' || (is_digit && i > 0);
    if (!ok) return false;
  }
  return true;
}

// The name of a series. Whether a literal is a valid one is known when it is compiled.
class MetricName {
 public:
  template <std::size_t N>
  consteval MetricName(const char (&literal)[N]) : text_(literal, N - 1), is_valid_(IsMetricName(text_)) {}
  explicit MetricName(const std::string& text) : text_(text), is_valid_(IsMetricName(text_)) {}

  constexpr std::string_view text() const { return text_; }
  constexpr bool is_valid() const { return is_valid_; }

 private:
  std::string_view text_;
  bool is_valid_;
};

// Takes the samples of one batch. Their time is StampOf(batch), for those of a source earlier by its age.
class SampleSink {
 public:
  virtual ~SampleSink() = default;
  // Holds for the samples that follow: cluster="...", and, unless `key` is empty, one more label. A label whose value
  // is empty is left out. The views live until the next call.
  virtual void Labels(std::string_view cluster, std::string_view key, std::string_view value) = 0;
  // Holds for the samples that follow: they are so much older than the batch; 0 at first.
  virtual void Earlier(std::chrono::milliseconds age) = 0;
  virtual void Sample(const MetricName& name, Number value) = 0;
  // A sample that cannot be told apart from another one of the same batch.
  virtual void Ambiguous(std::string_view name) = 0;
};

// Every sample of the batch, in the order of the contract's table. What a batch does not carry has no sample. The names
// of a source's aggregations may hold characters that names of series may not: these become '_', and what is then
// called like another one of the same source is Ambiguous.
void ForEachSample(const model::Batch& batch, SampleSink& sink);

// Unix time in ms, of the collection.
std::int64_t StampOf(const model::Batch& batch);

}  // namespace clusterpulse::history
