#include "common/base/printable.h"

#include <algorithm>

namespace clusterpulse::base {

std::string Printable(std::string text, std::size_t most) {
  text.resize(std::min(text.size(), most));
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

}  // namespace clusterpulse::base
