#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include <absl/status/statusor.h>

#include "common/base/circuit_breaker.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/kube/kube_api.h"
#include "hub/reconcile/cluster/credentials.h"

namespace clusterpulse::reconcile {

// All a client of one managed cluster is made of.
struct ClientTarget {
  std::string endpoint;  // as NormalizeEndpoint gives it
  Credentials credentials;
  bool operator==(const ClientTarget&) const = default;
};

// Port to making clients. Thread-safe. Does not connect. Adapters: HttpKubeClientFactory (kube_client_factory.h); tests
// hand out fakes.
class KubeClientFactory {
 public:
  virtual ~KubeClientFactory() = default;
  // `cluster` names the client in metrics. kInvalidArgument: the target cannot make a client (a broken ca.crt).
  virtual absl::StatusOr<std::shared_ptr<kube::KubeApi>> Create(const std::string& cluster,
                                                                const ClientTarget& target) = 0;
  // The cluster was deleted: drops what is kept by its name (time series).
  virtual void Forget(const std::string& cluster) = 0;
};

// One client and one circuit breaker per connection, keyed by namespace/name and valid for exactly one content: a
// changed endpoint or Secret gives a new client and a fresh breaker with the next Get. An idle client is dropped (its
// connections close); the breaker stays until the content changes or the connection is forgotten, so that a cluster
// that is down is not hammered by new clients. Thread-safe.
class ClientPool {
 public:
  struct Options {
    base::CircuitBreaker::Options breaker;
    std::chrono::milliseconds idle{std::chrono::minutes(30)};
  };
  struct Client {
    std::shared_ptr<kube::KubeApi> api;
    std::shared_ptr<base::CircuitBreaker> breaker;
    bool is_new_target = false;  // first Get, or the content changed since the last
  };

  // Borrowed; must outlive this.
  ClientPool(KubeClientFactory& factory, const base::Clock& clock, Options options)
      : factory_(factory), clock_(clock), options_(options) {}

  // The client for `target`, made when need be. Errors are those of the factory.
  absl::StatusOr<Client> Get(const kube::ObjectKey& key, const ClientTarget& target);
  // The connection was deleted: the factory forgets it too. Calls that still run keep their client.
  void Forget(const kube::ObjectKey& key);
  // Drops clients that were not asked for within Options::idle. Cheap; called with every pass.
  void DropIdle();

  std::size_t clients() const;  // how many are open

 private:
  struct Entry {
    ClientTarget target;
    std::shared_ptr<kube::KubeApi> api;  // null: idle, dropped
    std::shared_ptr<base::CircuitBreaker> breaker;
    base::SteadyTime used{};
  };

  void Drop(const kube::ObjectKey& key);

  KubeClientFactory& factory_;
  const base::Clock& clock_;
  const Options options_;
  mutable base::Mutex mu_;
  std::map<kube::ObjectKey, Entry> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::reconcile
