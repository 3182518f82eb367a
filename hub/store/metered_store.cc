#include "hub/store/metered_store.h"

#include <utility>

#include "common/base/status.h"

namespace clusterpulse::store {
namespace {

// A closed set of words, so that the label stays small.
std::string_view ResultOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kNotFound:  // an answer
      return "ok";
    case absl::StatusCode::kUnavailable:
      return "unavailable";
    case absl::StatusCode::kDeadlineExceeded:
      return "timeout";
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return "denied";
    case absl::StatusCode::kResourceExhausted:
      return "full";
    default:
      return "error";
  }
}

}  // namespace

MeteredStore::MeteredStore(StateStore& store, telemetry::Registry& registry)
    : store_(store),
      operations_(registry.Counters("clusterpulse_hub_store_operations_total",
                                    "Calls to the state store, by operation and result.", {"op", "result"})),
      seconds_(registry.Histograms(
          "clusterpulse_hub_store_operation_seconds", "How long calls to the state store took, by operation.",
          {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}, {"op"})) {}

template <typename F>
auto MeteredStore::Measure(std::string_view op, F&& call) {
  const auto start = std::chrono::steady_clock::now();
  auto result = std::forward<F>(call)();
  seconds_.With({op}).Observe(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  operations_.With({op, ResultOf(base::internal::ToStatus(result))}).Add();
  return result;
}

absl::StatusOr<ApplyResult> MeteredStore::Apply(const WriterPosition& position, const std::vector<Write>& writes) {
  return Measure("apply", [&] { return store_.Apply(position, writes); });
}
absl::Status MeteredStore::Commit(const std::vector<Write>& writes) {
  return Measure("commit", [&] { return store_.Commit(writes); });
}
absl::StatusOr<std::uint64_t> MeteredStore::AcquireEpoch(const std::string& cluster, WriterRole role,
                                                         std::int64_t now_ms) {
  return Measure("acquire_epoch", [&] { return store_.AcquireEpoch(cluster, role, now_ms); });
}
absl::StatusOr<std::optional<std::string>> MeteredStore::Get(const std::string& key) {
  return Measure("get", [&] { return store_.Get(key); });
}
absl::StatusOr<std::vector<std::optional<std::string>>> MeteredStore::GetMany(const std::vector<std::string>& keys) {
  return Measure("get_many", [&] { return store_.GetMany(keys); });
}
absl::StatusOr<std::map<std::string, std::string>> MeteredStore::HashGetAll(const std::string& key) {
  return Measure("hash_get_all", [&] { return store_.HashGetAll(key); });
}
absl::StatusOr<std::vector<std::string>> MeteredStore::SetMembers(const std::string& key) {
  return Measure("set_members", [&] { return store_.SetMembers(key); });
}
absl::StatusOr<std::vector<std::pair<std::string, double>>> MeteredStore::SortedNewest(const std::string& key,
                                                                                       std::size_t limit) {
  return Measure("sorted_newest", [&] { return store_.SortedNewest(key, limit); });
}
absl::StatusOr<std::vector<std::string>> MeteredStore::ListRange(const std::string& key, std::size_t limit) {
  return Measure("list_range", [&] { return store_.ListRange(key, limit); });
}
absl::StatusOr<Ttl> MeteredStore::TimeToLive(const std::string& key) {
  return Measure("time_to_live", [&] { return store_.TimeToLive(key); });
}
absl::StatusOr<std::int64_t> MeteredStore::DeletePrefix(const std::string& prefix) {
  return Measure("delete_prefix", [&] { return store_.DeletePrefix(prefix); });
}
absl::StatusOr<std::vector<std::string>> MeteredStore::Keys(const std::string& prefix) {
  return Measure("keys", [&] { return store_.Keys(prefix); });
}
absl::StatusOr<bool> MeteredStore::AcquireLease(const std::string& name, const std::string& holder,
                                                std::chrono::milliseconds ttl) {
  return Measure("acquire_lease", [&] { return store_.AcquireLease(name, holder, ttl); });
}
absl::StatusOr<std::optional<std::string>> MeteredStore::LeaseHolder(const std::string& name) {
  return Measure("lease_holder", [&] { return store_.LeaseHolder(name); });
}
absl::Status MeteredStore::ReleaseLease(const std::string& name, const std::string& holder) {
  return Measure("release_lease", [&] { return store_.ReleaseLease(name, holder); });
}
absl::StatusOr<std::unique_ptr<Subscription>> MeteredStore::Subscribe(
    const std::string& channel, std::function<void(std::string_view message)> on_message) {
  return Measure("subscribe", [&] { return store_.Subscribe(channel, std::move(on_message)); });
}
absl::Status MeteredStore::Ping() {
  return Measure("ping", [&] { return store_.Ping(); });
}

}  // namespace clusterpulse::store
