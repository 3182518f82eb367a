#include "common/kube/resource.h"

#include <algorithm>

namespace clusterpulse::kube {

std::string ResourceType::CollectionPath(std::string_view ns) const {
  std::string path = RootPath();
  if (namespaced && !ns.empty()) path.append("/namespaces/").append(ns);
  return path.append("/").append(plural);
}

std::string ResourceType::ObjectPath(const ObjectKey& key) const {
  return CollectionPath(key.ns).append("/").append(key.name);
}

bool IsPathSegment(std::string_view text) {
  if (text.empty() || text.size() > 253 || text == "." || text == "..") return false;
  return std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f || c == '/' || c == '%' || c == '?' || c == '#';
  });
}

}  // namespace clusterpulse::kube
