#include "tests/support/kube_api_server.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <absl/strings/escaping.h>
#include <absl/strings/str_split.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/json/value.h"

namespace clusterpulse::testing {
namespace {

const std::string kSupport = CLUSTERPULSE_SOURCE_DIR "/tests/support";

int ReadPid(const std::string& path) {
  const std::string text = ReadFile(path);
  return text.empty() ? -1 : std::atoi(text.c_str());
}

void Send(int pid, int signal) {
  if (pid > 0) ::kill(pid, signal);  // never 0 or -1: those are everybody
}

// The daemons are children of a shell that is gone, so their end is seen by their absence.
void KillAndWait(int pid, int signal) {
  if (pid <= 0) return;
  Send(pid, signal);
  Eventually(std::chrono::seconds(10), [pid] {
    if (::kill(pid, 0) != 0) return true;
    // A zombie (its reaper is slow) holds no ports any more once its other threads are gone.
    const std::string proc = "/proc/" + std::to_string(pid);
    const std::string stat = ReadFile(proc + "/stat");
    const auto end = stat.rfind(')');
    std::error_code gone;
    const auto threads = std::distance(std::filesystem::directory_iterator(proc + "/task", gone), {});
    return end == std::string::npos || (stat.substr(end + 2, 1) == "Z" && threads <= 1);
  });
}

}  // namespace

std::unique_ptr<KubeTestEnv> KubeTestEnv::Create() {
  const char* assets = std::getenv("KUBEBUILDER_ASSETS");
  const std::string dir = assets != nullptr ? assets : "";
  for (const char* program : {"etcd", "kube-apiserver", "kubectl"}) {
    if (!dir.empty() && ::access((dir + "/" + program).c_str(), X_OK) == 0) continue;
    const bool required = std::getenv("CLUSTERPULSE_REQUIRE_REAL") != nullptr;
    std::fprintf(stderr, "%s: no %s: KUBEBUILDER_ASSETS is '%s' (`make test` sets it)\n",
                 required ? "REQUIRED BUT MISSING" : "SKIPPED", program, dir.c_str());
    if (required) std::abort();
    return nullptr;
  }
  return std::unique_ptr<KubeTestEnv>(new KubeTestEnv(dir, FreePort()));
}

KubeTestEnv::~KubeTestEnv() {
  ResumeEtcd();
  KillAndWait(ReadPid(dir_.File("etcd.pid")), SIGKILL);
}

std::unique_ptr<KubeTestEnv::Server> KubeTestEnv::StartServer(const std::string& name,
                                                              const std::vector<std::string>& flags) {
  std::unique_ptr<Server> server(new Server(*this, name, FreePort(), flags));
  return server->Restart() ? std::move(server) : nullptr;
}

void KubeTestEnv::FreezeEtcd() { Send(ReadPid(dir_.File("etcd.pid")), SIGSTOP); }
void KubeTestEnv::ResumeEtcd() { Send(ReadPid(dir_.File("etcd.pid")), SIGCONT); }

void KubeTestEnv::CompactEtcd() {
  const std::string endpoint = "http://127.0.0.1:" + std::to_string(etcd_port_);
  const std::map<std::string, std::string> env{{"ETCDCTL_API", "3"}};
  const CommandResult status =
      RunCommand({"etcdctl", "--endpoints", endpoint, "endpoint", "status", "-w", "json"}, env);
  const auto json = json::Value::Parse(status.out);
  if (!json.ok() || json->items().empty()) return;
  const std::int64_t revision = json->items()[0]["Status"]["header"]["revision"].IntOr();
  RunCommand({"etcdctl", "--endpoints", endpoint, "compact", std::to_string(revision)}, env);
}

KubeTestEnv::Server::~Server() {
  Resume();
  Kill9();
}

int KubeTestEnv::Server::Pid() const { return ReadPid(env_.dir() + "/" + name_ + ".pid"); }
void KubeTestEnv::Server::Freeze() { Send(Pid(), SIGSTOP); }
void KubeTestEnv::Server::Resume() { Send(Pid(), SIGCONT); }
void KubeTestEnv::Server::Kill9() { KillAndWait(Pid(), SIGKILL); }

bool KubeTestEnv::Server::Restart() {
  std::vector<std::string> argv{"bash", kSupport + "/kube-up.sh", env_.assets(), env_.dir(),
                                name_,  std::to_string(port_)};
  argv.insert(argv.end(), flags_.begin(), flags_.end());
  const CommandResult result =
      RunCommand(argv, {{"ETCD_PORT", std::to_string(env_.etcd_port_)}}, std::chrono::seconds(90));
  if (result.exit_code != 0) std::fprintf(stderr, "kube-up.sh %s: %s\n", name_.c_str(), result.out.c_str());
  return result.exit_code == 0;
}

CommandResult KubeTestEnv::Server::Kubectl(std::vector<std::string> args, std::chrono::milliseconds limit) const {
  args.insert(args.begin(), {env_.assets() + "/kubectl", "--kubeconfig", kubeconfig(), "--cache-dir",
                             env_.dir() + "/" + name_ + "-kubectl"});
  return RunCommand(args, {}, limit);
}

CommandResult KubeTestEnv::Server::Patch(const std::string& path, const std::string& body) const {
  const std::string tls = env_.tls_dir();
  return RunCommand({"curl", "-s", "--max-time", "20", "--cacert", tls + "/ca.crt", "--cert", tls + "/admin.crt",
                     "--key", tls + "/admin.key", "-X", "PATCH", "-H", "Content-Type: application/merge-patch+json",
                     "--data-binary", body, url() + path});
}

void KubeTestEnv::Server::CreateNode(const std::string& name, bool ready) const {
  const std::string file = env_.dir() + "/node.yaml";
  WriteFile(file, "apiVersion: v1\nkind: Node\nmetadata:\n  name: " + name +
                      "\n  labels: {node-role.kubernetes.io/worker: \"\"}\n");
  Kubectl({"apply", "-f", file});
  Patch("/api/v1/nodes/" + name + "/status",
        R"({"status":{"capacity":{"cpu":"8","memory":"32Gi","pods":"110","ephemeral-storage":"100Gi"},)"
        R"("allocatable":{"cpu":"7500m","memory":"30Gi","pods":"110","ephemeral-storage":"90Gi"},)"
        R"("conditions":[{"type":"Ready","status":")" +
            std::string(ready ? "True" : "False") + R"(","reason":"Test","message":"set by the test"}]}})");
}

std::string KubeTestEnv::Server::CreateToken(const std::string& service_account, bool admin) const {
  Kubectl({"create", "namespace", "accounts"});
  Kubectl({"-n", "accounts", "create", "serviceaccount", service_account});
  if (!admin) {
    Kubectl({"create", "clusterrole", "read-all", "--verb=get,list,watch", "--resource=*.*"});
    Kubectl({"create", "clusterrole", "read-core", "--verb=get,list,watch", "--resource=*"});
  }
  for (const char* role : {"read-all", "read-core"}) {
    Kubectl({"create", "clusterrolebinding", service_account + "-" + role,
             std::string("--clusterrole=") + (admin ? "cluster-admin" : role),
             "--serviceaccount=accounts:" + service_account});
  }
  return RequestToken("accounts", service_account);
}

std::string KubeTestEnv::Server::RequestToken(const std::string& ns, const std::string& service_account) const {
  // TokenRequest, which needs no controller.
  const std::string request = env_.dir() + "/token-request.json";
  WriteFile(request,
            R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":3600}})");
  const CommandResult result =
      Kubectl({"create", "--raw", "/api/v1/namespaces/" + ns + "/serviceaccounts/" + service_account + "/token", "-f",
               request});
  const auto json = json::Value::Parse(result.out);
  if (!json.ok()) {
    std::fprintf(stderr, "token request: %s\n", result.out.c_str());
    return "";
  }
  return std::string((*json)["status"]["token"].StringOr());
}

std::string KubeTestEnv::Server::WithLife(const std::string& token, std::chrono::seconds life) const {
  constexpr std::chrono::seconds kLeeway{60};  // granted by the server to clocks that differ
  const std::vector<std::string> parts = absl::StrSplit(token, '.');
  std::string text;
  if (parts.size() != 3 || !absl::WebSafeBase64Unescape(parts[1], &text)) return "";
  auto claims = json::Value::Parse(text);
  if (!claims.ok()) return "";
  const auto end = std::chrono::system_clock::now() + life - kLeeway;
  claims->Mutable("exp") =
      std::int64_t{std::chrono::duration_cast<std::chrono::seconds>(end.time_since_epoch()).count()};
  const std::string content = parts[0] + "." + absl::WebSafeBase64Escape(claims->Dump());
  const std::string file = env_.dir() + "/token";
  WriteFile(file, content);
  const CommandResult signature = RunCommand({"openssl", "dgst", "-sha256", "-sign", env_.tls_dir() + "/sa.key", file});
  return content + "." + absl::WebSafeBase64Escape(signature.out);
}

}  // namespace clusterpulse::testing
