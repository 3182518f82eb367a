#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/metricsource/diagnostics.h"
#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

// The problems of one expression while it is compiled, by byte offset; at the end they go to the source's Diagnostics
// from left to right, with columns.
class Problems {
 public:
  // Of several at one place the first counts. One wrong expression leaves room for what is wrong elsewhere in the
  // source.
  static constexpr std::size_t kMax = 20;

  // `room`: how many are wanted.
  explicit Problems(std::string_view text, std::size_t room = kMax) : text_(text), room_(room < kMax ? room : kMax) {}
  void Error(std::size_t at, std::string message, std::string suggestion = "") {
    has_errors_ = true;
    Add({true, at, std::move(message), std::move(suggestion)});
  }
  void Warning(std::size_t at, std::string message, std::string suggestion = "") {
    Add({false, at, std::move(message), std::move(suggestion)});
  }
  bool has_errors() const { return has_errors_; }
  // More will hardly be told, so that nothing needs to be looked for to suggest it.
  bool is_full() const { return problems_.size() >= room_; }
  void Report(std::string_view path, Diagnostics& diagnostics);

 private:
  struct Problem {
    bool is_error;
    std::size_t at;
    std::string message, suggestion;
  };
  void Add(Problem problem);

  std::string_view text_;
  std::size_t room_;
  std::vector<Problem> problems_;
  bool has_errors_ = false;
};

// What an author wrote, for a message: shortened. Quoted: in quotation marks.
std::string Shortened(std::string_view text);
std::string Quoted(std::string_view word);

// What an expression is made of. Keywords are recognised in any case.
enum class Symbol : std::uint8_t {
  kEnd,
  kNumber,
  kText,
  kName,
  kTrue,
  kFalse,
  kNull,
  kOpen,
  kClose,
  kComma,
  kPlus,
  kMinus,
  kTimes,
  kDivide,
  kRemainder,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kAnd,
  kOr,
  kNot,
  kElse,  // ??
};

struct Token {
  Symbol symbol = Symbol::kEnd;
  std::uint32_t begin = 0, end = 0;  // bytes of the expression
  Value number;                      // of kNumber: an integer where it is written as one and fits 64 bits
  std::string text;                  // of kText: decoded
};

// Splits an expression; the last token is kEnd. Whatever is wrong is reported, and taken for what was meant, so that
// the parser can go on. REQUIRES: valid UTF-8 of less than 4 GiB.
std::vector<Token> Tokenize(std::string_view text, Problems& problems);

}  // namespace clusterpulse::metricsource
