#pragma once

#include <cstddef>
#include <string>

namespace clusterpulse::base {

// The first `most` bytes of `text`, with '?' for each that is not printable ASCII: a text of others, fit for messages.
std::string Printable(std::string text, std::size_t most);

}  // namespace clusterpulse::base
