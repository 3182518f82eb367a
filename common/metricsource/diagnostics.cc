#include "common/metricsource/diagnostics.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace clusterpulse::metricsource {
namespace {

// No name that is worth a suggestion is longer; bounds what a hostile one costs.
constexpr std::size_t kMaxWord = 64;

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Insertions, deletions, replacements and swaps of neighbours between two words of at most kMaxWord bytes; `bound` when
// it is that or more.
std::size_t Distance(std::string_view a, std::string_view b, std::size_t bound) {
  std::array<std::array<std::size_t, kMaxWord + 1>, 3> rows;
  auto *before = &rows[0], *last = &rows[1], *now = &rows[2];
  for (std::size_t k = 0; k <= b.size(); ++k) (*last)[k] = k;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t least = (*now)[0] = i;
    for (std::size_t k = 1; k <= b.size(); ++k) {
      const bool same = Lower(a[i - 1]) == Lower(b[k - 1]);
      std::size_t cost = std::min({(*last)[k] + 1, (*now)[k - 1] + 1, (*last)[k - 1] + (same ? 0 : 1)});
      if (i > 1 && k > 1 && Lower(a[i - 1]) == Lower(b[k - 2]) && Lower(a[i - 2]) == Lower(b[k - 1])) {
        cost = std::min(cost, (*before)[k - 2] + 1);
      }
      (*now)[k] = cost;
      least = std::min(least, cost);
    }
    if (least > bound) return bound;
    std::swap(before, last);
    std::swap(last, now);
  }
  return std::min((*last)[b.size()], bound);
}

}  // namespace

std::string Diagnostic::ToString() const {
  std::string out = path;
  if (column > 0) out += fmt::format(":{}", column);
  if (!out.empty()) out += ": ";
  out += message;
  if (!suggestion.empty()) out += fmt::format(", did you mean \"{}\"?", suggestion);
  return out;
}

std::string Diagnostics::Summary() const {
  std::string out;
  std::size_t told = 0;
  for (const Diagnostic& item : items_) {
    if (item.severity != Diagnostic::Severity::kError) continue;
    if (told++ > 0) out += '\n';
    out += item.ToString();
  }
  if (errors_ > told) out += fmt::format("{}and {} more", told > 0 ? "\n" : "", errors_ - told);
  return out;
}

void Diagnostics::Add(Diagnostic::Severity severity, std::string_view path, int column, std::string message,
                      std::string suggestion) {
  if (severity == Diagnostic::Severity::kError) ++errors_;
  if (items_.size() >= kMax) {
    ++left_out_;
    return;
  }
  items_.push_back({severity, std::string(path), column, std::move(message), std::move(suggestion)});
}

std::string Nearest(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.empty() || word.size() > kMaxWord) return "";
  std::size_t best = std::max<std::size_t>(1, word.size() / 3) + 1;
  std::string_view nearest;
  for (const std::string_view candidate : candidates) {
    const std::size_t apart = std::max(candidate.size(), word.size()) - std::min(candidate.size(), word.size());
    if (candidate.size() > kMaxWord || apart >= best) continue;
    const std::size_t distance = Distance(word, candidate, best);
    if (distance >= best) continue;
    best = distance;
    nearest = candidate;
  }
  return std::string(nearest);
}

}  // namespace clusterpulse::metricsource
