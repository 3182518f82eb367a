#include "common/metricsource/lexer.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <fmt/format.h>

#include "common/base/utf8.h"

namespace clusterpulse::metricsource {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c); }

class Lexer {
 public:
  Lexer(std::string_view text, Problems& problems) : text_(text), problems_(problems) {}

  std::vector<Token> Run() {
    while (pos_ < text_.size()) {
      const char c = text_[pos_];
      if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        ++pos_;
      } else if (IsDigit(c) || (c == '.' && IsDigit(At(1)))) {
        Number();
      } else if (IsNameStart(c)) {
        Word();
      } else if (c == '"' || c == '\'') {
        Text(c);
      } else {
        Operator(c);
      }
    }
    Add(Symbol::kEnd, 0);
    return std::move(tokens_);
  }

 private:
  char At(std::size_t ahead) const { return pos_ + ahead < text_.size() ? text_[pos_ + ahead] : '\0'; }

  Token& Add(Symbol symbol, std::size_t length) {
    Token token;
    token.symbol = symbol;
    token.begin = static_cast<std::uint32_t>(pos_);
    pos_ += length;
    token.end = static_cast<std::uint32_t>(pos_);
    tokens_.push_back(std::move(token));
    return tokens_.back();
  }

  void Number() {
    std::size_t length = 0;
    int dots = 0;
    while (IsDigit(At(length)) || At(length) == '.') dots += At(length++) == '.' ? 1 : 0;
    const std::string_view digits = text_.substr(pos_, length);
    // What follows at once was meant to be part of it: 1e5, 5Gi, 30m.
    std::size_t behind = length;
    while (IsNamePart(At(behind))) ++behind;
    if (dots > 1) {
      problems_.Error(pos_, fmt::format("malformed number {}", Quoted(text_.substr(pos_, behind))));
    } else if (behind > length) {
      problems_.Error(pos_, fmt::format("malformed number {}: it has digits and one point, no exponent, no unit",
                                        Quoted(text_.substr(pos_, behind))));
    } else if (digits[0] == '.') {
      problems_.Error(pos_, fmt::format("malformed number {}", Quoted(digits)), fmt::format("0{}", digits));
    }
    const bool is_malformed = dots > 1 || behind > length || digits[0] == '.';
    Token& token = Add(Symbol::kNumber, behind);
    if (is_malformed) return;
    std::int64_t whole = 0;
    if (dots == 0 && std::from_chars(digits.data(), digits.data() + digits.size(), whole).ec == std::errc()) {
      token.number = Value::Int(whole);
      return;
    }
    double number = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), number).ec != std::errc()) {
      problems_.Error(token.begin, "the number is too large or too small");
    }
    token.number = Value::Double(number);
  }

  void Word() {
    std::size_t length = 0;
    while (IsNamePart(At(length))) ++length;
    const absl::string_view word(text_.data() + pos_, length);
    Symbol symbol = Symbol::kName;
    if (absl::EqualsIgnoreCase(word, "true")) symbol = Symbol::kTrue;
    if (absl::EqualsIgnoreCase(word, "false")) symbol = Symbol::kFalse;
    if (absl::EqualsIgnoreCase(word, "null") || absl::EqualsIgnoreCase(word, "nil")) symbol = Symbol::kNull;
    Add(symbol, length);
  }

  void Text(char quote) {
    const std::size_t begin = pos_++;
    std::string out;
    while (pos_ < text_.size() && text_[pos_] != quote) {
      if (text_[pos_] == '\\' && pos_ + 1 < text_.size()) {
        Escape(out);
      } else {
        out.push_back(text_[pos_++]);
      }
    }
    const std::size_t end = std::min(pos_ + 1, text_.size());
    if (pos_ >= text_.size()) problems_.Error(begin, fmt::format("the text is not ended by {}", quote));
    pos_ = begin;
    Add(Symbol::kText, end - begin).text = std::move(out);
  }

  // At a backslash that is not the last byte.
  void Escape(std::string& out) {
    const char c = text_[pos_ + 1];
    switch (c) {
      case 'n':
        out.push_back('\n');
        break;
      case 't':
        out.push_back('\t');
        break;
      case '\\':
      case '"':
      case '\'':
        out.push_back(c);
        break;
      case 'u':
        if (CodePoint(out)) return;
        [[fallthrough]];
      default: {
        const std::size_t length = std::max<std::size_t>(1, base::Utf8SequenceLength(text_, pos_ + 1));
        const std::string_view escape = text_.substr(pos_, 1 + length);
        problems_.Warning(pos_, fmt::format("unknown escape \"{}\" stays as it is written", escape),
                          fmt::format("\\{}", escape));
        out.append(escape);
        pos_ += 1 + length;
        return;
      }
    }
    pos_ += 2;
  }

  // \uXXXX at pos_, and the second half of a pair behind it. False when it is not of that form; nothing is taken then.
  bool CodePoint(std::string& out) {
    const auto read = [&](std::size_t at) {
      std::uint32_t code = 0;
      if (at + 6 > text_.size() || text_[at] != '\\' || text_[at + 1] != 'u') return UINT32_MAX;
      const char* const end = text_.data() + at + 6;
      return std::from_chars(end - 4, end, code, 16).ptr == end ? code : UINT32_MAX;
    };
    std::uint32_t code = read(pos_);
    if (code == UINT32_MAX) return false;
    std::size_t length = 6;
    if (code >= 0xD800 && code <= 0xDBFF) {
      const std::uint32_t low = read(pos_ + 6);
      if (low >= 0xDC00 && low <= 0xDFFF) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        length = 12;
      }
    }
    if (code >= 0xD800 && code <= 0xDFFF) {
      problems_.Error(pos_, fmt::format("{} is half of a character", text_.substr(pos_, length)));
    } else {
      base::AppendUtf8(out, code);
    }
    pos_ += length;
    return true;
  }

  void Operator(char c) {
    const char next = At(1);
    switch (c) {
      case '(':
        Add(Symbol::kOpen, 1);
        return;
      case ')':
        Add(Symbol::kClose, 1);
        return;
      case ',':
        Add(Symbol::kComma, 1);
        return;
      case '+':
        Add(Symbol::kPlus, 1);
        return;
      case '-':
        Add(Symbol::kMinus, 1);
        return;
      case '*':
        Add(Symbol::kTimes, 1);
        return;
      case '/':
        Add(Symbol::kDivide, 1);
        return;
      case '%':
        Add(Symbol::kRemainder, 1);
        return;
      case '!':
        next == '=' ? Add(Symbol::kNotEqual, 2) : Add(Symbol::kNot, 1);
        return;
      case '<':
        next == '=' ? Add(Symbol::kLessEqual, 2) : Add(Symbol::kLess, 1);
        return;
      case '>':
        next == '=' ? Add(Symbol::kGreaterEqual, 2) : Add(Symbol::kGreater, 1);
        return;
      case '=':
        Pair(Symbol::kEqual, "==");
        return;
      case '&':
        Pair(Symbol::kAnd, "&&");
        return;
      case '|':
        Pair(Symbol::kOr, "||");
        return;
      case '?':
        Pair(Symbol::kElse, "??");
        return;
      default: {
        const std::size_t length = std::max<std::size_t>(1, base::Utf8SequenceLength(text_, pos_));
        problems_.Error(pos_, fmt::format("unexpected \"{}\"", text_.substr(pos_, length)));
        pos_ += length;
      }
    }
  }

  // An operator that is one character twice; alone it was meant to be.
  void Pair(Symbol symbol, std::string_view pair) {
    const bool is_whole = At(1) == pair[1];
    if (!is_whole) problems_.Error(pos_, fmt::format("unexpected \"{}\"", pair[0]), std::string(pair));
    Add(symbol, is_whole ? 2 : 1);
  }

  std::string_view text_;
  Problems& problems_;
  std::size_t pos_ = 0;
  std::vector<Token> tokens_;
};

}  // namespace

std::string Shortened(std::string_view text) { return base::Shortened(text, 40); }

std::string Quoted(std::string_view word) { return fmt::format("\"{}\"", Shortened(word)); }

void Problems::Add(Problem problem) {
  for (const Problem& other : problems_) {
    if (other.at == problem.at && other.is_error == problem.is_error) return;
  }
  if (!is_full()) {
    problems_.push_back(std::move(problem));
    return;
  }
  if (!problem.is_error) return;
  // An error is worth more than a warning.
  const auto warning = std::find_if(problems_.begin(), problems_.end(), [](const Problem& p) { return !p.is_error; });
  if (warning != problems_.end()) *warning = std::move(problem);
}

void Problems::Report(std::string_view path, Diagnostics& diagnostics) {
  std::stable_sort(problems_.begin(), problems_.end(), [](const Problem& a, const Problem& b) { return a.at < b.at; });
  std::size_t at = 0;
  int column = 1;
  for (Problem& problem : problems_) {
    for (; at < std::min(problem.at, text_.size()); ++at) column += (text_[at] & 0xC0) != 0x80 ? 1 : 0;
    if (problem.is_error) {
      diagnostics.ErrorAt(path, column, std::move(problem.message), std::move(problem.suggestion));
    } else {
      diagnostics.WarningAt(path, column, std::move(problem.message), std::move(problem.suggestion));
    }
  }
  problems_.clear();
}

std::vector<Token> Tokenize(std::string_view text, Problems& problems) { return Lexer(text, problems).Run(); }

}  // namespace clusterpulse::metricsource
