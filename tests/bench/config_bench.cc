// From a change of a MetricSource at the hub's API server until every collector has it and has said so: 300 collectors
// with a TLS connection of their own, which push as they always do, against the real hub and Redis. The time counts
// from the call that makes, changes or deletes the object, so the API server, the watch, compiling and the wait for
// more changes are in it. Any argument: the short run that only shows that it works.
#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "common/kube/http_kube_api.h"
#include "common/kube/kube_config.h"
#include "tests/bench/bench_row.h"
#include "tests/bench/push_rig.h"

namespace clusterpulse::bench {
namespace {

constexpr std::chrono::seconds kLimit{60};
constexpr double kMost = 2;  // seconds, at p99

const kube::ResourceType kSources{"clusterpulse.io", "v1alpha1", "metricsources", "MetricSource", true};

struct Size {
  int collectors = 300, rounds = 20;
};

std::string SourceText(std::string_view name, int interval) {
  return fmt::format(
      R"({{"apiVersion":"clusterpulse.io/v1alpha1","kind":"MetricSource","metadata":{{"name":"{}"}},"spec":{{
          "source":{{"apiVersion":"v1","kind":"Pod"}},"fields":[{{"name":"phase","path":".status.phase","type":"string"}}],
          "aggregations":[{{"name":"by_phase","function":"count","groupBy":"phase"}}],
          "collection":{{"intervalSeconds":{}}},"rbac":{{"resourceTypeName":"{}"}}}}}})",
      name, interval, name);
}

int Run(const Size& size) {
  const auto rig = PushRig::Start({.clusters = size.collectors});
  if (rig == nullptr) return 77;
  fleetload::Fleet fleet(rig->FleetOptions(), rig->tokens());
  if (!fleet.ConnectAll(kLimit)) Fail("not every stream is live", rig->File("hub.log"));
  const auto connection = kube::LoadConnectionConfig({.kubeconfig = rig->File("hub.kubeconfig")});
  if (!connection.ok()) Fail(std::string(connection.status().message()));
  const auto api = kube::HttpKubeApi::Create(*connection, {});
  if (!api.ok()) Fail(std::string(api.status().message()));

  std::vector<double> seconds;
  // Until all have `sources` of them.
  const auto measure = [&](const std::function<absl::Status()>& change, std::size_t sources) {
    const auto start = std::chrono::steady_clock::now();
    if (const absl::Status status = change(); !status.ok()) Fail(std::string(status.message()));
    const std::vector<fleetload::SteadyTime> told = fleet.AwaitSources(sources, kLimit);
    if (told.empty()) Fail("not every collector was told", rig->File("hub.log"));
    for (const auto at : told) seconds.push_back(std::chrono::duration<double>(at - start).count());
  };
  const std::string ns = "default";  // of the rig
  for (int round = 0; round < size.rounds; ++round) {
    const std::string name = fmt::format("source-{}", round);
    measure([&] { return (*api)->Create(kSources, ns, SourceText(name, 60), {}).status(); }, 1);
    measure([&] { return (*api)->Delete(kSources, {ns, name}, {}, {}); }, 0);
  }
  const double p99 = Percentile(seconds, 0.99);
  PrintRow(
      fmt::format("{} collectors, a metric source is made or the last one deleted: until each has it", size.collectors),
      fmt::format("p50 {:.3f} s, p99 {:.3f} s, worst {:.3f} s", Percentile(seconds, 0.5), p99,
                  *std::max_element(seconds.begin(), seconds.end())),
      "p99 <= 2 s", "0.5 s");
  const auto result = fleet.result();
  if (result.counts.violations != 0) Fail(fmt::format("{} violations", result.counts.violations));
  return p99 <= kMost ? 0 : 1;
}

}  // namespace
}  // namespace clusterpulse::bench

int main(int argc, char**) {
  using clusterpulse::bench::Size;
  return clusterpulse::bench::RunBenchmark(
      [&] { return clusterpulse::bench::Run(argc > 1 ? Size{.collectors = 10, .rounds = 2} : Size{}); });
}
