#include "hub/reconcile/metricsource/metric_source.h"

#include <string_view>
#include <utility>

#include "common/base/status.h"

namespace clusterpulse::reconcile {

absl::Status ReadMetricSource(json::Cursor object, kube::ObjectMeta& meta, MetricSource& out) {
  out = MetricSource();
  const auto keep = [](json::Cursor value, json::Value& to) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string_view raw, value.Raw());
    // What nobody can read is none: a spec is then refused as empty, a status written anew.
    if (auto parsed = json::Value::Parse(raw); parsed.ok()) to = *std::move(parsed);
    return absl::OkStatus();
  };
  absl::Status status = object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "metadata") return kube::ReadMeta(value, kube::MetaParts::kAll, out.meta);
    if (key == "spec") return keep(value, out.spec);
    if (key == "status") return keep(value, out.status);
    return absl::OkStatus();
  });
  meta = out.meta;
  return status;
}

}  // namespace clusterpulse::reconcile
