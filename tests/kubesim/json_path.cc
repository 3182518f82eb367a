#include "tests/kubesim/json_path.h"

#include <charconv>
#include <optional>
#include <string>

namespace clusterpulse::kubesim {
namespace {

using json::Value;
using Found = std::vector<const Value*>;

// A name up to the next dot or bracket; a backslash takes the following byte as it is.
std::string TakeName(std::string_view& path) {
  std::string name;
  while (!path.empty() && path.front() != '.' && path.front() != '[') {
    if (path.front() == '\\' && path.size() > 1) path.remove_prefix(1);
    name.push_back(path.front());
    path.remove_prefix(1);
  }
  return name;
}

Found Member(const Found& from, std::string_view name) {
  Found found;
  for (const Value* value : from) {
    if (const Value* member = value->Find(name)) found.push_back(member);
  }
  return found;
}

std::optional<std::string_view> Quoted(std::string_view text) {
  if (text.size() < 2 || (text.front() != '\'' && text.front() != '"') || text.back() != text.front()) return {};
  return text.substr(1, text.size() - 2);
}

// ?(@.type=="Ready")
Found Filter(const Found& from, std::string_view filter) {
  Found found;
  if (!filter.starts_with("?(@.") || !filter.ends_with(')')) return found;
  filter = filter.substr(4, filter.size() - 5);
  const auto equals = filter.find("==");
  if (equals == filter.npos) return found;
  auto trim = [](std::string_view text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    return text;
  };
  const auto key = trim(filter.substr(0, equals));
  const auto wanted = Quoted(trim(filter.substr(equals + 2)));
  if (!wanted) return found;
  for (const Value* value : from) {
    for (const Value& item : value->items()) {
      if (item[key].StringOr() == *wanted) found.push_back(&item);
    }
  }
  return found;
}

Found Subscript(const Found& from, std::string_view inside) {
  if (const auto name = Quoted(inside)) return Member(from, *name);
  if (inside.starts_with('?')) return Filter(from, inside);
  Found found;
  std::size_t index = 0;
  const bool all = inside == "*";
  if (!all && std::from_chars(inside.data(), inside.data() + inside.size(), index).ec != std::errc()) return found;
  for (const Value* value : from) {
    const auto& items = value->items();
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (all || i == index) found.push_back(&items[i]);
    }
  }
  return found;
}

}  // namespace

Found EvaluatePath(std::string_view path, const Value& object) {
  Found found{&object};
  if (path.starts_with('{') && path.ends_with('}')) path = path.substr(1, path.size() - 2);
  while (!path.empty() && !found.empty()) {
    if (path.front() == '[') {
      const auto end = path.find(']');
      if (end == path.npos) return {};
      found = Subscript(found, path.substr(1, end - 1));
      path.remove_prefix(end + 1);
      continue;
    }
    if (path.front() == '.') path.remove_prefix(1);
    if (const std::string name = TakeName(path); !name.empty()) found = Member(found, name);
  }
  return found;
}

}  // namespace clusterpulse::kubesim
