#pragma once

#include "common/json/cursor.h"
#include "common/json/value.h"
#include "common/kube/object_meta.h"

namespace clusterpulse::reconcile {

// Projection of the object for the watch cache. `spec` is as written: nothing in it is to be trusted before it was
// compiled.
struct MetricSource {
  kube::ObjectMeta meta;
  json::Value spec, status;

  kube::ObjectKey key() const { return meta.key(); }
};

// Project of a kube::WatchCache<MetricSource>; `meta` equals out.meta.
absl::Status ReadMetricSource(json::Cursor object, kube::ObjectMeta& meta, MetricSource& out);

}  // namespace clusterpulse::reconcile
