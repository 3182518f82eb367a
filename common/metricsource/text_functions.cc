#include "common/metricsource/text_functions.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include <utf8proc.h>

#include "common/base/utf8.h"

namespace clusterpulse::metricsource {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

char ChangeAscii(char c, bool to_upper) {
  if (to_upper) return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// The character at text[i] in the other case, and how many bytes it was.
std::string_view ChangeCharacter(std::string_view text, std::size_t i, bool to_upper, char* buffer,
                                 std::size_t& length) {
  length = base::Utf8SequenceLength(text, i);
  if (length == 0) {
    length = 1;
    return kReplacement;
  }
  utf8proc_int32_t c = 0;
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + i), static_cast<utf8proc_ssize_t>(length),
                   &c);
  // A capital sharp s is not what Unicode's data maps the small one to; utf8proc adds that.
  constexpr utf8proc_int32_t kSharpS = 0xDF;
  if (to_upper) {
    c = c == kSharpS ? c : utf8proc_toupper(c);
  } else {
    c = utf8proc_tolower(c);
  }
  return {buffer, static_cast<std::size_t>(utf8proc_encode_char(c, reinterpret_cast<utf8proc_uint8_t*>(buffer)))};
}

// The last boundary of a character at or before `i`; bytes that are not UTF-8 are characters of their own.
std::size_t Boundary(std::string_view text, std::size_t i) {
  if (i == text.size() || (text[i] & 0xC0) != 0x80) return i;
  for (std::size_t back = 1; back <= 3 && back <= i; ++back) {
    const std::size_t length = base::Utf8SequenceLength(text, i - back);
    if (length > back) return i - back;
    if (length > 0) break;
  }
  return i;
}

}  // namespace

bool ChangeCase(std::string_view text, bool to_upper, TextArena& arena, std::string_view& out) {
  std::size_t same = 0;
  while (same < text.size() && static_cast<unsigned char>(text[same]) < 0x80 &&
         ChangeAscii(text[same], to_upper) == text[same]) {
    ++same;
  }
  if (same == text.size()) {
    out = text;
    return true;
  }
  std::size_t size = text.size(), length = 0;
  std::array<char, 4> buffer;
  bool is_ascii = true;
  for (std::size_t i = same; i < text.size(); i += length) {
    length = 1;
    if (static_cast<unsigned char>(text[i]) < 0x80) continue;
    is_ascii = false;
    size += ChangeCharacter(text, i, to_upper, buffer.data(), length).size();
    size -= length;
  }
  char* const made = arena.Allocate(size);
  if (made == nullptr) return false;
  char* to = std::copy(text.data(), text.data() + same, made);
  if (is_ascii) {
    for (const char c : text.substr(same)) *to++ = ChangeAscii(c, to_upper);
  } else {
    for (std::size_t i = same; i < text.size(); i += length) {
      length = 1;
      if (static_cast<unsigned char>(text[i]) < 0x80) {
        *to++ = ChangeAscii(text[i], to_upper);
        continue;
      }
      const std::string_view changed = ChangeCharacter(text, i, to_upper, buffer.data(), length);
      to = std::copy(changed.begin(), changed.end(), to);
    }
  }
  out = {made, size};
  return true;
}

std::string_view Substring(std::string_view text, std::int64_t start, std::int64_t length) {
  const auto size = static_cast<std::int64_t>(text.size());
  if (start < 0 || start >= size || length <= 0) return {};
  const std::int64_t end = length < size - start ? start + length : size;
  const std::size_t from = Boundary(text, static_cast<std::size_t>(start));
  return text.substr(from, Boundary(text, static_cast<std::size_t>(end)) - from);
}

bool Contains(std::string_view text, std::string_view part) {
  // The search of the standard library starts sooner, but needs the product of the sizes.
  constexpr std::size_t kShort = 256;
  if (text.size() <= kShort || part.empty()) return text.find(part) != std::string_view::npos;
  return ::memmem(text.data(), text.size(), part.data(), part.size()) != nullptr;
}

bool FormatBytes(double bytes, TextArena& arena, std::string_view& out) {
  constexpr std::array<std::string_view, 6> kUnits = {"B", "Ki", "Mi", "Gi", "Ti", "Pi"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < kUnits.size(); ++unit) bytes /= 1024;
  std::array<char, 320> text;  // the largest double in Pi has 294 digits before the point
  char* end = std::to_chars(text.data(), text.data() + text.size(), bytes, std::chars_format::fixed, 2).ptr;
  end = std::copy(kUnits[unit].begin(), kUnits[unit].end(), end);
  return arena.Copy({text.data(), static_cast<std::size_t>(end - text.data())}, out);
}

}  // namespace clusterpulse::metricsource
