#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/log/logger.h"
#include "hub/ingest/flight_budget.h"
#include "hub/ingest/metrics.h"
#include "hub/ingest/peer_log.h"
#include "hub/ingest/services.h"
#include "hub/ingest/session.h"
#include "hub/ingest/testing/fakes.h"
#include "hub/reconcile/cluster/collector_data.h"
#include "hub/store/cluster_state.h"
#include "hub/store/collector_state.h"
#include "tests/sim/history_model.h"
#include "tests/sim/network.h"
#include "tests/sim/redis_model.h"
#include "tests/sim/world.h"

namespace clusterpulse::sim {

// One replica of the hub: real sessions over the real documents and positions (PushedClusters), with StreamPool's part
// played by actions of the world. Steps are taken where their event comes; jobs, which may block, take effect at one
// moment and are answered at a later one, and several streams' jobs lie between each other as the seed has it.
//
// Does not imitate: the crowd's wait, limits on the number of streams, the reconciler.
class SimHub final : public StreamAcceptor {
 public:
  // What replicas share; borrowed.
  struct Shared {
    World& world;
    Network& network;
    RedisModel& redis;
    VmModel* history;  // null: off
    SimHistoryWriter::Options history_options;
    ingest::FakeClusters& clusters;
    ingest::FakeAuthenticator& authenticator;
  };
  SimHub(const Shared& shared, std::size_t index);
  ~SimHub() override;

  void Start();
  // The process is gone, and with `silent` its host.
  void Kill(bool silent);
  // SIGTERM: ends its streams, and is gone when they are over or after five seconds.
  void Stop();
  bool is_up() const { return process_ != nullptr; }

  HostClock& clock() { return clock_; }
  // Of this replica to the store; the same for all its processes.
  void SetStoreCut(bool cut);
  void SetStoreBreaks(std::uint64_t per_mille);
  void SetStoreSlow(Duration usual);
  // To the history store.
  void SetHistoryCut(bool cut);
  void SetHistorySlow(Duration usual);

  void Accept(std::shared_ptr<Connection> connection) override;

 private:
  struct Process;
  class Stream;

  void Monitor();

  const Shared shared_;
  const std::size_t index_;
  HostClock clock_;
  bool is_store_cut_ = false, is_history_cut_ = false;
  std::uint64_t store_breaks_ = 0, processes_ = 0;
  Duration store_usual_ = std::chrono::microseconds(200), history_usual_ = std::chrono::milliseconds(2);
  std::unique_ptr<Process> process_;  // null: down
};

}  // namespace clusterpulse::sim
