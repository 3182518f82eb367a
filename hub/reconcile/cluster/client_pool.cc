#include "hub/reconcile/cluster/client_pool.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace clusterpulse::reconcile {

absl::StatusOr<ClientPool::Client> ClientPool::Get(const kube::ObjectKey& key, const ClientTarget& target) {
  Client client;
  {
    base::MutexLock lock(mu_);
    Entry& entry = entries_[key];
    client.is_new_target = entry.breaker == nullptr || entry.target != target;
    if (client.is_new_target) {
      client.api = std::exchange(entry.api, nullptr);  // dies below, outside the lock
      entry.target = target;
      entry.breaker = std::make_shared<base::CircuitBreaker>(options_.breaker);
    } else {
      client.api = entry.api;
    }
    entry.used = clock_.Steady();
    client.breaker = entry.breaker;
  }
  if (!client.is_new_target && client.api != nullptr) return client;

  auto created = factory_.Create(key.name, target);
  if (!created.ok()) {
    Drop(key);  // so that the next Get counts as a new target again
    return created.status();
  }
  client.api = *std::move(created);
  base::MutexLock lock(mu_);
  // Forgotten or changed meanwhile: this client is only for the caller that asked.
  if (const auto found = entries_.find(key); found != entries_.end() && found->second.breaker == client.breaker) {
    found->second.api = client.api;
  }
  return client;
}

void ClientPool::Forget(const kube::ObjectKey& key) {
  Drop(key);
  factory_.Forget(key.name);
}

void ClientPool::Drop(const kube::ObjectKey& key) {
  std::shared_ptr<kube::KubeApi> last;
  base::MutexLock lock(mu_);
  if (const auto found = entries_.find(key); found != entries_.end()) {
    last = std::move(found->second.api);
    entries_.erase(found);
  }
}

void ClientPool::DropIdle() {
  std::vector<std::shared_ptr<kube::KubeApi>> dropped;
  base::MutexLock lock(mu_);
  const auto now = clock_.Steady();
  for (auto& [key, entry] : entries_) {
    if (entry.api != nullptr && now - entry.used > options_.idle) dropped.push_back(std::exchange(entry.api, nullptr));
  }
}

std::size_t ClientPool::clients() const {
  base::MutexLock lock(mu_);
  return static_cast<std::size_t>(
      std::count_if(entries_.begin(), entries_.end(), [](const auto& entry) { return entry.second.api != nullptr; }));
}

}  // namespace clusterpulse::reconcile
