#pragma once

#include <cstdint>
#include <string_view>

#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

// Upper or lower case by Unicode's simple mappings (one character for one, as upstream's), at any language; bytes that
// are not UTF-8 become U+FFFD. Text that does not change is given back as it is. False: the arena's bound.
bool ChangeCase(std::string_view text, bool to_upper, TextArena& arena, std::string_view& out);

// At most `length` bytes from byte `start` on. An end that would split a character moves to before it, so that parts
// that meet in bytes meet. "" when start is negative or not below the size, or length is negative.
std::string_view Substring(std::string_view text, std::int64_t start, std::int64_t length);

// Time linear in the sizes.
bool Contains(std::string_view text, std::string_view part);

// 1536 is 1.50Ki. False: the arena's bound.
bool FormatBytes(double bytes, TextArena& arena, std::string_view& out);

}  // namespace clusterpulse::metricsource
