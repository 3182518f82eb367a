#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace clusterpulse::testing {

// The real etcd and kube-apiserver, from KUBEBUILDER_ASSETS or the cache of tests/support/kube-assets.sh.
//
//   auto env = KubeTestEnv::Create();              // null: not to be had here, the reason was printed
//   auto hub = env->StartServer("hub", {});
//   hub->Kubectl({"apply", "-f", file});
class KubeTestEnv {
 public:
  class Server;

  // Null when the programs are not there: the caller prints SKIPPED and returns, unless CLUSTERPULSE_REQUIRE_REAL is
  // set, in which case this aborts the test run.
  static std::unique_ptr<KubeTestEnv> Create();
  ~KubeTestEnv();

  // Starts an API server with a key space of its own and waits until it is ready (5 s or so).
  std::unique_ptr<Server> StartServer(const std::string& name, const std::vector<std::string>& flags = {});
  // SIGSTOP and SIGCONT of etcd: requests hang, then go on.
  void FreezeEtcd();
  void ResumeEtcd();
  // etcdctl compact at the present revision: older watches and continue tokens get 410.
  void CompactEtcd();

  const std::string& assets() const { return assets_; }
  const std::string& dir() const { return dir_.path(); }
  std::string tls_dir() const { return dir_.File("tls"); }

 private:
  KubeTestEnv(std::string assets, int etcd_port) : assets_(std::move(assets)), etcd_port_(etcd_port) {}

  const std::string assets_;
  const int etcd_port_;
  TempDir dir_;
};

class KubeTestEnv::Server {
 public:
  ~Server();
  const std::string& name() const { return name_; }
  std::string kubeconfig() const { return env_.dir() + "/" + name_ + ".kubeconfig"; }
  int port() const { return port_; }
  std::string url() const { return "https://localhost:" + std::to_string(port_); }
  std::string ca_pem() const { return ReadFile(env_.tls_dir() + "/ca.crt"); }
  CommandResult Kubectl(std::vector<std::string> args,
                        std::chrono::milliseconds limit = std::chrono::seconds(60)) const;
  // A request as administrator, for what kubectl 1.20 cannot do (status subresources). The body is merge-patched.
  CommandResult Patch(const std::string& path, const std::string& body) const;
  // Makes a node and writes its status as a kubelet would.
  void CreateNode(const std::string& name, bool ready) const;
  // A bearer token of a new service account with read rights on everything (or cluster-admin).
  std::string CreateToken(const std::string& service_account, bool admin = false) const;
  // A bearer token of a service account that is there; empty, the reason printed, when there is none to be had.
  std::string RequestToken(const std::string& ns, const std::string& service_account) const;
  // `token` with another end: it works for `life` from now, and up to 10 s more, for which the server remembers tokens
  // it has checked.
  std::string WithLife(const std::string& token, std::chrono::seconds life) const;

  void Freeze();  // SIGSTOP
  void Resume();
  void Kill9();
  // Starts it again on the same port and data; waits until ready.
  bool Restart();

 private:
  friend class KubeTestEnv;
  Server(KubeTestEnv& env, std::string name, int port, std::vector<std::string> flags)
      : env_(env), name_(std::move(name)), port_(port), flags_(std::move(flags)) {}
  int Pid() const;

  KubeTestEnv& env_;
  const std::string name_;
  const int port_;
  const std::vector<std::string> flags_;
};

}  // namespace clusterpulse::testing
