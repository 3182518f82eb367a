// collector_sources_memory_bench [--objects N] [--runs N] [--settle S] [--check]: memory of the real collector that
// collects one MetricSource of many objects from a simulated API server over TLS and pushes them to a hub, measured
// from /proc. Limit: the peak is at most 48 MiB above what the collector has before it knows the source. Also how long
// the hub waits for the rows of a source that is new (lists of 500 objects over TLS included).
#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "common/json/value.h"
#include "common/wire/messages.h"
#include "tests/bench/bench_row.h"
#include "tests/bench/process_stats.h"
#include "tests/collector/link/test_hub.h"
#include "tests/common/http/testing/test_certs.h"
#include "tests/kubesim/kubesim.h"
#include "tests/support/process.h"

namespace clusterpulse::testing {
namespace {

struct Options {
  int objects = 50000, runs = 2, settle = 10;
  bool check = false;
};

const kube::ResourceType kClaims{"", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true};

// A claim as clusters have them: six labels, annotations of the binder and the provisioner, about 1.2 KB.
json::Value Claim(int i) {
  auto claim = json::Value::Parse(fmt::format(
      R"({{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{{"name":"data-postgres-{0}","namespace":"team-{1}",
      "labels":{{"app.kubernetes.io/name":"app-{2}","app.kubernetes.io/instance":"release-{3}","team":"team-{1}",
      "app.kubernetes.io/managed-by":"Helm","app.kubernetes.io/component":"primary","tier":"db"}},
      "annotations":{{"pv.kubernetes.io/bind-completed":"yes","pv.kubernetes.io/bound-by-controller":"yes",
      "volume.kubernetes.io/storage-provisioner":"csi.example.org","volume.kubernetes.io/selected-node":"worker-{4}"}},
      "finalizers":["kubernetes.io/pvc-protection"]}},
      "spec":{{"accessModes":["ReadWriteOnce"],"resources":{{"requests":{{"storage":"{5}Gi"}}}},
      "volumeName":"pvc-{0:08x}-8d5f-4d6a-9f0e-{0:012x}","storageClassName":"class-{6}","volumeMode":"Filesystem"}},
      "status":{{"phase":"{7}","accessModes":["ReadWriteOnce"],"capacity":{{"storage":"{5}Gi"}}}}}})",
      i, i % 20, i % 50, i % 2000, i % 100, 1 + i % 64, i % 4, i % 100 == 0 ? "Pending" : "Bound"));
  return claim.ok() ? *std::move(claim) : json::Value();
}

std::string Definition(int objects) {
  return fmt::format(
      R"json({{"name":"claims","namespace":"hub","source":{{"apiVersion":"v1","kind":"PersistentVolumeClaim",
      "scope":"Namespaced","group":"","version":"v1","resource":"persistentvolumeclaims"}},
      "fields":[{{"name":"phase","path":".status.phase","type":"string"}},
      {{"name":"capacity","path":".status.capacity.storage","type":"quantity"}},
      {{"name":"requested","path":".spec.resources.requests.storage","type":"quantity"}},
      {{"name":"storageClass","path":".spec.storageClassName","type":"string"}},
      {{"name":"accessMode","path":".spec.accessModes[0]","type":"string"}},
      {{"name":"volume","path":".spec.volumeName","type":"string"}}],
      "computed":[{{"name":"capacityGB","expression":"round(capacity / 1073741824, 2)","type":"float"}}],
      "aggregations":[{{"name":"total","function":"count"}},{{"name":"bytes","function":"sum","field":"capacity"}},
      {{"name":"by_class","function":"count","groupBy":"storageClass"}}],
      "collection":{{"intervalSeconds":30,"timeoutSeconds":300,"maxResources":{},"batchSize":500,"retryAttempts":3,
      "parallelism":3}},"rbac":{{"resourceTypeName":"pvc","filterAggregations":true}},"hash":"0123456789abcdef"}})json",
      2 * objects);
}

// What the hub has of the source: rows of each numbered batch.
std::map<std::uint64_t, std::size_t> Rows(const link::TestHub& hub) {
  std::map<std::uint64_t, std::size_t> rows;
  (void)hub.WaitFor([&](const link::TestHub::Seen& seen) {
    rows.clear();
    for (const model::Batch& batch : seen.batches) {
      for (const model::SourceResult& source : batch.sources) rows[batch.seq] += source.rows.size();
    }
    return true;
  });
  return rows;
}

int Fail(const std::string& what, const std::string& log) {
  std::fprintf(stderr, "collector_sources_memory_bench: %s; log:\n%s\n", what.c_str(), log.c_str());
  return 1;
}

int Run(const Options& options) {
  const TempDir dir;
  auto sim = kubesim::SimCluster::Create({.fleet = kubesim::FleetOptions{.nodes = 3}});
  if (!sim.ok()) return Fail("no simulated cluster", "");
  for (int i = 0; i < options.objects; ++i) {
    if (!(*sim)->store().Put(kClaims, Claim(i)).ok()) return Fail("an object cannot be stored", "");
  }
  WriteFile(dir.File("kubeconfig"), (*sim)->Kubeconfig());
  const http::KeyPair ca = http::MakeCa("bench-ca");
  WriteFile(dir.File("ca.pem"), ca.cert_pem);
  link::TestHub hub({.tls = http::MakeCert(ca, {.names = {"IP:127.0.0.1"}})});
  auto collector =
      ChildProcess::Start({.argv = {BinDir() + "/clusterpulse-collector", "--kubeconfig=" + dir.File("kubeconfig"),
                                    "--metrics-bind-address=0", "--health-probe-bind-address=0"},
                           .env = {{"CLUSTER_NAME", "cluster-1"},
                                   {"COLLECTOR_TOKEN", "token"},
                                   {"COLLECT_INTERVAL", "3600"},
                                   {"DATA_DIR", dir.File("data")},
                                   {"INGESTER_ADDRESS", hub.address()},
                                   {"INGESTER_TLS_ENABLED", "true"},
                                   {"INGESTER_TLS_CA", dir.File("ca.pem")}},
                           .unset = {},
                           .output = dir.File("collector.log")});
  if (!collector.ok()) return Fail("the collector did not start", "");
  const auto log = [&] { return ReadFile(dir.File("collector.log")); };
  if (!hub.WaitFor([](const link::TestHub::Seen& seen) {
        return !seen.batches.empty() && seen.batches.back().snapshot.nodes.has_value();
      })) {
    return Fail("no batch with nodes came", log());
  }
  std::this_thread::sleep_for(std::chrono::seconds(options.settle));
  const int pid = collector->pid();
  const double idle = StatusMiB(pid, "VmRSS");
  std::ofstream(fmt::format("/proc/{}/clear_refs", pid)) << "5";  // the peak begins anew
  const double cpu_before = CpuSeconds(pid);

  const auto start = std::chrono::steady_clock::now();
  hub.Say(wire::Encode(model::CollectorConfig{.metric_sources = {Definition(options.objects)}, .hash = "1"}));
  double first_wait = 0;
  int complete = 0;
  const bool came = Eventually(std::chrono::seconds(120 * options.runs), [&] {
    complete = 0;
    for (const auto& [seq, rows] : Rows(hub)) complete += static_cast<int>(rows) == options.objects ? 1 : 0;
    if (complete > 0 && first_wait == 0) {
      first_wait = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    return complete >= options.runs;
  });
  const double cpu = CpuSeconds(pid) - cpu_before;
  const double peak = StatusMiB(pid, "VmHWM"), rss = StatusMiB(pid, "VmRSS");
  if (!came) return Fail(fmt::format("{} of {} runs came", complete, options.runs), log());
  bench::PrintRow(
      fmt::format("collector, one source of {} objects (6 fields, 1 computed, 3 aggregations), {} runs: peak "
                  "over idle",
                  options.objects, options.runs),
      fmt::format("{:.1f} MiB (idle {:.1f}, peak {:.1f}, after {:.1f}; the first rows were complete on the "
                  "hub after {:.2f} s; {:.2f} s CPU a run)",
                  peak - idle, idle, peak, rss, first_wait, cpu / options.runs),
      "<= 48 MiB", "-");
  if (collector->Stop() != 0) return Fail("the collector did not end cleanly", log());
  return options.check && peak - idle > 48 ? 1 : 0;
}

}  // namespace
}  // namespace clusterpulse::testing

int main(int argc, char** argv) {
  clusterpulse::testing::Options options;
  CLI::App app("Memory of the collector with a large MetricSource.");
  app.add_option("--objects", options.objects)->capture_default_str();
  app.add_option("--runs", options.runs, "complete results to wait for; 30 s apart")->capture_default_str();
  app.add_option("--settle", options.settle, "seconds before the source is told")->capture_default_str();
  app.add_flag("--check", options.check, "exit 1 when the limit is exceeded");
  CLI11_PARSE(app, argc, argv);
  return clusterpulse::testing::Run(options);
}
