#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/json/value.h"
#include "common/kube/label_selector.h"
#include "common/metricsource/diagnostics.h"
#include "common/model/labels.h"

namespace clusterpulse::metricsource {

// spec of a MetricSource, as its author wrote it: texts are texts, nothing has been judged. What is absent is empty or
// nullopt. spec/metricsource.md 1. Plain value types.

struct FieldSpec {
  std::string name, path, type;
  std::optional<std::string> default_text;  // absent and "" differ
  bool operator==(const FieldSpec&) const = default;
};

struct ComputedSpec {
  std::string name, expression, type;
  bool operator==(const ComputedSpec&) const = default;
};

struct FilterSpec {
  std::string field, op, value;
  bool operator==(const FilterSpec&) const = default;
};

struct AggregationSpec {
  std::string name, field, function, group_by;
  std::optional<FilterSpec> filter;
  std::optional<std::int64_t> percentile;
  bool operator==(const AggregationSpec&) const = default;
};

struct NamespacesSpec {
  std::vector<std::string> include, exclude;  // wildcards; exclude wins; no include: all
  bool operator==(const NamespacesSpec&) const = default;
};

struct TargetSpec {
  std::string api_version, kind, scope;
  std::string resource;  // ours: the plural, for servers whose discovery cannot be read
  std::optional<NamespacesSpec> namespaces;
  std::string label_selector;  // as list calls take it
  bool operator==(const TargetSpec&) const = default;
};

struct CollectionSpec {
  std::optional<std::int64_t> interval_seconds, timeout_seconds, max_resources, batch_size, retry_attempts, parallelism;
  bool operator==(const CollectionSpec&) const = default;
};

struct RbacSpec {
  std::string resource_type_name;
  std::vector<std::string> filterable_fields;
  std::optional<bool> filter_aggregations;
  bool operator==(const RbacSpec&) const = default;
};

struct Spec {
  TargetSpec target;
  std::vector<FieldSpec> fields;
  std::vector<ComputedSpec> computed;
  std::vector<AggregationSpec> aggregations;
  CollectionSpec collection;
  RbacSpec rbac;
  bool operator==(const Spec&) const = default;
};

// Reads the `spec` object of the resource. A value of a wrong type, an unknown member (with what was perhaps meant) and
// a bad label selector are reported under their paths ("spec.fields[2].type"); the rest is read all the same.
Spec ReadSpec(const json::Value& spec, Diagnostics& diagnostics);

// Reads a compiled definition (spec/wire-and-store.md D.9), as an upstream hub makes them too, back into the spec it
// was made of. What it does not know is left alone: a newer hub may write more.
Spec ReadDefinition(const json::Value& definition, Diagnostics& diagnostics);

// Which clusters a source runs on (spec.clusters, ours). Matches everything when default-constructed.
struct ClusterSelector {
  std::vector<std::string> names;  // wildcards; empty: any name
  kube::LabelSelector labels;      // of the ClusterConnection's spec.labels
  // Both must hold.
  bool Matches(std::string_view cluster, const model::Labels& cluster_labels) const;
  bool operator==(const ClusterSelector&) const = default;
};

// Reads spec.clusters; null: all clusters.
ClusterSelector ReadClusterSelector(const json::Value& clusters, Diagnostics& diagnostics);

}  // namespace clusterpulse::metricsource
