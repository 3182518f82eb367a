#include "tests/soak/delivery_rig.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <absl/strings/escaping.h>
#include <absl/strings/str_split.h>
#include <fmt/format.h>

#include "common/base/status.h"
#include "common/kube/http_kube_api.h"
#include "common/survey/survey.h"
#include "common/wire/batch_codec.h"
#include "hub/store/documents.h"
#include "tests/common/http/testing/test_certs.h"
#include "tests/e2e/hub_fixture.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;

constexpr char kNamespace[] = "default";
constexpr std::size_t kLogEnd = 6000;  // bytes shown

[[noreturn]] void Fail(const std::string& what, const std::string& log_file = "") {
  std::fprintf(stderr, "%s\n", what.c_str());
  if (!log_file.empty()) {
    const std::string log = ReadFile(log_file);
    std::fprintf(stderr, "the end of its log:\n%s\n", log.substr(log.size() - std::min(log.size(), kLogEnd)).c_str());
  }
  std::abort();
}

template <typename T>
T OrFail(absl::StatusOr<T> result, const char* doing) {
  if (!result.ok()) Fail(fmt::format("{}: {}", doing, base::Message(result.status())));
  return *std::move(result);
}

json::Value Parsed(const std::string& text) {
  auto value = json::Value::Parse(text);
  return value.ok() ? *std::move(value) : json::Value();
}

// A document without the time it was written at.
json::Value Timeless(const std::string& text) {
  json::Value document = Parsed(text);
  document.Erase("timestamp");
  return document;
}

std::set<std::string> Lines(const std::string& text) { return absl::StrSplit(text, '\n', absl::SkipEmpty()); }

}  // namespace

std::vector<std::string> DeliveryRig::Machines(const Options& options) {
  std::vector<std::string> machines{"api", "redis", "victoriametrics"};
  for (int i = 1; i <= options.hubs; ++i) machines.push_back(fmt::format("hub-{}", i));
  for (int i = 1; i <= options.clusters; ++i) machines.push_back(fmt::format("collector-{}", i));
  return machines;
}

std::unique_ptr<DeliveryRig> DeliveryRig::Start(Options options) {
  std::unique_ptr<DeliveryRig> rig(new DeliveryRig(std::move(options)));
  return rig->Begin() ? std::move(rig) : nullptr;
}

DeliveryRig::DeliveryRig(Options options) : options_(std::move(options)) {
  for (int i = 1; i <= options_.clusters; ++i) clusters_.push_back(fmt::format("cluster-{}", i));
  for (int i = 1; i <= options_.hubs; ++i) hubs_.push_back(fmt::format("hub-{}", i));
}

DeliveryRig::~DeliveryRig() {
  for (const char* kind : {"collector-", "hub-"}) {  // before what they use
    for (auto& [name, program] : programs_) {
      if (name.starts_with(kind) && program.process) program.process->Signal(SIGKILL);
    }
  }
  programs_.clear();
}

bool DeliveryRig::Begin() {
  std::vector<std::string> redis_config{"appendfsync everysec"};
  if (options_.net != nullptr) redis_config.insert(redis_config.end(), {"bind 0.0.0.0", "protected-mode no"});
  redis_ = On("redis", [&] { return RedisServer::Start({.aof = true, .config = redis_config}); });
  if (redis_ == nullptr) return false;
  victoria_metrics_ = On("victoriametrics", [&] {
    VictoriaMetricsServer::Options options{.port = FreePort()};
    if (options_.net != nullptr) options.flags = {fmt::format("-httpListenAddr=0.0.0.0:{}", options.port)};
    return VictoriaMetricsServer::Start(options);
  });
  if (victoria_metrics_ == nullptr) return false;
  sim_ = On("api", [&] {
    kubesim::Kubesim::Options sim;
    sim.clusters = options_.clusters;
    sim.fleet = {.nodes = 4, .pods_per_node = 5, .deployments = 5, .labels_per_node = 4, .operators = 3};
    sim.server.host = Host("api");
    sim.server.churn_per_second = options_.churn;
    sim.server.seed = options_.seed;
    sim.dir = dir_.path();
    return OrFail(kubesim::Kubesim::Create(sim), "starting kubesim");
  });
  const http::KeyPair ca = http::MakeCa("delivery-ca");
  const http::KeyPair pair = http::MakeCert(ca, {.names = {"IP:127.0.0.1", "DNS:localhost", "IP:" + Host("hub-1")}});
  WriteFile(dir_.File("ca.pem"), ca.cert_pem);
  WriteFile(dir_.File("cert.pem"), pair.cert_pem);
  WriteFile(dir_.File("key.pem"), pair.key_pem);
  recorder_ = std::make_unique<SpoolRecorder>();

  for (int i = 0; i < options_.hubs; ++i) MakeHub(i);
  if (options_.net == nullptr) relay_ = std::make_unique<TcpProxy>(ingester_ports_);
  const CommandResult crds = On("hub-1", [&] {
    return RunCommand({BinDir() + "/clusterpulse-hub", "crds", "apply", "--kubeconfig=" + dir_.File("hub.kubeconfig")});
  });
  if (crds.exit_code != 0) Fail("crds apply: " + crds.out);
  for (const std::string& cluster : clusters_) Connect(cluster);
  for (const std::string& hub : hubs_) Launch(hub);
  for (const std::string& cluster : clusters_) {
    MakeCollector(cluster);
    Launch(CollectorOf(cluster));
  }
  return true;
}

std::string DeliveryRig::Host(const std::string& machine) const {
  return options_.net != nullptr ? options_.net->Address(machine) : "127.0.0.1";
}

std::string DeliveryRig::CollectorOf(const std::string& cluster) const {
  return "collector" + cluster.substr(cluster.rfind('-'));
}

void DeliveryRig::MakeHub(int index) {
  const std::string& name = hubs_[static_cast<std::size_t>(index)];
  Program& hub = programs_[name];
  const int port = On(name, FreePort);
  ingester_ports_.push_back(port);
  hub.metrics_port = On(name, FreePort);
  hub.probe_port = On(name, FreePort);
  hub.log = dir_.File(name + ".log");
  hub.argv = {BinDir() + "/clusterpulse-hub", "--kubeconfig=" + dir_.File("hub.kubeconfig"),
              fmt::format("--metrics-bind-address=127.0.0.1:{}", hub.metrics_port),
              fmt::format("--health-probe-bind-address=127.0.0.1:{}", hub.probe_port),
              fmt::format("--ingester-port={}", port)};
  hub.env = {{"NAMESPACE", kNamespace},
             {"LEADER_ELECT", options_.hubs > 1 ? "true" : "false"},
             {"REDIS_HOST", Host("redis")},
             {"REDIS_PORT", std::to_string(redis_->port())},
             {"VM_ENABLED", "true"},
             {"VM_ENDPOINT", fmt::format("http://{}:{}", Host("victoriametrics"), victoria_metrics_->port())},
             {"INGESTER_TLS_ENABLED", "true"},
             {"INGESTER_TLS_CERT", dir_.File("cert.pem")},
             {"INGESTER_TLS_KEY", dir_.File("key.pem")},
             {"LOG_FORMAT", "text"}};
  for (const auto& [key, value] : options_.hub_env) hub.env[key] = value;
}

void DeliveryRig::MakeCollector(const std::string& cluster) {
  const std::string name = CollectorOf(cluster);
  const auto own = options_.collectors.find(cluster);
  const Options::CollectorOptions options =
      own != options_.collectors.end() ? own->second : Options::CollectorOptions();
  spool_dirs_[cluster] = !options.spool_dir.empty() ? options.spool_dir : dir_.File("spool-" + cluster);
  recorder_->Watch(cluster, spool_dirs_[cluster]);
  Program& collector = programs_[name];
  collector.metrics_port = On(name, FreePort);
  collector.probe_port = On(name, FreePort);
  collector.log = dir_.File(name + ".log");
  collector.argv = {BinDir() + "/clusterpulse-collector", "--kubeconfig=" + dir_.File(cluster + ".kubeconfig"),
                    fmt::format("--metrics-bind-address=127.0.0.1:{}", collector.metrics_port),
                    fmt::format("--health-probe-bind-address=127.0.0.1:{}", collector.probe_port)};
  const int hub_port = relay_ != nullptr ? relay_->port() : ingester_ports_.front();
  WriteFile(dir_.File(cluster + ".token"), WaitForToken(cluster));
  collector.env = {{"CLUSTER_NAME", cluster},
                   {"INGESTER_ADDRESS", fmt::format("{}:{}", Host("hub-1"), hub_port)},
                   {"COLLECTOR_TOKEN_FILE", dir_.File(cluster + ".token")},
                   {"INGESTER_TLS_ENABLED", "true"},
                   {"INGESTER_TLS_CA", dir_.File("ca.pem")},
                   {"COLLECT_INTERVAL", "5"},
                   {"SPOOL_DIR", spool_dirs_[cluster]},
                   {"LOG_FORMAT", "text"}};
  for (const auto& env : {options_.collector_env, options.env}) {
    for (const auto& [key, value] : env) collector.env[key] = value;
  }
}

void DeliveryRig::Connect(const std::string& cluster) {
  const std::string object = fmt::format(
      R"({{"apiVersion":"clusterpulse.io/v1alpha1","kind":"ClusterConnection","metadata":{{"name":"{}"}},)"
      R"("spec":{{"endpoint":"https://192.0.2.1:6443","credentialsRef":{{"name":"none"}},"collectionMode":"push"}}}})",
      cluster);
  OrFail(sim_->Find("hub")->store().Create(kube::kClusterConnections, kNamespace, Parsed(object)), "connecting");
}

std::string DeliveryRig::WaitForToken(const std::string& cluster) {
  std::string token;
  const bool came = Eventually(seconds(60), [&] {
    const auto secret = sim_->Find("hub")->store().Get(kube::kSecrets, {kNamespace, cluster + "-collector-token"});
    return secret.ok() &&
           absl::Base64Unescape(std::string(Parsed((*secret)->json)["data"]["token"].StringOr()), &token) &&
           !token.empty();
  });
  if (!came) Fail("the hub made no token for " + cluster, Find("hub-1").log);
  return token;
}

DeliveryRig::Program& DeliveryRig::Find(const std::string& program) {
  const auto found = programs_.find(program);
  if (found == programs_.end()) Fail("no program " + program);
  return found->second;
}
const DeliveryRig::Program& DeliveryRig::Find(const std::string& program) const {
  return const_cast<DeliveryRig*>(this)->Find(program);
}

void DeliveryRig::Kill(const std::string& program) {
  if (!IsRunning(program)) return;
  if (program == "redis") {
    redis_->Kill9();
  } else if (program == "victoriametrics") {
    victoria_metrics_->Kill9();
  } else {
    Find(program).process->Kill9();
  }
}

void DeliveryRig::Launch(const std::string& program, const std::string& fail_point) {
  if (IsRunning(program)) return;
  if (program == "redis") {
    if (!On(program, [&] { return redis_->Restart(); })) Fail("redis did not come back");
    return;
  }
  if (program == "victoriametrics") {
    if (!On(program, [&] { return victoria_metrics_->Restart(); })) Fail("VictoriaMetrics did not come back");
    return;
  }
  Program& what = Find(program);
  std::map<std::string, std::string> env = what.env;
  if (!fail_point.empty()) env["CLUSTERPULSE_FAILPOINT"] = fail_point;
  what.process = On(program, [&] {
    return OrFail(
        ChildProcess::Start({.argv = what.argv,
                             .env = std::move(env),
                             .unset = {"REDIS_HOST", "KUBECONFIG", "COLLECTOR_TOKEN", "CLUSTERPULSE_FAILPOINT"},
                             .output = what.log}),
        "starting a program");
  });
}

bool DeliveryRig::IsRunning(const std::string& program) {
  if (program == "redis") return redis_->IsRunning();
  if (program == "victoriametrics") return victoria_metrics_->IsRunning();
  Program& what = Find(program);
  return what.process && what.process->running();
}

void DeliveryRig::Signal(const std::string& program, int signal) { Find(program).process->Signal(signal); }

std::string DeliveryRig::Log(const std::string& program) const { return ReadFile(Find(program).log); }

double DeliveryRig::Metric(const std::string& program, const std::string& name,
                           const std::vector<std::string>& labels) const {
  const std::string kind = program.substr(0, program.find('-'));
  return On(program, [&] {
    return HubFixture::MetricAt(Find(program).metrics_port, fmt::format("clusterpulse_{}_{}", kind, name), labels);
  });
}

HttpAnswer DeliveryRig::Probe(const std::string& program, const std::string& path) const {
  return On(program, [&] { return HttpGet(Find(program).probe_port, path); });
}

std::string DeliveryRig::Redis(std::vector<std::string> args) const {
  return On("redis", [&] { return redis_->Ask(std::move(args)); });
}

store::GapLedger DeliveryRig::Ledger(const std::string& cluster) const {
  return store::GapLedger::Read(Redis({"GET", "cluster:" + cluster + ":gaps"}));
}

std::vector<VictoriaMetricsServer::Series> DeliveryRig::History(const std::string& cluster) {
  return On("victoriametrics", [&] {
    victoria_metrics_->Flush();
    return victoria_metrics_->Export(fmt::format("{{cluster=\"{}\"}}", cluster));
  });
}

json::Value DeliveryRig::Object(const std::string& cluster) {
  const auto object = sim_->Find("hub")->store().Get(kube::kClusterConnections, {kNamespace, cluster});
  return object.ok() ? Parsed((*object)->json) : json::Value();
}

std::string DeliveryRig::Condition(const std::string& cluster, std::string_view type, std::string_view member) {
  return HubFixture::Condition(Object(cluster), type, member);
}

int DeliveryRig::CountEvents(const std::string& cluster, std::string_view reason) {
  const auto events = OrFail(sim_->Find("hub")->store().List(kube::kEvents, {.ns = kNamespace}), "listing events");
  return static_cast<int>(std::count_if(events.objects.begin(), events.objects.end(), [&](const auto& stored) {
    const json::Value event = Parsed(stored->json);
    return event["involvedObject"]["name"].StringOr() == cluster && event["reason"].StringOr() == reason;
  }));
}

std::string DeliveryRig::SaveEvidence(const std::string& name) const {
  const std::string dir = (std::filesystem::temp_directory_path() / name).string();
  std::filesystem::create_directories(dir);
  for (const auto& [program, what] : programs_) WriteFile(dir + "/" + program + ".log", ReadFile(what.log));
  for (const std::string& cluster : clusters_) {
    const std::string key = "cluster:" + cluster + ":";
    WriteFile(dir + "/" + cluster + ".gaps", Redis({"GET", key + "gaps"}));
    WriteFile(dir + "/" + cluster + ".writer", Redis({"HGETALL", key + "writer"}));
    WriteFile(dir + "/" + cluster + ".spool",
              RunCommand({BinDir() + "/clusterpulse-collector", "spool", "inspect", SpoolDir(cluster)}).out);
  }
  return dir;
}

model::ClusterSnapshot DeliveryRig::Truth(const std::string& cluster) {
  kubesim::SimCluster& sim = Cluster(cluster);
  return On("api", [&] {
    const auto api = OrFail(
        kube::HttpKubeApi::Create({.server = sim.url(), .ca_pem = sim.ca_pem(), .token = sim.token(), .source = "test"},
                                  {.qps = 1000}),
        "connecting to kubesim");
    survey::NodesRead read = OrFail(survey::ReadNodes(*api, {}), "reading nodes");
    model::ClusterSnapshot snapshot;
    snapshot.nodes = std::move(read.nodes);
    snapshot.counts = read.counts;
    snapshot.counts->deployments = OrFail(survey::CountDeployments(*api, {}), "counting deployments");
    snapshot.namespaces = OrFail(survey::ReadNamespaces(*api, {}), "reading namespaces");
    return snapshot;
  });
}

std::string DeliveryRig::StateDifference(const std::string& cluster) {
  // As it looks after the wire, which leaves things out.
  wire::v1::MetricsBatch message;
  model::Batch batch{.cluster = cluster, .seq = 1};
  batch.collected_at = base::SystemClock().Now();
  batch.snapshot = Truth(cluster);
  wire::Encode(batch, message);
  const model::ClusterSnapshot truth = OrFail(wire::Decode(message), "decoding").snapshot;

  const std::string prefix = "cluster:" + cluster + ":";
  std::set<std::string> names;
  for (const model::Node& node : *truth.nodes) names.insert(node.name);
  const std::set<std::string> shown = Lines(Redis({"SMEMBERS", prefix + "nodes"}));
  if (shown != names) return fmt::format("{} nodes are shown, there are {}", shown.size(), names.size());
  for (const model::Node& node : *truth.nodes) {
    const json::Value is = Timeless(Redis({"HGET", prefix + "node:" + node.name, "current"}));
    const json::Value should = Timeless(store::documents::NodeCurrent(node, "now"));
    if (is != should) return fmt::format("node {}: {} is shown, it is {}", node.name, is.Dump(), should.Dump());
  }
  const json::Value is = Timeless(Redis({"GET", prefix + "metrics"}));
  const json::Value should = Timeless(store::documents::Metrics(
      *truth.counts,
      {.deployments = truth.counts->deployments, .namespaces = static_cast<std::int64_t>(truth.namespaces->size())},
      "now"));
  if (is != should) return fmt::format("metrics: {} is shown, it is {}", is.Dump(), should.Dump());
  return "";
}

}  // namespace clusterpulse::testing
