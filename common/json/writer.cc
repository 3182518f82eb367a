#include "common/json/writer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include "common/base/utf8.h"

namespace clusterpulse::json {
namespace {

constexpr char kHex[] = "0123456789abcdef";

constexpr std::array<bool, 256> MakePlain() {
  std::array<bool, 256> plain{};
  for (std::size_t c = 0; c < plain.size(); ++c) plain[c] = IsPlain(static_cast<char>(c));
  return plain;
}
constexpr std::array<bool, 256> kPlain = MakePlain();

// Whether all of the eight bytes are plain.
bool ArePlain(const char* bytes) {
  constexpr std::uint64_t kEach = 0x0101010101010101;
  std::uint64_t x;
  std::memcpy(&x, bytes, sizeof x);
  // The top bit of a byte is set where it is below `bound`; wrongly only above a byte where it is set rightly.
  const auto below = [](std::uint64_t v, std::uint64_t bound) { return (v - kEach * bound) & ~v; };
  const auto equal = [&](std::uint64_t v, std::uint64_t byte) { return below(v ^ (kEach * byte), 1); };
  // '<' and '>', '"' and '&' differ in one bit.
  const std::uint64_t found =
      x | below(x, 0x20) | equal(x, '\\') | equal(x | (kEach * 0x02), '>') | equal(x | (kEach * 0x04), '&');
  return (found & (kEach * 0x80)) == 0;
}

}  // namespace

void AppendEscaped(std::string& out, std::string_view text) {
  std::size_t start = 0;
  std::size_t i = 0;
  for (;;) {
    while (i + 8 <= text.size() && ArePlain(text.data() + i)) i += 8;
    while (i < text.size() && kPlain[static_cast<unsigned char>(text[i])]) ++i;
    if (i == text.size()) break;
    const auto c = static_cast<unsigned char>(text[i]);
    std::size_t length = 1;
    if (c >= 0x80) {
      length = base::Utf8SequenceLength(text, i);
      const bool line_separator =
          length == 3 && c == 0xE2 && text[i + 1] == '\x80' && (text[i + 2] == '\xA8' || text[i + 2] == '\xA9');
      if (length > 0 && !line_separator) {
        i += length;
        continue;
      }
      out.append(text.substr(start, i - start));
      if (line_separator) {
        out.append(text[i + 2] == '\xA8' ? "\\u2028" : "\\u2029");
      } else {
        out.append("\\ufffd");
        length = 1;
      }
    } else {
      out.append(text.substr(start, i - start));
      switch (c) {
        case '"':
          out.append("\\\"");
          break;
        case '\\':
          out.append("\\\\");
          break;
        case '\n':
          out.append("\\n");
          break;
        case '\r':
          out.append("\\r");
          break;
        case '\t':
          out.append("\\t");
          break;
        case '\b':
          out.append("\\b");
          break;
        case '\f':
          out.append("\\f");
          break;
        default:
          out.append("\\u00");
          out.push_back(kHex[c >> 4]);
          out.push_back(kHex[c & 0xF]);
      }
    }
    i += length;
    start = i;
  }
  out.append(text.substr(start));
}

std::size_t WriteNumber(char* out, double value) {
  const double magnitude = std::fabs(value);
  const bool exponent = magnitude != 0 && (magnitude < 1e-6 || magnitude >= 1e21);
  // From 2^53 up to_chars would print every digit of the integer where Go prints the shortest and zeros.
  const bool large = !exponent && magnitude >= 9007199254740992.0;
  // The longest: a sign, 0.00000 and 17 digits, or d.ddde-XXX with 17 digits.
  char* const end = std::to_chars(out, out + kMaxNumberSize, value,
                                  exponent || large ? std::chars_format::scientific : std::chars_format::fixed)
                        .ptr;
  if (large) {
    char* const e = std::find(out, end, 'e');  // d.ddde+XX
    std::size_t zeros = 0;
    std::from_chars(e + 2, end, zeros);
    char* const point = std::find(out, e, '.');
    if (point == e) return static_cast<std::size_t>(std::fill_n(e, zeros, '0') - out);
    std::copy(point + 1, e, point);
    zeros -= static_cast<std::size_t>(e - point - 1);
    return static_cast<std::size_t>(std::fill_n(e - 1, zeros, '0') - out);
  }
  if (exponent && end - out >= 4 && end[-4] == 'e' && end[-3] == '-' && end[-2] == '0') {
    end[-2] = end[-1];  // Go writes e-9 where C writes e-09
    return static_cast<std::size_t>(end - 1 - out);
  }
  return static_cast<std::size_t>(end - out);
}

void AppendNumber(std::string& out, double value) {
  std::array<char, kMaxNumberSize> digits;
  out.append(digits.data(), WriteNumber(digits.data(), value));
}

void Writer::Separate() {
  if (comma_) out_.push_back(',');
  comma_ = true;
}

Writer& Writer::Open(char c) {
  Separate();
  out_.push_back(c);
  comma_ = false;
  return *this;
}

Writer& Writer::Close(char c) {
  out_.push_back(c);
  comma_ = true;
  return *this;
}

Writer& Writer::Key(Name key) {
  Separate();
  out_.push_back('"');
  if (key.is_plain()) {
    out_.append(key.text());
  } else {
    AppendEscaped(out_, key.text());
  }
  out_.append("\":");
  comma_ = false;
  return *this;
}

Writer& Writer::String(std::string_view value) {
  Separate();
  out_.push_back('"');
  AppendEscaped(out_, value);
  out_.push_back('"');
  return *this;
}

Writer& Writer::Int(std::int64_t value) {
  Separate();
  std::array<char, 24> digits;
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  (void)error;
  out_.append(digits.data(), end);
  return *this;
}

Writer& Writer::Double(double value) {
  if (!std::isfinite(value)) return Null();
  Separate();
  AppendNumber(out_, value);
  return *this;
}

Writer& Writer::Bool(bool value) { return Raw(value ? "true" : "false"); }

Writer& Writer::Null() { return Raw("null"); }

Writer& Writer::Raw(std::string_view json) {
  Separate();
  out_.append(json);
  return *this;
}

}  // namespace clusterpulse::json
