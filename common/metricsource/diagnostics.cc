#include "common/metricsource/diagnostics.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

namespace clusterpulse::metricsource {
namespace {

// No name that is worth a suggestion is longer; bounds what a hostile one costs.
constexpr std::size_t kMaxWord = 64;

char Lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

// Insertions, deletions, replacements and swaps of neighbours between two words of at most kMaxWord bytes.
std::size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  for (std::size_t k = 0; k <= b.size(); ++k) last[k] = k;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t k = 1; k <= b.size(); ++k) {
      const bool same = Lower(a[i - 1]) == Lower(b[k - 1]);
      now[k] = std::min({last[k] + 1, now[k - 1] + 1, last[k - 1] + (same ? 0 : 1)});
      if (i > 1 && k > 1 && Lower(a[i - 1]) == Lower(b[k - 2]) && Lower(a[i - 2]) == Lower(b[k - 1])) {
        now[k] = std::min(now[k], before[k - 2] + 1);
      }
    }
    before.swap(last);
    last.swap(now);
  }
  return last[b.size()];
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
    const std::size_t distance = Distance(word, candidate);
    if (distance >= best) continue;
    best = distance;
    nearest = candidate;
  }
  return std::string(nearest);
}

}  // namespace clusterpulse::metricsource
