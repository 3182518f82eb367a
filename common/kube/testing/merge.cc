#include "common/kube/testing/merge.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace clusterpulse::kube {
namespace {

using json::Value;

// Empty: the lists are not merged by key.
std::string_view MergeKey(const Value::Array& target, const Value::Array& patch) {
  for (const std::string_view key : {"name", "type", "key", "uid", "ip", "containerPort"}) {
    const auto has = [key](const Value& item) { return item.Find(key) != nullptr || item.Find("$patch") != nullptr; };
    if (!patch.empty() && std::all_of(target.begin(), target.end(), has) &&
        std::all_of(patch.begin(), patch.end(), has)) {
      return key;
    }
  }
  return "";
}

void MergeArray(Value& target, const Value& patch) {
  const std::string_view key = MergeKey(target.items(), patch.items());
  if (key.empty()) {
    target = patch;
    return;
  }
  Value::Array& items = target.MutableArray();
  for (const Value& change : patch.items()) {
    const std::string_view directive = change["$patch"].StringOr();
    if (directive == "replace") {
      items.clear();
      continue;
    }
    const auto same =
        std::find_if(items.begin(), items.end(), [&](const Value& item) { return item[key] == change[key]; });
    if (directive == "delete") {
      if (same != items.end()) items.erase(same);
    } else if (same != items.end()) {
      StrategicMergePatch(*same, change);
    } else {
      StrategicMergePatch(items.emplace_back(Value::Object()), change);
    }
  }
}

void DeleteFromList(Value& target, std::string_view key, const Value& unwanted) {
  if (target.Find(key) == nullptr) return;
  Value::Array& items = target.Mutable(key).MutableArray();
  for (const Value& item : unwanted.items()) items.erase(std::remove(items.begin(), items.end(), item), items.end());
}

}  // namespace

void StrategicMergePatch(Value& target, const Value& patch) {
  constexpr std::string_view kDeleteFromList = "$deleteFromPrimitiveList/";
  if (!patch.IsObject()) {
    target = patch;
    return;
  }
  if (patch["$patch"].StringOr() == "replace") target = Value::Object();
  target.MutableObject();
  for (const auto& [key, member] : patch.members()) {
    if (key.starts_with(kDeleteFromList)) {
      DeleteFromList(target, std::string_view(key).substr(kDeleteFromList.size()), member);
    } else if (key.starts_with('$')) {
      continue;
    } else if (member.IsNull() || member["$patch"].StringOr() == "delete") {
      target.Erase(key);
    } else if (member.IsArray() && target[key].IsArray()) {
      MergeArray(target.Mutable(key), member);
    } else {
      StrategicMergePatch(target.Mutable(key), member);
    }
  }
}

}  // namespace clusterpulse::kube
