#include "tests/e2e/collector_fixture.h"

#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

namespace clusterpulse::testing {

Collector::Collector(HubFixture& hub, Options options) : hub_(hub), options_(std::move(options)) {
  WriteToken(options_.token.empty() ? hub_.CollectorToken(options_.cluster) : options_.token);
  Start();
}

void Collector::Start() {
  const KubeTestEnv::Server& api = options_.api != nullptr ? *options_.api : *hub_.servers().managed;
  std::map<std::string, std::string> env{
      {"CLUSTER_NAME", options_.cluster},
      {"INGESTER_ADDRESS", fmt::format("localhost:{}", options_.port != 0 ? options_.port : hub_.ingester_port())},
      {"COLLECTOR_TOKEN_FILE", dir_.File("token")},
      {"COLLECT_INTERVAL", "5"},
      {"LOG_LEVEL", "debug"},
      {"LOG_FORMAT", "text"}};
  if (const std::string ca = hub_.ingester_ca(); !ca.empty()) {
    env["INGESTER_TLS_ENABLED"] = "true";
    env["INGESTER_TLS_CA"] = ca;
  }
  env.insert(options_.env.begin(), options_.env.end());
  const std::string kubeconfig = options_.kubeconfig.empty() ? api.kubeconfig() : options_.kubeconfig;
  std::vector<std::string> argv = options_.wrapper;
  argv.insert(argv.end(), {BinDir() + "/clusterpulse-collector", "--kubeconfig=" + kubeconfig,
                           fmt::format("--metrics-bind-address=127.0.0.1:{}", metrics_port_),
                           fmt::format("--health-probe-bind-address=127.0.0.1:{}", probe_port_)});
  auto child = ChildProcess::Start(
      {.argv = argv, .env = std::move(env), .unset = {"KUBECONFIG", "COLLECTOR_TOKEN"}, .output = dir_.File("log")});
  if (!child.ok()) std::abort();
  process_ = *std::move(child);
}

bool Collector::WaitForDurable(std::chrono::seconds limit) {
  const double before = Metric("batches_durable_total");
  const bool more = Eventually(limit, [&] { return Metric("batches_durable_total") > before; });
  if (!more) {
    std::fprintf(stderr, "no batch of %s became durable; its log:\n%s\n", options_.cluster.c_str(), Log().c_str());
  }
  return more;
}

}  // namespace clusterpulse::testing
