#include "common/wire/names.h"

#include <algorithm>

namespace clusterpulse::wire {
namespace {

bool IsAlphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// Labels of any length: servers of all versions take node names whose parts are longer than 63.
bool IsLabel(std::string_view label) {
  if (label.empty() || !IsAlphanumeric(label.front()) || !IsAlphanumeric(label.back())) return false;
  for (const char c : label) {
    if (!IsAlphanumeric(c) && c != '-') return false;
  }
  return true;
}

}  // namespace

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= 253 && std::none_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' || c == 0x7f;
  });
}

bool IsDnsLabel(std::string_view name) { return name.size() <= 63 && IsLabel(name); }

bool IsDnsSubdomain(std::string_view name) {
  if (name.size() > 253) return false;
  for (;;) {
    const std::size_t dot = name.find('.');
    if (!IsLabel(name.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    name.remove_prefix(dot + 1);
  }
}

}  // namespace clusterpulse::wire
