#pragma once

#include <string>
#include <string_view>

#include <catch2/catch.hpp>

#include "common/json/value.h"
#include "hub/reconcile/metricsource/metric_source.h"

// MetricSources for the tests of this folder.
namespace clusterpulse::reconcile {

inline json::Value ParsedJson(std::string_view text) {
  auto value = json::Value::Parse(text);
  REQUIRE(value.ok());
  return *std::move(value);
}

// hub/<name> on pods: phase, restarts and a computed value. `more` is merged into the spec.
inline MetricSource PodSource(std::string name, std::string_view more = "{}", std::int64_t generation = 1) {
  MetricSource object;
  object.meta.ns = "hub";
  object.meta.uid = "uid-" + name;
  object.meta.name = std::move(name);
  object.meta.generation = generation;
  object.meta.creation_timestamp = "2031-01-01T00:00:00Z";
  object.spec = ParsedJson(R"({
    "source": {"apiVersion": "v1", "kind": "Pod"},
    "fields": [{"name": "phase", "path": ".status.phase"},
               {"name": "restarts", "path": ".status.restarts", "type": "integer"}],
    "computed": [{"name": "twice", "expression": "restarts * 2", "type": "integer"}],
    "aggregations": [{"name": "total", "function": "count"}, {"name": "sum", "function": "sum", "field": "restarts"},
                     {"name": "by_phase", "function": "count", "groupBy": "phase"}],
    "rbac": {"resourceTypeName": "pod"}})");
  json::MergePatch(object.spec, ParsedJson(more));
  return object;
}

}  // namespace clusterpulse::reconcile
