#pragma once

#include "common/telemetry/registry.h"
#include "hub/store/state_store.h"

namespace clusterpulse::store {

// Counts and times every call to another store: clusterpulse_hub_store_operations_total{op,result} and
// clusterpulse_hub_store_operation_seconds{op}. `result` is ok, or the error's class. Thread-safe as the store is.
class MeteredStore final : public StateStore {
 public:
  // Both are borrowed and must outlive this.
  MeteredStore(StateStore& store, telemetry::Registry& registry);

  absl::StatusOr<ApplyResult> Apply(const WriterPosition& position, const std::vector<Write>& writes) override;
  absl::Status Commit(const std::vector<Write>& writes) override;
  absl::StatusOr<std::uint64_t> AcquireEpoch(const std::string& cluster, WriterRole role, std::int64_t now_ms) override;
  absl::StatusOr<std::optional<std::string>> Get(const std::string& key) override;
  absl::StatusOr<std::vector<std::optional<std::string>>> GetMany(const std::vector<std::string>& keys) override;
  absl::StatusOr<std::map<std::string, std::string>> HashGetAll(const std::string& key) override;
  absl::StatusOr<std::vector<std::string>> SetMembers(const std::string& key) override;
  absl::StatusOr<std::vector<std::pair<std::string, double>>> SortedNewest(const std::string& key,
                                                                           std::size_t limit) override;
  absl::StatusOr<std::vector<std::string>> ListRange(const std::string& key, std::size_t limit) override;
  absl::StatusOr<Ttl> TimeToLive(const std::string& key) override;
  absl::StatusOr<std::int64_t> DeletePrefix(const std::string& prefix) override;
  absl::StatusOr<std::vector<std::string>> Keys(const std::string& prefix) override;
  absl::StatusOr<bool> AcquireLease(const std::string& name, const std::string& holder,
                                    std::chrono::milliseconds ttl) override;
  absl::StatusOr<std::optional<std::string>> LeaseHolder(const std::string& name) override;
  absl::Status ReleaseLease(const std::string& name, const std::string& holder) override;
  absl::StatusOr<std::unique_ptr<Subscription>> Subscribe(
      const std::string& channel, std::function<void(std::string_view message)> on_message) override;
  std::chrono::milliseconds DurableAfter() const override { return store_.DurableAfter(); }
  model::DurableMark Durable() override { return store_.Durable(); }
  absl::Status Ping() override;

 private:
  template <typename F>
  auto Measure(std::string_view op, F&& call);

  StateStore& store_;
  telemetry::Registry::CounterFamily operations_;
  telemetry::Registry::HistogramFamily seconds_;
};

}  // namespace clusterpulse::store
