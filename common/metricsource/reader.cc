#include "common/metricsource/reader.h"

#include "common/base/status.h"

namespace clusterpulse::metricsource {

RowReader::RowReader(const Source& source, base::SystemTime now)
    : source_(source), projector_(*source.projection), context_(arena_, now), row_(source.columns.size()) {}

absl::StatusOr<bool> RowReader::Read(json::Cursor object) {
  arena_.Reset();
  RETURN_IF_ERROR(projector_.Read(object, arena_, fields(), meta_));
  if (!TakesNamespace(source_, meta_.ns)) {
    projector_.Uncount();
    return false;
  }
  source_.computed.Evaluate(row_, context_);
  return true;
}

void RowReader::Compute() {
  arena_.Reset();
  source_.computed.Evaluate(row_, context_);
}

EvaluationCounts RowReader::evaluation() const {
  return {context_.type_errors() - forgotten_.type_errors, context_.budget_errors() - forgotten_.budget_errors};
}

void RowReader::ResetCounts() {
  projector_.ResetCounts();
  forgotten_ += evaluation();
}

}  // namespace clusterpulse::metricsource
