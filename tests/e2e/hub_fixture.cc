#include "tests/e2e/hub_fixture.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/str_replace.h>
#include <absl/strings/str_split.h>
#include <fmt/format.h>

namespace clusterpulse::testing {
namespace {

std::string FreshNamespace() {
  static std::atomic<int> count{0};
  return fmt::format("fleet-{}", ++count);
}

std::string Indent(const std::string& text, const std::string& by) {
  std::string out = by;
  for (const char c : text) {
    out.push_back(c);
    if (c == '\n') out += by;
  }
  return out;
}

}  // namespace

HubFixture::Servers* HubFixture::SharedServers() {
  static const std::unique_ptr<Servers> servers = []() -> std::unique_ptr<Servers> {
    auto made = std::make_unique<Servers>();
    made->env = KubeTestEnv::Create();
    if (made->env == nullptr) return nullptr;
    made->hub = made->env->StartServer("hub");
    made->managed = made->env->StartServer("managed");
    if (made->hub == nullptr || made->managed == nullptr) std::abort();  // the reason was printed
    made->token = made->managed->CreateToken("reader");
    for (const char* name : {"worker-1", "worker-2", "worker-3"}) made->managed->CreateNode(name, true);
    return made;
  }();
  return servers.get();
}

HubFixture::HubFixture(Servers& servers, Options options)
    : servers_(servers),
      options_(std::move(options)),
      api_(options_.api != nullptr ? *options_.api : *servers.hub),
      ns_(options_.replica_of != nullptr ? options_.replica_of->ns() : FreshNamespace()),
      log_(dir_.File("hub.log")) {
  if (options_.replica_of == nullptr) api_.Kubectl({"create", "namespace", ns_});
  if (options_.ingester_tls) UseCertificate("server");
  metrics_port_ = FreePort();
  probe_port_ = FreePort();
  ingester_port_ = FreePort();
}

HubFixture::~HubFixture() {
  if (hub_) hub_->Stop();
  if (options_.replica_of != nullptr) return;
  // Objects with finalizers would keep the next test's watch busy.
  Hub({"uninstall"});
  api_.Kubectl({"-n", ns_, "delete", "clusterconnections", "--all", "--wait=false"});
}

std::map<std::string, std::string> HubFixture::Environment() const {
  std::map<std::string, std::string> env{{"NAMESPACE", ns_}, {"DATA_DIR", dir_.path()}, {"LOG_LEVEL", "debug"}};
  if (options_.redis != nullptr) {
    env["REDIS_HOST"] = "127.0.0.1";
    env["REDIS_PORT"] = std::to_string(options_.redis->port());
  }
  if (options_.ingester_tls) {
    env["INGESTER_TLS_ENABLED"] = "true";
    env["INGESTER_TLS_CERT"] = dir_.File("ingester/tls.crt");
    env["INGESTER_TLS_KEY"] = dir_.File("ingester/tls.key");
  }
  return env;
}

void HubFixture::StartHub() {
  std::string kubeconfig = api_.kubeconfig();
  if (options_.proxy != nullptr) {
    const std::string text = absl::StrReplaceAll(ReadFile(kubeconfig), {{api_.url(), options_.proxy->url()}});
    kubeconfig = dir_.File("kubeconfig");
    WriteFile(kubeconfig, text);
  }
  std::vector<std::string> argv{BinDir() + "/clusterpulse-hub", "--kubeconfig=" + kubeconfig,
                                fmt::format("--metrics-bind-address=127.0.0.1:{}", metrics_port_),
                                fmt::format("--health-probe-bind-address=127.0.0.1:{}", probe_port_),
                                fmt::format("--ingester-port={}", ingester_port_)};
  argv.insert(argv.end(), options_.flags.begin(), options_.flags.end());
  auto child =
      ChildProcess::Start({.argv = argv, .env = Environment(), .unset = {"REDIS_HOST", "KUBECONFIG"}, .output = log_});
  if (!child.ok()) std::abort();
  hub_ = *std::move(child);
}

void HubFixture::UseCertificate(const std::string& name) {
  namespace fs = std::filesystem;
  const std::string files = dir_.File("certificate-" + name), link = dir_.File("ingester");
  fs::create_directory(files);
  for (const char* kind : {"crt", "key"}) {
    fs::copy_file(fmt::format("{}/{}.{}", servers_.env->tls_dir(), name, kind), fmt::format("{}/tls.{}", files, kind),
                  fs::copy_options::overwrite_existing);
  }
  fs::remove(link + ".new");
  fs::create_directory_symlink(files, link + ".new");
  fs::rename(link + ".new", link);
}

bool HubFixture::InstallDefinitions() {
  const CommandResult crds = Hub({"crds", "apply"});
  if (crds.exit_code != 0) std::fprintf(stderr, "crds apply: %s\n", crds.out.c_str());
  return crds.exit_code == 0;
}

bool HubFixture::StartConnected() {
  if (!InstallDefinitions()) return false;
  CreateSecret("harbour-token", servers_.token, servers_.managed->ca_pem());
  Connect("harbour", servers_.managed->url(), "harbour-token");
  StartHub();
  return WaitFor("harbour", "Connected", "healthy", std::chrono::seconds(45), false);
}

CommandResult HubFixture::Hub(std::vector<std::string> args) {
  args.insert(args.begin(), BinDir() + "/clusterpulse-hub");
  args.push_back("--kubeconfig=" + api_.kubeconfig());
  return RunCommand(args, Environment());
}

CommandResult HubFixture::Kubectl(std::vector<std::string> args) {
  args.insert(args.begin(), {"-n", ns_});
  return api_.Kubectl(args);
}

CommandResult HubFixture::Apply(const std::string& yaml) {
  const std::string file = dir_.File("apply.yaml");
  WriteFile(file, yaml);
  const CommandResult applied = Kubectl({"apply", "-f", file});
  if (applied.exit_code != 0) std::fprintf(stderr, "kubectl apply: %s\n", applied.out.c_str());
  return applied;
}

void HubFixture::CreateSecret(const std::string& name, const std::string& token, const std::string& ca_pem) {
  std::string yaml =
      fmt::format("apiVersion: v1\nkind: Secret\nmetadata: {{name: {}}}\ntype: Opaque\nstringData:\n  token: \"{}\"\n",
                  name, token);
  if (!ca_pem.empty()) yaml += "  ca.crt: |\n" + Indent(ca_pem, "    ") + "\n";
  Apply(yaml);
}

void HubFixture::Connect(const std::string& name, const std::string& endpoint, const std::string& secret,
                         const std::string& extra_spec) {
  Apply(
      fmt::format("apiVersion: clusterpulse.io/v1alpha1\nkind: ClusterConnection\nmetadata: {{name: {}}}\n"
                  "spec:\n  endpoint: {}\n  credentialsRef: {{name: {}}}\n{}",
                  name, endpoint, secret, extra_spec));
}

void HubFixture::ConnectPush(const std::string& name, const std::string& secret, const std::string& extra_spec) {
  Connect(name, servers_.managed->url(), secret, "  collectionMode: push\n" + extra_spec);
}

std::string HubFixture::CollectorToken(const std::string& name, const std::string& old) {
  std::string token;
  const bool came = Eventually(std::chrono::seconds(20), [&] {
    const CommandResult encoded = Kubectl({"get", "secret", name + "-collector-token", "-o", "jsonpath={.data.token}"});
    return encoded.exit_code == 0 && absl::Base64Unescape(encoded.out, &token) && !token.empty() && token != old;
  });
  if (!came) std::fprintf(stderr, "the hub made no token for %s; its log:\n%s\n", name.c_str(), HubLog().c_str());
  return token;
}

void HubFixture::SyncNow(const std::string& name) {
  Kubectl({"annotate", "--overwrite", "clusterconnection", name, fmt::format("clusterpulse.io/sync-now={}", ++syncs_)});
}

json::Value HubFixture::Object(const std::string& name) {
  const CommandResult result = Kubectl({"get", "clusterconnection", name, "-o", "json"});
  if (result.exit_code != 0) return json::Value();
  auto object = json::Value::Parse(result.out);
  return object.ok() ? *std::move(object) : json::Value();
}

bool HubFixture::WaitFor(const std::string& name, const std::string& phase, const std::string& health,
                         std::chrono::seconds limit, bool sync) {
  json::Value status;
  int polls = 0;
  const bool reached = Eventually(limit, [&] {
    if (sync && polls++ % 20 == 0) SyncNow(name);
    status = Object(name)["status"];
    return status["phase"].StringOr() == phase && (health.empty() || status["health"].StringOr() == health);
  });
  if (!reached) {
    std::fprintf(stderr, "%s never became %s/%s; its status: %s\nhub log:\n%s\n", name.c_str(), phase.c_str(),
                 health.c_str(), status.Dump().c_str(), HubLog().c_str());
  }
  return reached;
}

bool HubFixture::WaitUntil(const std::string& name, std::chrono::milliseconds limit,
                           const std::function<bool(const json::Value& object)>& holds) {
  json::Value object;
  const bool held = Eventually(limit, [&] { return holds(object = Object(name)); });
  if (!held) {
    std::fprintf(stderr, "%s never became what the test waits for: %s\nhub log:\n%s\n", name.c_str(),
                 object.Dump().c_str(), HubLog().c_str());
  }
  return held;
}

bool HubFixture::WaitForCollector(const std::string& name, bool connected, std::chrono::milliseconds limit) {
  return WaitUntil(name, limit, [connected](const json::Value& object) {
    return object["status"]["collectorStatus"]["connected"].BoolOr(!connected) == connected &&
           Condition(object, "CollectorConnected", "status") == (connected ? "True" : "False");
  });
}

std::string HubFixture::Condition(const json::Value& object, std::string_view type, std::string_view member) {
  for (const json::Value& condition : object["status"]["conditions"].items()) {
    if (condition["type"].StringOr() == type) return std::string(condition[member].StringOr());
  }
  return "";
}

double HubFixture::MetricAt(int port, const std::string& name, const std::vector<std::string>& labels) {
  double sum = 0;
  const std::string text = HttpGet(port, "/metrics").body;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, name + "{") && !absl::StartsWith(line, name + " ")) continue;
    const auto has = [line](const std::string& label) { return absl::StrContains(line, label); };
    if (!std::all_of(labels.begin(), labels.end(), has)) continue;
    sum += std::atof(std::string(line.substr(line.rfind(' ') + 1)).c_str());
  }
  return sum;
}

json::Value AskJson(const RedisServer& redis, std::vector<std::string> args) {
  auto value = json::Value::Parse(redis.Ask(std::move(args)));
  return value.ok() ? *std::move(value) : json::Value();
}

}  // namespace clusterpulse::testing
