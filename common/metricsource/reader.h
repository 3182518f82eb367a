#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/json/cursor.h"
#include "common/metricsource/computed.h"
#include "common/metricsource/projection.h"
#include "common/metricsource/source.h"
#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

// What went wrong in the expressions of a run's rows (EvaluationContext).
struct EvaluationCounts {
  std::uint64_t type_errors = 0, budget_errors = 0;
  EvaluationCounts& operator+=(const EvaluationCounts& other) {
    type_errors += other.type_errors;
    budget_errors += other.budget_errors;
    return *this;
  }
};

// Turns objects into rows of one source: fields out of the object, then the computed values. Working memory that is
// reused from row to row; confined to one thread. The source is borrowed and must outlive this.
class RowReader {
 public:
  // `now`: what expressions take for the present, the same for all rows of a run.
  RowReader(const Source& source, base::SystemTime now);

  // False: the object is of a namespace that the source does not take. Otherwise values() and meta() are its row, until
  // the next call. kDataLoss: broken JSON.
  absl::StatusOr<bool> Read(json::Cursor object);

  std::span<const Value> values() const { return row_; }
  const RowMeta& meta() const { return meta_; }

  // The object that was read last is not to be counted after all.
  void Uncount() { projector_.Uncount(); }

  // For fields that come from elsewhere: set them, then Compute, and values() is the row. Texts must live until then.
  std::span<Value> fields() { return std::span(row_).first(source_.projection->size()); }
  void Compute();

  // Over all rows of namespaces that the source takes.
  std::span<const FieldCounts> counts() const { return projector_.counts(); }
  EvaluationCounts evaluation() const;
  void ResetCounts();

 private:
  const Source& source_;
  Projector projector_;
  TextArena arena_;
  EvaluationContext context_;
  EvaluationCounts forgotten_;  // by ResetCounts
  std::vector<Value> row_;
  RowMeta meta_;
};

}  // namespace clusterpulse::metricsource
