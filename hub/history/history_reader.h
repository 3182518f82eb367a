#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"

namespace clusterpulse::history {

// A label whose value is one of these. An empty value is that of a label that is not there. No value at all: nothing
// matches.
struct LabelMatch {
  std::string label;
  std::vector<std::string> values;
};

// What becomes of the samples of one series within a step.
enum class OverTime { kLast, kAvg, kMin, kMax };
// What becomes of the series at one moment. kNone: each stays.
enum class Across { kNone, kSum, kAvg, kMin, kMax };

// Which samples, and how they are put together. Values only: no part of it is ever read as a query language, so that
// text of users may be in every value. What they may see is decided before: by `matches`.
struct RangeQuery {
  std::string metric;
  std::vector<LabelMatch> matches;  // all must hold
  // A point is told for from, from + step, ... up to `to`; each of the samples in the step before it, itself included.
  base::SystemTime from{}, to{};
  std::chrono::seconds step{60};
  OverTime over_time = OverTime::kLast;
  Across across = Across::kNone;
  std::vector<std::string> by;  // with an Across: labels that stay apart

  std::size_t max_points = 11'000;  // of a series
  std::size_t max_series = 1'000;
  std::chrono::milliseconds timeout{10'000};
};

struct Series {
  struct Point {
    base::SystemTime at{};
    double value = 0;  // finite
    bool operator==(const Point&) const = default;
  };
  std::map<std::string, std::string> labels;  // without the metric's name
  std::vector<Point> points;                  // ascending; where nothing is known there is none
  bool operator==(const Series&) const = default;
};

struct RangeAnswer {
  std::vector<Series> series;
  // Some of the store's servers did not answer: there may be more.
  bool is_partial = false;
  bool operator==(const RangeAnswer&) const = default;
};

// Port to stored samples. Adapter: VictoriaMetrics (victoria_metrics_reader.h). Thread-safe.
class HistoryReader {
 public:
  virtual ~HistoryReader() = default;

  // Blocks for at most the query's timeout, or until `stop`. Errors:
  //   kInvalidArgument      no such name of a metric or label, no time in it, more points than max_points
  //   kResourceExhausted    more than max_series match, or the store finds it too much: ask for less
  //   kUnavailable, kDeadlineExceeded   the store: ask again
  //   kUnauthenticated, kPermissionDenied, kFailedPrecondition   configuration
  //   kCancelled            `stop`
  //   kDataLoss             an answer that is none
  virtual absl::StatusOr<RangeAnswer> Query(const RangeQuery& query, std::stop_token stop) = 0;
};

}  // namespace clusterpulse::history
