#include "collector/observe/inventory_scan.h"

#include <algorithm>
#include <utility>

#include "common/base/thread.h"
#include "common/survey/survey.h"

namespace clusterpulse::observe {
namespace {

constexpr std::chrono::nanoseconds kLongestSleep = std::chrono::seconds(10);

}  // namespace

InventoryScan::InventoryScan(kube::KubeApi& api, Options options)
    : api_(api), options_(std::move(options)), interval_(options_.interval), last_turn_(options_.clock->Steady()) {}

InventoryScan::~InventoryScan() { Stop(); }

void InventoryScan::Start() {
  base::MutexLock lock(lifecycle_mu_);
  if (thread_.joinable() || stop_.stop_requested()) return;
  thread_ = base::StartThread("inventory", [this] {
    while (!stop_.WaitFor(std::min(Step(), kLongestSleep))) {
    }
  });
}

void InventoryScan::Stop() {
  stop_.RequestStop();
  base::MutexLock lock(lifecycle_mu_);
  if (thread_.joinable()) thread_.join();
}

void InventoryScan::SetInterval(std::chrono::seconds interval) {
  base::MutexLock lock(mu_);
  interval_ = interval;
}

void InventoryScan::Take(bool all, model::ClusterSnapshot& out) {
  const auto take = [all](auto& part, auto& to) {
    if ((all || part.is_new) && part.value) to = *part.value;
    part.is_new = false;
  };
  base::MutexLock lock(mu_);
  take(info_, out.info);
  take(operators_, out.operators);
  take(cluster_operators_, out.cluster_operators);
}

std::vector<std::string> InventoryScan::Failures() const {
  std::vector<std::string> failures;
  base::MutexLock lock(mu_);
  for (const std::string* failure : {&info_.failure, &operators_.failure, &cluster_operators_.failure}) {
    if (!failure->empty()) failures.push_back(*failure);
  }
  return failures;
}

base::SteadyTime InventoryScan::last_turn() const {
  base::MutexLock lock(mu_);
  return last_turn_;
}

std::chrono::nanoseconds InventoryScan::Step() {
  const kube::CallOptions call{options_.call_timeout, stop_.token()};
  std::chrono::nanoseconds wait = std::chrono::nanoseconds::max();
  // The info first, it is quick. Its address is left to the hub: the one we use is the cluster's own, from inside.
  Refresh("cluster info", &InventoryScan::info_, wait, [&] { return survey::ReadClusterInfo(api_, "", call); });
  Refresh("cluster operators", &InventoryScan::cluster_operators_, wait,
          [&] { return survey::ReadClusterOperators(api_, call); });
  Refresh("operators", &InventoryScan::operators_, wait, [&] { return survey::ReadOperators(api_, call); });
  base::MutexLock lock(mu_);
  last_turn_ = options_.clock->Steady();
  return wait;
}

template <typename T>
bool InventoryScan::IsDueLocked(const Part<T>& part, base::SteadyTime now, std::chrono::nanoseconds& wait) const {
  if (!part.attempt) return true;
  const std::chrono::nanoseconds after = part.failure.empty() ? interval_ : std::min(interval_, options_.retry);
  if (now - *part.attempt >= after) return true;
  wait = std::min<std::chrono::nanoseconds>(wait, after - (now - *part.attempt));
  return false;
}

template <typename T, typename Read>
void InventoryScan::Refresh(std::string_view name, Part<T> InventoryScan::*part, std::chrono::nanoseconds& wait,
                            Read read) {
  const base::SteadyTime now = options_.clock->Steady();
  {
    base::MutexLock lock(mu_);
    last_turn_ = now;
    if (stop_.stop_requested() || !IsDueLocked(this->*part, now, wait)) return;
  }
  absl::StatusOr<T> result = read();
  if (stop_.stop_requested()) return;
  bool is_first = false, was_failing = false;
  std::string failure;
  if (!result.ok()) failure = fmt::format("{}: {}", name, log::ToText(result.status()));
  {
    base::MutexLock lock(mu_);
    Part<T>& to = this->*part;
    was_failing = !to.failure.empty();
    is_first = result.ok() && !to.value;
    to.attempt = now;
    to.failure = failure;
    if (result.ok()) {
      to.value = *std::move(result);
      to.is_new = true;
    }
    IsDueLocked(to, now, wait);
  }
  // The lasting state of a part shows in every heartbeat and probe; the log tells when it begins and ends.
  if (!failure.empty() && !was_failing) {
    options_.log.Warn("part of the inventory cannot be read, keeping what is known of it", {{"error", failure}});
  } else if (failure.empty() && was_failing) {
    options_.log.Info("part of the inventory can be read again", {{"part", name}});
  }
  if (is_first && options_.on_first) options_.on_first();
}

}  // namespace clusterpulse::observe
