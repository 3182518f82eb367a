#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace clusterpulse::runtime {

// The longest prefix of at most `max_bytes` that does not end inside a UTF-8 sequence.
inline std::string CutUtf8(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  std::size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end));
}

}  // namespace clusterpulse::runtime
