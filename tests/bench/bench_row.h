#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace clusterpulse::bench {

// One row of docs/benchmarks.md: what was measured, and what it must and should be.
inline void PrintRow(std::string_view what, std::string_view measured, std::string_view must, std::string_view aim) {
  fmt::print("{}: {} (must {}, aim {})\n", what, measured, must, aim);
}

inline double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// Of a sorted or unsorted list: the value that so much of it (0..1) does not exceed.
inline double Percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  if (values.empty()) return 0;
  const auto rank = static_cast<std::size_t>(share * static_cast<double>(values.size()));
  return values[std::min(rank, values.size() - 1)];
}

}  // namespace clusterpulse::bench
