#pragma once

#include <string_view>

namespace clusterpulse::base {

// Whether `text` as a whole matches `pattern`, in which `*` stands for any run of characters (an empty one too), `?`
// for exactly one, and everything else for itself. Case matters. Characters are code points of UTF-8; a byte that is
// none counts as one. Never fails; takes at most |pattern| x |text| steps.
bool MatchesWildcard(std::string_view pattern, std::string_view text);

inline bool HasWildcard(std::string_view pattern) { return pattern.find_first_of("*?") != std::string_view::npos; }

}  // namespace clusterpulse::base
