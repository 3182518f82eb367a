#pragma once

#include <memory>
#include <stop_token>
#include <string_view>

#include <absl/status/statusor.h>

#include "common/json/buffer.h"
#include "common/log/logger.h"
#include "hub/history/history_reader.h"
#include "hub/history/vm_client.h"

namespace clusterpulse::history {

// HistoryReader on VictoriaMetrics by /api/v1/query_range. The newest samples show after its -search.latencyOffset
// (30 s by default). Thread-safe; each call is one request.
class VictoriaMetricsReader final : public HistoryReader {
 public:
  // Of a cluster the endpoint is that of vmselect, "http://vmselect:8481/select/0/prometheus". Errors: those of
  // VmClient::Create.
  static absl::StatusOr<std::unique_ptr<VictoriaMetricsReader>> Create(VmOptions server, log::Logger log);

  absl::StatusOr<RangeAnswer> Query(const RangeQuery& query, std::stop_token stop) override;

 private:
  explicit VictoriaMetricsReader(std::unique_ptr<VmClient> client) : client_(std::move(client)) {}

  const std::unique_ptr<VmClient> client_;
};

// The answer to a range query. kDataLoss: it is none; kResourceExhausted: more series or points than `query` allows.
// Points that are no finite numbers are left out.
absl::StatusOr<RangeAnswer> ParseRangeAnswer(const json::Buffer& text, const RangeQuery& query);

}  // namespace clusterpulse::history
