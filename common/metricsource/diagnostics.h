#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace clusterpulse::metricsource {

// One problem in a MetricSource, told so that its author can go to it and mend it.
struct Diagnostic {
  enum class Severity { kError, kWarning };
  Severity severity = Severity::kError;
  std::string path;        // "spec.computed[2].expression"
  int column = 0;          // 1-based, in code points of the text at `path`; 0: the whole value
  std::string message;     // lower-case, names the word concerned: unknown function "rouns"
  std::string suggestion;  // "" or what was perhaps meant: round
  bool operator==(const Diagnostic&) const = default;

  // spec.computed[2].expression:14: unknown function "rouns", did you mean "round"?
  std::string ToString() const;
};

// All problems of one compile, in the order they were found. A source with an error is refused; warnings are shown.
// Bounded: after kMax the rest is only counted. Confined to one thread.
class Diagnostics {
 public:
  static constexpr std::size_t kMax = 200;

  void Error(std::string_view path, std::string message, std::string suggestion = "") {
    Add(Diagnostic::Severity::kError, path, 0, std::move(message), std::move(suggestion));
  }
  void ErrorAt(std::string_view path, int column, std::string message, std::string suggestion = "") {
    Add(Diagnostic::Severity::kError, path, column, std::move(message), std::move(suggestion));
  }
  void Warning(std::string_view path, std::string message, std::string suggestion = "") {
    Add(Diagnostic::Severity::kWarning, path, 0, std::move(message), std::move(suggestion));
  }
  void WarningAt(std::string_view path, int column, std::string message, std::string suggestion = "") {
    Add(Diagnostic::Severity::kWarning, path, column, std::move(message), std::move(suggestion));
  }

  bool has_errors() const { return errors_ > 0; }
  std::size_t errors() const { return errors_; }
  const std::vector<Diagnostic>& items() const { return items_; }
  std::size_t left_out() const { return left_out_; }
  // The errors, a line each, and how many more there were; for a status message.
  std::string Summary() const;

 private:
  void Add(Diagnostic::Severity severity, std::string_view path, int column, std::string message,
           std::string suggestion);

  std::vector<Diagnostic> items_;
  std::size_t errors_ = 0, left_out_ = 0;
};

// The candidate nearest to `word` (edit distance at most a third of its length, at least 1; case ignored), or "".
std::string Nearest(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace clusterpulse::metricsource
