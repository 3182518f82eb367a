#pragma once

#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/json/value.h"
#include "common/kube/testing/object_store.h"

namespace clusterpulse::sources {

// A definition as a hub makes it, of a source on ConfigMaps.
struct Definition {
  std::string name = "maps", hash = "1111";
  int interval = 60;
  std::string path = ".data.size";
  std::string kind = "ConfigMap", api_version = "v1";
  std::string compiled_at = "2031-04-05T06:07:08Z";
  std::string include;  // a namespace; empty: all
  int max = 5000;

  std::string Text() const {
    json::Value v;
    v.Mutable("name") = name;
    v.Mutable("namespace") = "hub";
    json::Value& source = v.Mutable("source");
    source.Mutable("apiVersion") = api_version;
    source.Mutable("kind") = kind;
    source.Mutable("scope") = "Namespaced";
    if (!include.empty()) source.Mutable("namespaces").Mutable("include").MutableArray().emplace_back(include);
    json::Value size, label;
    size.Mutable("name") = "size";
    size.Mutable("path") = path;
    size.Mutable("type") = "quantity";
    label.Mutable("name") = "team";
    label.Mutable("path") = ".metadata.labels.team";
    label.Mutable("type") = "string";
    v.Mutable("fields").MutableArray() = {size, label};
    json::Value kib;
    kib.Mutable("name") = "kib";
    kib.Mutable("expression") = "round(size / 1024, 2)";
    kib.Mutable("type") = "float";
    v.Mutable("computed").MutableArray() = {kib};
    json::Value sum, by_team;
    sum.Mutable("name") = "total";
    sum.Mutable("function") = "sum";
    sum.Mutable("field") = "kib";
    by_team.Mutable("name") = "by_team";
    by_team.Mutable("function") = "count";
    by_team.Mutable("groupBy") = "team";
    v.Mutable("aggregations").MutableArray() = {sum, by_team};
    json::Value& collection = v.Mutable("collection");
    collection.Mutable("intervalSeconds") = interval;
    collection.Mutable("timeoutSeconds") = 30;
    collection.Mutable("maxResources") = max;
    collection.Mutable("batchSize") = 10;
    collection.Mutable("retryAttempts") = 0;
    collection.Mutable("parallelism") = 3;
    v.Mutable("rbac").Mutable("resourceTypeName") = "map";
    v.Mutable("compiledAt") = compiled_at;
    if (!hash.empty()) v.Mutable("hash") = hash;
    return v.Dump();
  }
};

inline const kube::ResourceType kConfigMaps{"", "v1", "configmaps", "ConfigMap", true};

// `ns/name`, of so many KiB.
inline void PutMap(kube::ObjectStore& store, const std::string& ns, const std::string& name, int kib,
                   const std::string& team = "a") {
  json::Value map;
  map.Mutable("apiVersion") = "v1";
  map.Mutable("kind") = "ConfigMap";
  map.Mutable("metadata").Mutable("name") = name;
  map.Mutable("metadata").Mutable("namespace") = ns;
  map.Mutable("metadata").Mutable("labels").Mutable("team") = team;
  map.Mutable("data").Mutable("size") = fmt::format("{}Ki", kib);
  REQUIRE(store.Put(kConfigMaps, std::move(map)).ok());
}

}  // namespace clusterpulse::sources
