#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/stop_signal.h"
#include "tests/kubesim/api_server.h"
#include "tests/kubesim/fleet.h"
#include "tests/kubesim/http_server.h"
#include "tests/kubesim/tls.h"

namespace clusterpulse::kubesim {

enum class CertificateChange {
  kRenew,      // another one of the same authority: clients do not notice
  kAuthority,  // of a new authority, which clients do not know; kubeconfig() then has the new one
  kExpired,
  kWrongName,
};

// One simulated cluster: an API server on its own port, with its own certificate authority, token and fleet. Made by
// Kubesim, or alone in a test:
//
//   auto cluster = SimCluster::Create({.name = "a", .fleet = {.nodes = 3}});
//   HttpKubeApi kube(... (*cluster)->url(), (*cluster)->ca_pem(), (*cluster)->token() ...);
//   (*cluster)->api().faults().Add(*Fault::Parse("verb=list,action=status,code=429,count=2"));
//
// Thread-safe. The destructor stops it.
class SimCluster {
 public:
  struct Options {
    std::string name = "sim";
    std::string host = "127.0.0.1";
    int port = 0;  // 0: any free one
    bool tls = true;
    bool gzip = true;
    bool authenticate = true;
    std::optional<FleetOptions> fleet{};  // none: only what every server has
    double churn_per_second = 0;          // object changes
    std::size_t history = 1024;           // watch events kept for each type
    std::chrono::milliseconds bookmark_interval{10000};
    std::uint64_t seed = 1;
  };

  // Seeds and serves.
  static absl::StatusOr<std::unique_ptr<SimCluster>> Create(const Options& options);
  ~SimCluster();

  const std::string& name() const { return options_.name; }
  bool has_fleet() const { return options_.fleet.has_value(); }
  ApiServer& api() { return api_; }
  kube::ObjectStore& store() { return api_.store(); }

  // "https://127.0.0.1:PORT"
  std::string url() const;
  std::string ca_pem() const;  // empty without TLS
  std::string token() const { return api_.token(); }
  // A kubeconfig with the administrator's token; `server` and `ca_pem` replace the own ones when given.
  std::string Kubeconfig() const { return Kubeconfig(url(), ca_pem()); }
  std::string Kubeconfig(const std::string& server, const std::string& ca) const;

  // Faults of the whole server.
  void Stop() { http_.Stop(); }                   // connections are reset, new ones refused; the objects stay
  absl::Status Start() { return http_.Start(); }  // again, on the same port
  void Freeze() { api_.gate().Freeze(); }         // as a stopped process: connections hang
  void Resume() { api_.gate().Open(); }
  void ResetConnections() { http_.ResetConnections(); }
  absl::Status ChangeCertificate(CertificateChange change);

  void SetChurn(double changes_per_second);

 private:
  explicit SimCluster(const Options& options);
  void RunChurn();

  const Options options_;
  ApiServer api_;
  Fleet fleet_;
  HttpServer http_;
  mutable base::Mutex mu_;
  std::optional<CertificateAuthority> ca_ ABSL_GUARDED_BY(mu_);
  std::atomic<double> churn_{0};
  base::StopSignal stop_;
  std::jthread churner_;
};

// Many simulated clusters: "hub" first, then "cluster-1", "cluster-2", ... Thread-safe. The destructor stops all.
class Kubesim {
 public:
  struct Options {
    bool hub = true;
    int clusters = 3;
    int openshift = 1;  // so many of them, the last ones, look like OpenShift
    FleetOptions fleet{};
    SimCluster::Options server{};  // host, tls, gzip, churn, history, ... of each
    int port_base = 0;             // hub there, clusters above; 0: any free ones
    // Also serve all of them there under /clusters/NAME; 0: any free port, -1: not. Stop, ResetConnections and
    // ChangeCertificate concern only a cluster's own port; the rest holds here too.
    int prefix_port = -1;
    std::vector<Fault> faults;  // on every managed cluster
    std::string dir;            // empty: write no files
    std::string connection_namespace = "clusterpulse";
  };

  static absl::StatusOr<std::unique_ptr<Kubesim>> Create(const Options& options);
  ~Kubesim();

  const std::vector<std::unique_ptr<SimCluster>>& clusters() const { return clusters_; }
  // Null when there is none of the name.
  SimCluster* Find(std::string_view name) const;
  // "https://127.0.0.1:PORT/clusters/NAME"; empty without a prefix port.
  std::string PrefixUrl(std::string_view name) const;

  // NAME.kubeconfig for each cluster (NAME-prefix.kubeconfig with a prefix port), and connections.yaml: what makes a
  // hub watch every managed cluster, ready for `kubectl apply`. Mode 0600: there are tokens inside. Also called by
  // Create. kInvalidArgument without a dir.
  absl::Status WriteFiles() const;

 private:
  explicit Kubesim(const Options& options) : options_(options) {}
  std::string Connections() const;
  void HandlePrefixed(Exchange& exchange);

  const Options options_;
  std::vector<std::unique_ptr<SimCluster>> clusters_;
  std::optional<CertificateAuthority> prefix_ca_;
  Gate prefix_gate_;
  std::unique_ptr<HttpServer> prefix_server_;
};

}  // namespace clusterpulse::kubesim
