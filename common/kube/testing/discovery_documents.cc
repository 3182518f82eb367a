#include "common/kube/testing/discovery_documents.h"

#include <map>
#include <set>

#include <fmt/format.h>

namespace clusterpulse::kube {
namespace {

using json::Value;

Value Strings(const std::vector<std::string>& texts) {
  Value::Array array;
  for (const std::string& text : texts) array.emplace_back(text);
  return array;
}

Value Group(const std::string& name, const std::set<std::string>& versions) {
  Value::Array list;
  for (const std::string& version : versions) {
    list.emplace_back(Value::Object{{"groupVersion", fmt::format("{}/{}", name, version)}, {"version", version}});
  }
  Value preferred = list.front();
  return Value::Object{{"name", name}, {"versions", std::move(list)}, {"preferredVersion", std::move(preferred)}};
}

Value Resources(const std::vector<ServedTypePtr>& types, const std::string& group_version) {
  Value::Array list;
  for (const ServedTypePtr& type : types) {
    if (type->resource.ApiVersion() != group_version) continue;
    Value::Object entry{{"name", type->resource.plural},
                        {"singularName", type->custom ? type->singular : ""},
                        {"namespaced", type->resource.namespaced},
                        {"kind", type->resource.kind},
                        {"verbs", Strings({"create", "delete", "get", "list", "patch", "update", "watch"})}};
    if (!type->short_names.empty()) entry["shortNames"] = Strings(type->short_names);
    list.emplace_back(entry);
    if (!type->has_status) continue;
    entry["name"] = type->resource.plural + "/status";
    entry["verbs"] = Strings({"get", "patch", "update"});
    entry.erase("shortNames");
    list.emplace_back(std::move(entry));
  }
  return list;
}

Value Version() {
  return Value::Object{{"major", "1"},
                       {"minor", "20"},
                       {"gitVersion", "v1.20.2"},
                       {"gitCommit", "simulated"},
                       {"gitTreeState", "clean"},
                       {"buildDate", "2021-01-13T13:20:00Z"},
                       {"goVersion", "go1.19.8"},
                       {"compiler", "gc"},
                       {"platform", "linux/amd64"}};
}

}  // namespace

std::optional<std::string> DiscoveryDocument(const ObjectStore& store, std::string_view path) {
  if (path == "/version") return Version().Dump();
  if (path == "/api") {
    return Value(Value::Object{{"kind", "APIVersions"}, {"versions", Strings({"v1"})}}).Dump();
  }
  const auto types = store.Types();
  std::map<std::string, std::set<std::string>> groups;
  for (const ServedTypePtr& type : types) groups[type->resource.group].insert(type->resource.version);
  if (path == "/apis") {
    Value::Array list;
    for (const auto& [name, versions] : groups) {
      if (!name.empty()) list.push_back(Group(name, versions));
    }
    return Value(Value::Object{{"kind", "APIGroupList"}, {"apiVersion", "v1"}, {"groups", std::move(list)}}).Dump();
  }
  std::string group, version;
  if (path == "/api/v1") {
    version = "v1";
  } else if (path.starts_with("/apis/")) {
    const auto rest = path.substr(6);
    const auto slash = rest.find('/');
    group = rest.substr(0, slash);
    if (group.empty()) return std::nullopt;
    if (slash != rest.npos) version = rest.substr(slash + 1);
  } else {
    return std::nullopt;
  }
  const auto found = groups.find(group);
  if (found == groups.end()) return std::nullopt;
  if (version.empty()) {
    Value document = Group(group, found->second);
    document.Mutable("kind") = "APIGroup";
    document.Mutable("apiVersion") = "v1";
    return document.Dump();
  }
  if (!found->second.contains(version)) return std::nullopt;
  const std::string group_version = group.empty() ? version : group + "/" + version;
  return Value(Value::Object{{"kind", "APIResourceList"},
                             {"apiVersion", "v1"},
                             {"groupVersion", group_version},
                             {"resources", Resources(types, group_version)}})
      .Dump();
}

}  // namespace clusterpulse::kube
