#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "tests/fleetload/sim_collector.h"

namespace clusterpulse::fleetload {

struct FleetOptions {
  std::string hub;       // host:port
  std::string tls_ca;    // PEM file; empty: plaintext
  std::string tls_name;  // name the certificate must have; empty: the host
  int nodes = 50, labels = 20;
  std::chrono::seconds interval{30};
  double upstream_share = 0;       // of collectors that speak as upstream's do
  double drops_per_second = 0;     // over all collectors; each comes back after 0..2 s
  double bad_share = 0;            // of batches, which the hub must reject
  double connects_per_second = 0;  // 0: all at once
  std::uint64_t seed = 1;
};

struct FleetResult {
  Counts counts;
  int collectors = 0, live = 0, settled = 0;
  // From the last Connect until every collector's first batch was applied, and the median and worst of each.
  double all_live_seconds = 0, median_seconds = 0, worst_seconds = 0;
  // From then until all were let in.
  double all_welcomed_seconds = 0;
  std::map<std::string, int> ends;  // why streams ended, how often
};

// Runs one SimCollector for each cluster, from one thread and gRPC's. Confined to the thread that calls it.
class Fleet {
 public:
  // `tokens`: cluster -> token.
  Fleet(FleetOptions options, const std::map<std::string, std::string>& tokens);
  ~Fleet();

  // Connects all and waits until every first batch was applied, at most `limit`.
  bool ConnectAll(std::chrono::seconds limit);
  // The first `count` of them, those without a connection.
  bool Connect(std::size_t count, std::chrono::seconds limit);
  // Encodes each collector's next batch (SimCollector::Prepare). While none is connected.
  void Prepare();
  // Ends all streams as crashes would. Nobody connects again by itself.
  void DropAll();
  // So many batches of each collector, the next as soon as the one before was applied. False: not within `limit`, or a
  // stream ended meanwhile.
  bool Push(int batches, std::chrono::seconds limit);
  // Batches, heartbeats and the faults asked for, for so long; collectors whose stream ended connect again.
  void RunFor(std::chrono::seconds duration);
  // Lets those that Connect was called for connect again, without faults, until everything they made is durable or
  // rejected, at most `limit`. No more batches are made by the clock from then on.
  bool Settle(std::chrono::seconds limit);

  // Waits until every collector was told to run so many metric sources, at most `limit`; when each was, or empty.
  std::vector<SteadyTime> AwaitSources(std::size_t sources, std::chrono::seconds limit);

  FleetResult result() const;
  // What a collector connects through: a connection of its own. Thread-safe.
  std::shared_ptr<grpc::Channel> MakeChannel() const;

 private:
  struct Member;

  void Step(bool faults);

  const FleetOptions options_;
  std::mt19937_64 random_;
  std::string ca_pem_;
  std::vector<Member> members_;
  double all_live_seconds_ = 0, all_welcomed_seconds_ = 0;
  std::map<std::string, int> ends_;
};

}  // namespace clusterpulse::fleetload
