#include "common/metricsource/spec.h"

#include <algorithm>
#include <span>

#include <fmt/format.h>

#include "common/base/utf8.h"
#include "common/base/wildcard.h"
#include "common/metricsource/lexer.h"

namespace clusterpulse::metricsource {
namespace {

// One object of the spec that is being read: its members by name, with what is wrong reported under their paths.
class Reader {
 public:
  // `known`: every member the object may have; empty: any. `value` null counts as absent.
  Reader(const json::Value& value, std::string path, std::span<const std::string_view> known, Diagnostics& diagnostics)
      : value_(value), path_(std::move(path)), diagnostics_(diagnostics) {
    if (!value.IsNull() && !value.IsObject()) diagnostics_.Error(path_, "is no object");
    if (known.empty()) return;
    for (const auto& [key, member] : value.members()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        diagnostics_.Warning(path_, fmt::format("unknown member {} is ignored", Quoted(key)), Nearest(key, known));
      }
    }
  }

  std::string Path(std::string_view key) const { return fmt::format("{}.{}", path_, key); }
  const json::Value& Member(std::string_view key) const { return value_[key]; }

  void Get(std::string_view key, std::string& out) const {
    const json::Value& member = value_[key];
    if (member.IsString()) {
      out = std::string(member.StringOr());
    } else if (!member.IsNull()) {
      diagnostics_.Error(Path(key), fmt::format("{} is no text", Short(member)));
    }
  }
  void Get(std::string_view key, std::optional<std::string>& out) const {
    if (!value_[key].IsNull()) Get(key, out.emplace());
  }
  void Get(std::string_view key, std::optional<std::int64_t>& out) const {
    const json::Value& member = value_[key];
    if (member.IsInt()) {
      out = member.IntOr();
    } else if (!member.IsNull()) {
      diagnostics_.Error(Path(key), fmt::format("{} is no integer", Short(member)));
    }
  }
  void Get(std::string_view key, std::optional<bool>& out) const {
    const json::Value& member = value_[key];
    if (member.IsBool()) {
      out = member.BoolOr();
    } else if (!member.IsNull()) {
      diagnostics_.Error(Path(key), fmt::format("{} is neither true nor false", Short(member)));
    }
  }
  void Get(std::string_view key, std::vector<std::string>& out) const {
    ForEach(key, [&](const json::Value& item, const std::string& path) {
      if (item.IsString()) {
        out.emplace_back(item.StringOr());
      } else {
        diagnostics_.Error(path, fmt::format("{} is no text", Short(item)));
      }
    });
  }
  // f(item, path) for each item of a list.
  template <typename F>
  void ForEach(std::string_view key, F f) const {
    const json::Value& member = value_[key];
    if (!member.IsNull() && !member.IsArray()) diagnostics_.Error(Path(key), "is no list");
    std::size_t index = 0;
    for (const json::Value& item : member.items()) f(item, fmt::format("{}[{}]", Path(key), index++));
  }

 private:
  static std::string Short(const json::Value& value) { return Shortened(value.Dump()); }

  const json::Value& value_;
  const std::string path_;
  Diagnostics& diagnostics_;
};

// What a resource's spec may hold is known; a definition may come from a newer hub.
enum class Strictness { kResource, kDefinition };

std::span<const std::string_view> Known(Strictness strictness, std::span<const std::string_view> members) {
  return strictness == Strictness::kResource ? members : std::span<const std::string_view>();
}

constexpr std::string_view kSpecMembers[] = {"source",     "fields", "computed", "aggregations",
                                             "collection", "rbac",   "clusters", "enabled"};
constexpr std::string_view kTargetMembers[] = {"apiVersion", "kind",       "scope",
                                               "resource",   "namespaces", "labelSelector"};
constexpr std::string_view kNamespacesMembers[] = {"include", "exclude"};
constexpr std::string_view kSelectorMembers[] = {"matchLabels", "matchExpressions"};
constexpr std::string_view kFieldMembers[] = {"name", "path", "type", "default"};
constexpr std::string_view kComputedMembers[] = {"name", "expression", "type"};
constexpr std::string_view kAggregationMembers[] = {"name", "field", "function", "filter", "groupBy", "percentile"};
constexpr std::string_view kFilterMembers[] = {"field", "operator", "value"};
constexpr std::string_view kCollectionMembers[] = {"intervalSeconds", "timeoutSeconds", "maxResources",
                                                   "batchSize",       "retryAttempts",  "parallelism"};
constexpr std::string_view kRbacMembers[] = {"resourceTypeName", "filterableFields", "filterAggregations"};
constexpr std::string_view kClustersMembers[] = {"names", "labelSelector"};

kube::LabelSelector ReadSelector(const json::Value& value, const std::string& path, Diagnostics& diagnostics) {
  const Reader check(value, path, kSelectorMembers, diagnostics);
  std::vector<kube::LabelSelector::Problem> problems;
  kube::LabelSelector selector = kube::LabelSelector::Read(value, problems);
  constexpr std::size_t kMost = 200;
  for (const auto& problem : problems) {
    diagnostics.Error(fmt::format("{}.{}", path, base::Shortened(problem.path, kMost)),
                      base::Shortened(problem.message, kMost));
  }
  return selector;
}

TargetSpec ReadTarget(const json::Value& value, const std::string& path, Strictness strictness,
                      Diagnostics& diagnostics) {
  TargetSpec out;
  const Reader reader(value, path, Known(strictness, kTargetMembers), diagnostics);
  reader.Get("apiVersion", out.api_version);
  reader.Get("kind", out.kind);
  reader.Get("scope", out.scope);
  // A definition's "resource" may be a guess.
  reader.Get(strictness == Strictness::kDefinition ? "plural" : "resource", out.resource);
  if (const json::Value& namespaces = reader.Member("namespaces"); !namespaces.IsNull()) {
    const Reader lists(namespaces, reader.Path("namespaces"), Known(strictness, kNamespacesMembers), diagnostics);
    lists.Get("include", out.namespaces.emplace().include);
    lists.Get("exclude", out.namespaces->exclude);
  }
  if (strictness == Strictness::kDefinition) {
    reader.Get("labelSelector", out.label_selector);
  } else {
    out.label_selector = ReadSelector(reader.Member("labelSelector"), reader.Path("labelSelector"), diagnostics).Text();
  }
  return out;
}

Spec Read(const json::Value& value, Strictness strictness, Diagnostics& diagnostics) {
  Spec out;
  const Reader spec(value, "spec", Known(strictness, kSpecMembers), diagnostics);
  out.target = ReadTarget(spec.Member("source"), spec.Path("source"), strictness, diagnostics);
  spec.ForEach("fields", [&](const json::Value& item, const std::string& at) {
    const Reader reader(item, at, Known(strictness, kFieldMembers), diagnostics);
    FieldSpec& field = out.fields.emplace_back();
    reader.Get("name", field.name);
    reader.Get("path", field.path);
    reader.Get("type", field.type);
    reader.Get("default", field.default_text);
  });
  spec.ForEach("computed", [&](const json::Value& item, const std::string& at) {
    const Reader reader(item, at, Known(strictness, kComputedMembers), diagnostics);
    ComputedSpec& computed = out.computed.emplace_back();
    reader.Get("name", computed.name);
    reader.Get("expression", computed.expression);
    reader.Get("type", computed.type);
  });
  spec.ForEach("aggregations", [&](const json::Value& item, const std::string& at) {
    const Reader reader(item, at, Known(strictness, kAggregationMembers), diagnostics);
    AggregationSpec& aggregation = out.aggregations.emplace_back();
    reader.Get("name", aggregation.name);
    reader.Get("field", aggregation.field);
    reader.Get("function", aggregation.function);
    reader.Get("groupBy", aggregation.group_by);
    reader.Get("percentile", aggregation.percentile);
    // A definition leaves a percentile of 0 out.
    if (strictness == Strictness::kDefinition && aggregation.function == "percentile" && !aggregation.percentile) {
      aggregation.percentile = 0;
    }
    if (const json::Value& filter = reader.Member("filter"); !filter.IsNull()) {
      const Reader parts(filter, reader.Path("filter"), Known(strictness, kFilterMembers), diagnostics);
      parts.Get("field", aggregation.filter.emplace().field);
      parts.Get("operator", aggregation.filter->op);
      parts.Get("value", aggregation.filter->value);
    }
  });
  const Reader collection(spec.Member("collection"), spec.Path("collection"), Known(strictness, kCollectionMembers),
                          diagnostics);
  collection.Get("intervalSeconds", out.collection.interval_seconds);
  collection.Get("timeoutSeconds", out.collection.timeout_seconds);
  collection.Get("maxResources", out.collection.max_resources);
  collection.Get("batchSize", out.collection.batch_size);
  collection.Get("retryAttempts", out.collection.retry_attempts);
  collection.Get("parallelism", out.collection.parallelism);
  const Reader rbac(spec.Member("rbac"), spec.Path("rbac"), Known(strictness, kRbacMembers), diagnostics);
  rbac.Get("resourceTypeName", out.rbac.resource_type_name);
  rbac.Get("filterableFields", out.rbac.filterable_fields);
  rbac.Get("filterAggregations", out.rbac.filter_aggregations);
  return out;
}

}  // namespace

Spec ReadSpec(const json::Value& spec, Diagnostics& diagnostics) {
  return Read(spec, Strictness::kResource, diagnostics);
}

Spec ReadDefinition(const json::Value& definition, Diagnostics& diagnostics) {
  return Read(definition, Strictness::kDefinition, diagnostics);
}

bool ClusterSelector::Matches(std::string_view cluster, const model::Labels& cluster_labels) const {
  const bool is_named = names.empty() || std::any_of(names.begin(), names.end(), [&](const std::string& pattern) {
                          return base::MatchesWildcard(pattern, cluster);
                        });
  return is_named && labels.Matches(cluster_labels);
}

ClusterSelector ReadClusterSelector(const json::Value& clusters, Diagnostics& diagnostics) {
  ClusterSelector out;
  const Reader reader(clusters, "spec.clusters", kClustersMembers, diagnostics);
  reader.Get("names", out.names);
  out.labels = ReadSelector(reader.Member("labelSelector"), reader.Path("labelSelector"), diagnostics);
  return out;
}

}  // namespace clusterpulse::metricsource
