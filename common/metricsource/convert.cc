#include "common/metricsource/convert.h"

#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <string>

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>

#include "common/base/utf8.h"
#include "common/json/writer.h"
#include "common/kube/quantity.h"

namespace clusterpulse::metricsource {
namespace {

// 2^63: the first double above all 64-bit integers.
constexpr double kIntLimit = 9223372036854775808.0;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::int64_t Truncate(double value) {
  if (value >= kIntLimit) return INT64_MAX;
  if (value < -kIntLimit) return INT64_MIN;
  return static_cast<std::int64_t>(value);
}

bool MakeText(Value value, TextArena& arena, Value& out) {
  std::string text;
  AppendText(text, value);
  std::string_view kept;
  if (!arena.Copy(text, kept)) return false;
  out = Value::Text(kept);
  return true;
}

bool ConvertText(FieldType type, std::string_view text, Value& out) {
  switch (type) {
    case FieldType::kString:
      out = Value::Text(text);
      return true;
    case FieldType::kInteger: {
      std::int64_t number;
      if (!ParseInteger(text, number)) return false;
      out = Value::Int(number);
      return true;
    }
    case FieldType::kFloat: {
      double number;
      if (!ParseFloat(text, number)) return false;
      out = Value::Double(number);
      return true;
    }
    case FieldType::kBoolean: {
      bool is;
      if (!ParseBoolean(text, is)) return false;
      out = Value::Bool(is);
      return true;
    }
    case FieldType::kQuantity:
      return ParseQuantity(text, out);
    case FieldType::kTimestamp:
      if (!text.empty() && !ParseTimestamp(text)) return false;
      out = Value::Text(text);
      return true;
    case FieldType::kArrayLength:
      return false;
  }
  return false;
}

bool ConvertNumber(FieldType type, Value in, std::string_view token, TextArena& arena, Value& out) {
  switch (type) {
    case FieldType::kString:
      return MakeText(in, arena, out);
    case FieldType::kInteger:
      out = in.kind() == Kind::kInt ? in : Value::Int(Truncate(in.AsDouble()));
      return true;
    case FieldType::kFloat:
      out = Value::Double(in.Number());
      return true;
    case FieldType::kBoolean:
      out = Value::Bool(in.kind() == Kind::kInt ? in.AsInt() != 0 : in.AsDouble() != 0);
      return true;
    case FieldType::kQuantity:
      if (in.kind() == Kind::kInt) {
        out = in;
        return true;
      }
      return ParseQuantity(token, out);
    case FieldType::kTimestamp:
    case FieldType::kArrayLength:
      return false;
  }
  return false;
}

// Reads exactly two digits.
int TwoDigits(std::string_view text, std::size_t at) {
  if (at + 2 > text.size() || !IsDigit(text[at]) || !IsDigit(text[at + 1])) return -1;
  return (text[at] - '0') * 10 + (text[at + 1] - '0');
}

// 1_000 to 1000, where each underscore is between digits (or behind 0x); false elsewhere.
bool DropUnderscores(std::string_view text, std::string& out) {
  const auto is_digit = [](char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    if (i == 0 || i + 1 == text.size() || !is_digit(text[i + 1])) return false;
    if (!is_digit(text[i - 1]) && text[i - 1] != 'x' && text[i - 1] != 'X') return false;
  }
  return true;
}

}  // namespace

bool ParseInteger(std::string_view text, std::int64_t& out) {
  std::string_view digits = text;
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) digits.remove_prefix(1);
  if (digits.empty()) return false;
  for (const char c : digits) {
    if (!IsDigit(c)) return false;
  }
  if (!negative) text = digits;  // from_chars knows no plus
  if (std::from_chars(text.data(), text.data() + text.size(), out).ec != std::errc()) {
    out = negative ? INT64_MIN : INT64_MAX;
  }
  return true;
}

bool ParseFloat(std::string_view text, double& out) {
  std::string without;
  if (text.find('_') != std::string_view::npos) {
    if (!DropUnderscores(text, without)) return false;
    text = without;
  }
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty() || (!IsDigit(text[0]) && text[0] != '.')) return false;  // a second sign, inf, nan
  auto format = std::chars_format::general;
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    if (text.find_first_of("pP") == std::string_view::npos) return false;
    text.remove_prefix(2);
    if (text[0] == '-') return false;
    format = std::chars_format::hex;
  }
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, format);
  if (end != text.data() + text.size() || error == std::errc::invalid_argument) return false;
  if (error == std::errc::result_out_of_range) {
    // Too near to 0 is 0, too large is infinite; from_chars does not tell them apart.
    const std::string copy = (format == std::chars_format::hex ? "0x" : "") + std::string(text);
    number = std::strtod(copy.c_str(), nullptr);
  }
  if (!std::isfinite(number)) return false;
  out = negative ? -number : number;
  return true;
}

bool ParseNumber(std::string_view text, Value& out) {
  std::int64_t integer;
  const char* const first = text.data() + (text.size() > 1 && text[0] == '+' && IsDigit(text[1]) ? 1 : 0);
  const auto [end, error] = std::from_chars(first, text.data() + text.size(), integer);
  if (error == std::errc() && end == text.data() + text.size()) {
    out = Value::Int(integer);
    return true;
  }
  double number;
  if (!ParseFloat(text, number)) return false;
  out = Value::Double(number);
  return true;
}

bool ParseJsonNumber(std::string_view token, Value& out) {
  if (token.empty() || (!IsDigit(token[0]) && token[0] != '-')) return false;
  std::int64_t integer;
  const char* const last = token.data() + token.size();
  const auto [end, error] = std::from_chars(token.data(), last, integer);
  if (error == std::errc() && end == last) {
    out = Value::Int(integer);
    return true;
  }
  double number = 0;
  const auto [stop, failure] = std::from_chars(token.data(), last, number);
  if (stop != last || failure == std::errc::invalid_argument) return false;
  if (failure == std::errc::result_out_of_range) return ParseNumber(token, out);
  if (!std::isfinite(number)) return false;
  out = Value::Double(number);
  return true;
}

bool ParseBoolean(std::string_view text, bool& out) {
  if (text == "1" || absl::EqualsIgnoreCase(absl::string_view(text.data(), text.size()), "true")) {
    out = true;
    return true;
  }
  if (text == "0" || absl::EqualsIgnoreCase(absl::string_view(text.data(), text.size()), "false")) {
    out = false;
    return true;
  }
  return false;
}

bool ParseQuantity(std::string_view text, Value& out) {
  const auto quantity = kube::Quantity::Parse(text);
  if (!quantity.ok()) return false;
  const std::int64_t units = quantity->Value();
  const double amount = quantity->AsDouble();
  // A double without a fraction is written as an integer, and would be read back as one that can differ from it.
  constexpr double kNoFractions = 9007199254740992;  // 2^53: from here on
  if (*quantity == kube::Quantity::FromUnits(units) || std::fabs(amount) >= kNoFractions) {
    out = Value::Int(units);
  } else if (std::trunc(amount) == amount) {
    out = Value::Int(static_cast<std::int64_t>(amount));
  } else {
    out = Value::Double(amount);
  }
  return true;
}

namespace {

// Four hexadecimal digits; -1: they are not there.
std::int32_t HexUnit(std::string_view text, std::size_t at) {
  std::int32_t unit = 0;
  if (at + 4 > text.size()) return -1;
  for (const char c : text.substr(at, 4)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return -1;
    unit = unit * 16 + digit;
  }
  return unit;
}

// The escape that json[at] begins, as it need be; gives its length. Half a surrogate pair stays as it is.
std::size_t AppendEscape(std::string_view json, std::size_t at, std::string& out) {
  const char kind = at + 1 < json.size() ? json[at + 1] : '\0';
  if (kind == '/') {
    out += '/';
    return 2;
  }
  std::size_t length = 2;
  if (kind == 'u') {
    std::int32_t code_point = HexUnit(json, at + 2);
    if (code_point >= 0) length = 6;
    if (code_point >= 0xD800 && code_point < 0xDC00 && json.substr(at + 6, 2) == "\\u") {
      if (const std::int32_t low = HexUnit(json, at + 8); low >= 0xDC00 && low < 0xE000) {
        code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
        length = 12;
      }
    }
    if (code_point >= 0 && (code_point < 0xD800 || code_point >= 0xE000)) {
      const auto c = static_cast<char>(code_point);
      if (code_point < 0x20 || code_point == '"' || code_point == '\\') {
        json::AppendEscaped(out, {&c, 1});
      } else {
        base::AppendUtf8(out, static_cast<std::uint32_t>(code_point));
      }
      return length;
    }
  }
  out += json.substr(at, length);
  return length;
}

}  // namespace

void AppendCompactJson(std::string_view json, std::string& out) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
  std::size_t start = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_text) {
      if (c == '\\') {
        out.append(json, start, i - start);
        i += AppendEscape(json, i, out) - 1;
        start = i + 1;
      } else if (c == '"') {
        in_text = false;
      }
    } else if (c == '"') {
      in_text = true;
    } else if (is_blank(c)) {
      out.append(json, start, i - start);
      start = i + 1;
    }
  }
  if (start < json.size()) out.append(json, start);
}

std::optional<base::SystemTime> ParseTimestamp(std::string_view text) {
  // 2024-01-01T05:00:00.123+02:00; the hour may have one digit.
  const int century = TwoDigits(text, 0), years = TwoDigits(text, 2), month = TwoDigits(text, 5),
            day = TwoDigits(text, 8);
  if (century < 0 || years < 0 || month < 1 || day < 1 || text[4] != '-' || text[7] != '-') return std::nullopt;
  std::size_t at = 10;
  if (at + 1 >= text.size() || text[at++] != 'T') return std::nullopt;
  int hour = TwoDigits(text, at);
  if (hour >= 0) {
    at += 2;
  } else if (IsDigit(text[at])) {
    hour = text[at++] - '0';
  } else {
    return std::nullopt;
  }
  if (at + 6 > text.size() || text[at] != ':' || text[at + 3] != ':') return std::nullopt;
  const int minute = TwoDigits(text, at + 1), second = TwoDigits(text, at + 4);
  if (hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return std::nullopt;
  at += 6;
  std::int64_t nanos = 0;
  if (at + 1 < text.size() && (text[at] == '.' || text[at] == ',') && IsDigit(text[at + 1])) {
    std::int64_t scale = 100'000'000;
    for (++at; at < text.size() && IsDigit(text[at]); ++at, scale /= 10) nanos += (text[at] - '0') * scale;
  }
  int offset_minutes = 0;
  if (at + 1 == text.size() && text[at] == 'Z') {
    // UTC
  } else {
    if (at + 6 != text.size() || (text[at] != '+' && text[at] != '-') || text[at + 3] != ':') return std::nullopt;
    const int hours = TwoDigits(text, at + 1), minutes = TwoDigits(text, at + 4);
    if (hours < 0 || hours > 24 || minutes < 0 || minutes > 60) return std::nullopt;
    offset_minutes = (text[at] == '-' ? -1 : 1) * (hours * 60 + minutes);
  }
  const std::chrono::year_month_day ymd{std::chrono::year(century * 100 + years),
                                        std::chrono::month(static_cast<unsigned>(month)),
                                        std::chrono::day(static_cast<unsigned>(day))};
  if (!ymd.ok()) return std::nullopt;
  const std::chrono::seconds since_epoch = std::chrono::sys_days(ymd).time_since_epoch() + std::chrono::hours(hour) +
                                           std::chrono::minutes(minute - offset_minutes) + std::chrono::seconds(second);
  // The clock counts nanoseconds in 64 bits: 1678..2261.
  constexpr std::int64_t kMaxSeconds = 9'223'372'035;
  if (since_epoch.count() > kMaxSeconds) return base::SystemTime::max();
  if (since_epoch.count() < -kMaxSeconds) return base::SystemTime::min();
  return base::SystemTime(
      std::chrono::duration_cast<base::SystemTime::duration>(since_epoch + std::chrono::nanoseconds(nanos)));
}

bool ConvertScalar(FieldType type, Value in, std::string_view token, TextArena& arena, Value& out) {
  switch (in.kind()) {
    case Kind::kNull:
      return false;
    case Kind::kText:
      return ConvertText(type, in.AsText(), out);
    case Kind::kInt:
    case Kind::kDouble:
      return ConvertNumber(type, in, token, arena, out);
    case Kind::kBool:
      if (type == FieldType::kString) {
        out = Value::Text(in.AsBool() ? "true" : "false");
        return true;
      }
      if (type != FieldType::kBoolean) return false;
      out = in;
      return true;
  }
  return false;
}

std::optional<Value> ConvertDefault(FieldType type, std::string_view text) {
  Value out;
  if (!ConvertText(type == FieldType::kArrayLength ? FieldType::kInteger : type, text, out)) return std::nullopt;
  return out;
}

}  // namespace clusterpulse::metricsource
