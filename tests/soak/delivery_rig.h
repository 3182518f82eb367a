#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/json/value.h"
#include "common/model/cluster.h"
#include "hub/store/gap_ledger.h"
#include "tests/kubesim/kubesim.h"
#include "tests/soak/spool_recorder.h"
#include "tests/support/http_get.h"
#include "tests/support/net_namespaces.h"
#include "tests/support/process.h"
#include "tests/support/redis_server.h"
#include "tests/support/tcp_proxy.h"
#include "tests/support/victoria_metrics_server.h"

namespace clusterpulse::testing {

// Everything that delivery goes through, as real programs: hubs with one Redis (AOF) and one VictoriaMetrics behind
// them, a collector with a spool for each cluster, and kubesim, in this process, as every API server. Clusters are
// "cluster-1", ...; programs "hub-1", ..., "collector-1", ..., "redis", "victoriametrics": each can be killed with -9
// and started again, alone or armed with a fail point. What the collectors spool is recorded all the while.
//
//   auto rig = DeliveryRig::Start({});  // null: not to be had here, the reason was printed
//   rig->Kill("hub-1");
//   rig->Launch("hub-1", "ingest.applied:2");
//
// Collectors find the hubs through a relay that takes turns; with `net` they go to "hub-1", and each program runs on
// the machine of its name ("api" for kubesim). Confined to one thread. What cannot be started ends the test run.
class DeliveryRig {
 public:
  struct Options {
    int hubs = 2, clusters = 3;
    std::uint64_t seed = 1;
    double churn = 4;              // object changes a second in each cluster
    NetNamespaces* net = nullptr;  // borrowed; with Machines(options)
    std::map<std::string, std::string> hub_env, collector_env;
    struct CollectorOptions {
      std::map<std::string, std::string> env;
      std::string spool_dir;  // empty: in the rig's own folder
    };
    std::map<std::string, CollectorOptions> collectors;  // of single clusters
  };
  static std::vector<std::string> Machines(const Options& options);
  static std::unique_ptr<DeliveryRig> Start(Options options);
  ~DeliveryRig();

  const std::vector<std::string>& clusters() const { return clusters_; }
  const std::vector<std::string>& hubs() const { return hubs_; }
  std::string CollectorOf(const std::string& cluster) const;

  // kill -9. Nothing when it does not run.
  void Kill(const std::string& program);
  // On the same ports and data; a hub or a collector may be armed with a fail point ("NAME:N"). Returns at once for
  // those, for a store when it answers. Nothing when it runs.
  void Launch(const std::string& program, const std::string& fail_point = "");
  bool IsRunning(const std::string& program);
  void Signal(const std::string& program, int signal);
  std::string Log(const std::string& program) const;
  // Sum of the series `clusterpulse_(hub|collector)_<name>` with all of these labels.
  double Metric(const std::string& program, const std::string& name, const std::vector<std::string>& labels = {}) const;
  HttpAnswer Probe(const std::string& program, const std::string& path) const;

  std::string Redis(std::vector<std::string> args) const;  // what redis-cli prints
  // Of the cluster's holes, as the hub keeps it.
  store::GapLedger Ledger(const std::string& cluster) const;
  // Everything the history store has of the cluster.
  std::vector<VictoriaMetricsServer::Series> History(const std::string& cluster);
  kubesim::SimCluster& Cluster(const std::string& cluster) { return *sim_->Find(cluster); }
  // The ClusterConnection; null when absent.
  json::Value Object(const std::string& cluster);
  std::string Condition(const std::string& cluster, std::string_view type, std::string_view member);
  // Events about the cluster with that reason.
  int CountEvents(const std::string& cluster, std::string_view reason);
  SpoolRecorder& recorder() { return *recorder_; }
  const std::string& SpoolDir(const std::string& cluster) const { return spool_dirs_.at(cluster); }

  // Logs, ledgers, positions and spools, for a person who looks for a cause: in a folder of the name, which is
  // returned.
  std::string SaveEvidence(const std::string& name) const;

  // What the cluster's API server would tell who reads it now.
  model::ClusterSnapshot Truth(const std::string& cluster);
  // Why what Redis shows of the cluster is not what its API server has; empty: it is.
  std::string StateDifference(const std::string& cluster);

 private:
  struct Program {
    std::vector<std::string> argv;
    std::map<std::string, std::string> env;
    std::string log;
    int metrics_port = 0, probe_port = 0;
    std::optional<ChildProcess> process;
  };

  explicit DeliveryRig(Options options);
  bool Begin();
  Program& Find(const std::string& program);
  const Program& Find(const std::string& program) const;
  void MakeHub(int index);
  void MakeCollector(const std::string& cluster);
  void Connect(const std::string& cluster);
  std::string WaitForToken(const std::string& cluster);
  // Where a program listens, as others reach it.
  std::string Host(const std::string& machine) const;
  template <typename Body>
  auto On(const std::string& machine, Body&& body) const {
    std::optional<NetNamespaces::Scope> scope;
    if (options_.net != nullptr) scope.emplace(options_.net->Enter(machine));
    return body();
  }

  const Options options_;
  std::vector<std::string> clusters_, hubs_;
  TempDir dir_;
  std::unique_ptr<kubesim::Kubesim> sim_;
  std::unique_ptr<RedisServer> redis_;
  std::unique_ptr<VictoriaMetricsServer> victoria_metrics_;
  std::unique_ptr<TcpProxy> relay_;
  std::vector<int> ingester_ports_;
  std::map<std::string, std::string> spool_dirs_;
  std::map<std::string, Program> programs_;
  std::unique_ptr<SpoolRecorder> recorder_;
};

}  // namespace clusterpulse::testing
