#include "tests/bench/push_rig.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "common/kube/http_kube_api.h"
#include "common/kube/kube_config.h"
#include "common/tls/stream.h"
#include "tests/common/http/testing/test_certs.h"
#include "tests/fleetload/objects.h"

namespace clusterpulse::bench {

using testing::ChildProcess;
using testing::Eventually;
using testing::ReadFile;

namespace {

constexpr char kNamespace[] = "default";
constexpr std::size_t kLogEnd = 4000;  // bytes shown

// What stands behind `key` in the line of `text` that begins with it.
std::string LineValue(const std::string& text, const std::string& key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(key + " ")) return line.substr(key.size() + 1);
  }
  return {};
}

ChildProcess Launch(const ChildProcess::Options& options) {
  auto process = ChildProcess::Start(options);
  if (!process.ok()) Fail(process.status().ToString());
  return *std::move(process);
}

}  // namespace

void Fail(const std::string& what, const std::string& log_file) {
  if (log_file.empty()) throw Failure(what);
  const std::string log = ReadFile(log_file);
  throw Failure(
      fmt::format("{}; the end of the log:\n{}", what, log.substr(log.size() - std::min(log.size(), kLogEnd))));
}

int RunBenchmark(const std::function<int()>& body) {
  try {
    return body();
  } catch (const Failure& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
}

PushRig::PushRig(Options options) : options_(std::move(options)), port_(testing::FreePort()) {}

PushRig::~PushRig() {
  if (hub_) hub_->Stop();  // before what it uses
}

std::unique_ptr<PushRig> PushRig::Start(Options options) {
  std::unique_ptr<PushRig> rig(new PushRig(std::move(options)));
  rig->redis_ = testing::RedisServer::Start({.config = rig->options_.redis_config});
  if (rig->redis_ == nullptr) return nullptr;
  const http::KeyPair ca = http::MakeCa("bench-ca");
  const http::KeyPair pair = http::MakeCert(ca, {.names = {"IP:127.0.0.1", "DNS:localhost"}});
  testing::WriteFile(rig->File("ca.pem"), ca.cert_pem);
  testing::WriteFile(rig->File("cert.pem"), pair.cert_pem);
  testing::WriteFile(rig->File("key.pem"), pair.key_pem);
  rig->StartKubesim();
  rig->StartHub();
  rig->MakeClusters();
  return rig;
}

void PushRig::StartKubesim() {
  std::vector<std::string> argv{testing::BinDir() + "/kubesim",
                                "--hub",
                                "1",
                                "--openshift",
                                "0",
                                "--dir",
                                dir_.path(),
                                "--control",
                                "127.0.0.1:0"};
  argv.insert(argv.end(), options_.kubesim.begin(), options_.kubesim.end());
  const std::string log = File("kubesim.log");
  kubesim_ = Launch({.argv = std::move(argv), .env = {}, .unset = {}, .output = log});
  if (!Eventually(std::chrono::seconds(180), [&] { return ReadFile(log).find("\nready") != std::string::npos; })) {
    Fail("kubesim did not start", log);
  }
  control_url_ = LineValue(ReadFile(log), "control");
  const auto crds = testing::RunCommand(
      {testing::BinDir() + "/clusterpulse-hub", "crds", "apply", "--kubeconfig=" + File("hub.kubeconfig")});
  if (crds.exit_code != 0) Fail("crds apply: " + crds.out);
}

void PushRig::StartHub() {
  std::map<std::string, std::string> env{{"NAMESPACE", kNamespace},
                                         {"REDIS_HOST", "127.0.0.1"},
                                         {"REDIS_PORT", std::to_string(redis_->port())},
                                         {"INGESTER_TLS_ENABLED", "true"},
                                         {"INGESTER_TLS_CERT", File("cert.pem")},
                                         {"INGESTER_TLS_KEY", File("key.pem")}};
  env.insert(options_.hub_env.begin(), options_.hub_env.end());
  hub_ = Launch({.argv = {testing::BinDir() + "/clusterpulse-hub", "--kubeconfig=" + File("hub.kubeconfig"),
                          "--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address=127.0.0.1:0",
                          fmt::format("--ingester-port={}", port_)},
                 .env = std::move(env),
                 .unset = {"KUBECONFIG"},
                 .output = File("hub.log")});
  const tls::Endpoint address{"127.0.0.1", static_cast<std::uint16_t>(port_)};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!tls::Stream::Connect(address, std::nullopt, until).ok()) {
    if (std::chrono::steady_clock::now() > until || !hub_->running()) Fail("the hub does not listen", File("hub.log"));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void PushRig::StopHub() {
  if (hub_->Stop(std::chrono::seconds(30)) != 0) Fail("the hub did not end cleanly", File("hub.log"));
  hub_.reset();
}

void PushRig::KillHub() {
  hub_->Kill9();
  hub_.reset();
}

void PushRig::MakeClusters() {
  auto connection = kube::LoadConnectionConfig({.kubeconfig = File("hub.kubeconfig")});
  if (!connection.ok()) Fail(connection.status().ToString());
  const auto api = kube::HttpKubeApi::Create(*std::move(connection), {.user_agent = "bench"});
  if (!api.ok()) Fail(api.status().ToString());
  auto tokens = fleetload::MakeClusters(**api, kNamespace, "cluster", options_.clusters, options_.interval,
                                        std::chrono::seconds(120));
  if (!tokens.ok()) Fail(tokens.status().ToString(), File("hub.log"));
  tokens_ = *std::move(tokens);
}

fleetload::FleetOptions PushRig::FleetOptions() const {
  fleetload::FleetOptions options;
  options.hub = fmt::format("127.0.0.1:{}", port_);
  options.tls_ca = File("ca.pem");
  options.interval = options_.interval;
  return options;
}

PlainServer::PlainServer(const PushRig& rig) : rig_(rig) {
  const std::string log = dir_.File("log");
  process_ = Launch({.argv = {testing::BinDir() + "/plain_server", rig.File("cert.pem"), rig.File("key.pem")},
                     .env = {},
                     .unset = {},
                     .output = log});
  Eventually(std::chrono::seconds(20), [&] {
    port_ = std::atoi(LineValue(ReadFile(log), "port").c_str());
    return port_ != 0;
  });
  if (port_ == 0) Fail("plain_server does not listen", log);
}

fleetload::FleetOptions PlainServer::FleetOptions() const {
  fleetload::FleetOptions options = rig_.FleetOptions();
  options.hub = fmt::format("127.0.0.1:{}", port_);
  return options;
}

}  // namespace clusterpulse::bench
