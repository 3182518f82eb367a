// fleetload: thousands of protocol-true collectors from one process, against a hub that runs. It checks every
// acknowledgement, and ends with 0 only when nothing that must not happen happened and everything made was stored.
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "common/kube/http_kube_api.h"
#include "common/kube/kube_config.h"
#include "tests/fleetload/fleet.h"
#include "tests/fleetload/objects.h"

namespace clusterpulse::fleetload {
namespace {

struct Options {
  FleetOptions fleet;
  std::string kubeconfig, ns = "clusterpulse", prefix = "load";
  int collectors = 100, seconds = 60, settle_seconds = 60;
};

void Print(const FleetResult& r) {
  fmt::print(
      "collectors {} live {} settled {}; all live after {:.2f} s (median {:.3f} s, worst {:.3f} s)\n"
      "connects {} welcomes {} ended {}; batches made {} sent {} ({:.1f} MiB) applied {} durable {} rejected {} "
      "replays {}; upstream acks {} failures {}; violations {}\n",
      r.collectors, r.live, r.settled, r.all_live_seconds, r.median_seconds, r.worst_seconds, r.counts.connects,
      r.counts.welcomes, r.counts.ended, r.counts.batches_made, r.counts.batches_sent,
      static_cast<double>(r.counts.bytes_sent) / (1 << 20), r.counts.applied, r.counts.durable, r.counts.rejected,
      r.counts.replays, r.counts.upstream_acks, r.counts.upstream_failures, r.counts.violations);
  for (const auto& [why, count] : r.ends) fmt::print("ended {} times: {}\n", count, why);
}

int Run(const Options& options) {
  const auto fail = [](const absl::Status& status) {
    std::fprintf(stderr, "fleetload: %s\n", status.ToString().c_str());
    return 1;
  };
  auto connection = kube::LoadConnectionConfig({.kubeconfig = options.kubeconfig});
  if (!connection.ok()) return fail(connection.status());
  const auto hub = kube::HttpKubeApi::Create(*std::move(connection), {.user_agent = "fleetload"});
  if (!hub.ok()) return fail(hub.status());
  const auto tokens = MakeClusters(**hub, options.ns, options.prefix, options.collectors, options.fleet.interval,
                                   std::chrono::seconds(120));
  if (!tokens.ok()) return fail(tokens.status());

  Fleet fleet(options.fleet, *tokens);
  const bool live = fleet.ConnectAll(std::chrono::seconds(120));
  if (!live) std::fprintf(stderr, "fleetload: not every collector got its first batch applied\n");
  fmt::print("connected\n");
  std::fflush(stdout);
  fleet.RunFor(std::chrono::seconds(options.seconds));
  const bool settled = fleet.Settle(std::chrono::seconds(options.settle_seconds));
  const FleetResult result = fleet.result();
  Print(result);
  return live && settled && result.counts.violations == 0 ? 0 : 1;
}

}  // namespace
}  // namespace clusterpulse::fleetload

int main(int argc, char** argv) {
  clusterpulse::fleetload::Options options;
  int interval = 30;
  CLI::App app("Thousands of protocol-true collectors against one hub.");
  app.add_option("--hub", options.fleet.hub, "host:port of the ingester")->required();
  app.add_option("--kubeconfig", options.kubeconfig, "of the hub cluster: clusters are made there")->required();
  app.add_option("--namespace", options.ns)->capture_default_str();
  app.add_option("--prefix", options.prefix, "of the clusters' names")->capture_default_str();
  app.add_option("--collectors", options.collectors)->capture_default_str();
  app.add_option("--nodes", options.fleet.nodes, "of each cluster")->capture_default_str();
  app.add_option("--labels", options.fleet.labels, "of each node")->capture_default_str();
  app.add_option("--interval", interval, "seconds between two batches")->capture_default_str();
  app.add_option("--seconds", options.seconds, "after all have connected")->capture_default_str();
  app.add_option("--settle", options.settle_seconds, "seconds at the end to let all become durable")
      ->capture_default_str();
  app.add_option("--tls-ca", options.fleet.tls_ca, "PEM file; none: plaintext");
  app.add_option("--tls-name", options.fleet.tls_name, "name the hub's certificate must have");
  app.add_option("--upstream", options.fleet.upstream_share, "share that speaks as upstream's collectors do");
  app.add_option("--drops", options.fleet.drops_per_second, "connections dropped a second, over all");
  app.add_option("--bad", options.fleet.bad_share, "share of batches that are malformed");
  app.add_option("--connect-rate", options.fleet.connects_per_second, "connects a second; 0: all at once");
  app.add_option("--seed", options.fleet.seed)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  options.fleet.interval = std::chrono::seconds(interval);
  return clusterpulse::fleetload::Run(options);
}
