#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/e2e/hub_fixture.h"

namespace clusterpulse::testing {

// The real collector beside a real API server, which pushes to the hub of a fixture. The hub must run, or have run.
//
//   Collector collector(hub, {.cluster = "quay"});  // is running
//   collector.process().Kill9();
//   collector.Start();
class Collector {
 public:
  struct Options {
    std::string cluster;
    KubeTestEnv::Server* api = nullptr;  // the cluster it watches; null: the shared managed one
    std::string kubeconfig;              // how it reaches it; empty: as its administrator
    std::string token;                   // empty: the one the hub made, for which this waits
    int port = 0;                        // where it finds the hub; 0: the hub's own
    std::vector<std::string> wrapper;    // in front of its command line
    std::map<std::string, std::string> env;
  };
  // Collects every 5 s, the shortest there is, where the connection does not say otherwise.
  Collector(HubFixture& hub, Options options);

  void Start();
  ChildProcess& process() { return *process_; }
  void WriteToken(const std::string& token) { WriteFile(dir_.File("token"), token); }
  std::string Log() const { return ReadFile(dir_.File("log")); }
  // Sum of its series `clusterpulse_collector_<name>` with all of these labels.
  double Metric(const std::string& name, const std::vector<std::string>& labels = {}) const {
    return HubFixture::MetricAt(metrics_port_, "clusterpulse_collector_" + name, labels);
  }
  HttpAnswer Probe(const std::string& path) const { return HttpGet(probe_port_, path); }
  bool IsConnected() const { return Metric("connected") == 1; }
  // Waits until a batch more than now is durable; prints the log when none is.
  bool WaitForDurable(std::chrono::seconds limit = std::chrono::seconds(30));

 private:
  HubFixture& hub_;
  const Options options_;
  TempDir dir_;
  const int probe_port_ = FreePort(), metrics_port_ = FreePort();
  std::optional<ChildProcess> process_;
};

}  // namespace clusterpulse::testing
