#pragma once

#include <string_view>

namespace clusterpulse::json {

// Whether the text is exactly one JSON object, in UTF-8: what may be put into a document as it is. Nesting is not
// bounded, and costs no stack.
bool IsObject(std::string_view text);

}  // namespace clusterpulse::json
