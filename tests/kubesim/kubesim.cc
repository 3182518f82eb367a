#include "tests/kubesim/kubesim.h"

#include <cerrno>
#include <cstring>
#include <filesystem>

#include <absl/strings/escaping.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/base/status.h"
#include "common/base/thread.h"

namespace clusterpulse::kubesim {

using base::MutexLock;

namespace {

std::string Base64(const std::string& text) { return absl::Base64Escape(text); }

absl::Status WriteFile(const std::filesystem::path& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return base::Unavailable("cannot write {}: {}", path.string(), std::strerror(errno));
  const auto written = ::write(fd, text.data(), text.size());
  const bool closed = ::close(fd) == 0;
  if (written != static_cast<ssize_t>(text.size()) || !closed) {
    return base::Unavailable("cannot write {}", path.string());
  }
  return absl::OkStatus();
}

FleetOptions SeededBy(FleetOptions fleet, std::uint64_t seed) {
  fleet.seed = seed;
  return fleet;
}

std::string Authority(const std::string& host, int port) {
  return host.find(':') == host.npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

}  // namespace

// --- SimCluster ---

SimCluster::SimCluster(const Options& options)
    : options_(options),
      api_({.name = options.name,
            .token = options.authenticate
                         ? fmt::format("sim.{}.{:016x}", options.name, std::mt19937_64(options.seed ^ 0x746f6b656e)())
                         : "",
            .seed = options.seed,
            .history = options.history,
            .bookmark_interval = options.bookmark_interval}),
      fleet_(api_.store(), SeededBy(options.fleet.value_or(FleetOptions{}), options.seed)),
      http_({.host = options.host, .port = options.port, .tls = nullptr, .gzip = options.gzip}, api_.gate(),
            [this](Exchange& exchange) { api_.Handle(exchange); }),
      churn_(options.churn_per_second) {}

absl::StatusOr<std::unique_ptr<SimCluster>> SimCluster::Create(const Options& options) {
  std::unique_ptr<SimCluster> cluster(new SimCluster(options));
  if (options.fleet.has_value()) RETURN_IF_ERROR(cluster->fleet_.Seed());
  if (options.tls) RETURN_IF_ERROR(cluster->ChangeCertificate(CertificateChange::kAuthority));
  RETURN_IF_ERROR(cluster->http_.Start());
  if (options.fleet.has_value()) {
    cluster->churner_ = base::StartThread("sim-churn", [c = cluster.get()] { c->RunChurn(); });
  }
  return cluster;
}

SimCluster::~SimCluster() {
  stop_.RequestStop();
  api_.gate().Open();
  http_.Stop();
}

std::string SimCluster::url() const {
  return fmt::format("{}://{}", options_.tls ? "https" : "http", Authority(options_.host, http_.port()));
}

std::string SimCluster::ca_pem() const {
  MutexLock lock(mu_);
  return ca_.has_value() ? ca_->pem() : "";
}

std::string SimCluster::Kubeconfig(const std::string& server, const std::string& ca) const {
  const std::string ca_line = ca.empty() ? "" : fmt::format("    certificate-authority-data: {}\n", Base64(ca));
  const std::string user = token().empty() ? "{}" : fmt::format("\n    token: {}", token());
  return fmt::format(
      "apiVersion: v1\n"
      "kind: Config\n"
      "current-context: {0}\n"
      "clusters:\n- name: {0}\n  cluster:\n    server: {1}\n{2}"
      "users:\n- name: {0}-admin\n  user: {3}\n"
      "contexts:\n- name: {0}\n  context:\n    cluster: {0}\n    user: {0}-admin\n",
      name(), server, ca_line, user);
}

absl::Status SimCluster::ChangeCertificate(CertificateChange change) {
  if (!options_.tls) return base::InvalidArgument("{} serves plain text", name());
  CertificateAuthority::Request request{.common_name = name()};
  request.dns_names.push_back(name());
  // An address of its own is in its certificate too.
  in_addr address{};
  if (::inet_pton(AF_INET, options_.host.c_str(), &address) == 1 && address.s_addr != INADDR_ANY) {
    request.addresses.push_back(options_.host);
  }
  TlsContext context;
  {
    MutexLock lock(mu_);
    if (change == CertificateChange::kAuthority || !ca_.has_value()) {
      ASSIGN_OR_RETURN(ca_, CertificateAuthority::Create("kubesim CA of " + name()));
    }
    if (change == CertificateChange::kExpired) {
      request.valid_from_seconds = -7200;
      request.valid_until_seconds = -60;
    }
    if (change == CertificateChange::kWrongName) {
      request.dns_names = {"elsewhere.example.net"};
      request.addresses = {"192.0.2.1"};
    }
    ASSIGN_OR_RETURN(context, ca_->Issue(request));
  }
  http_.SetTls(std::move(context));
  return absl::OkStatus();
}

void SimCluster::SetChurn(double changes_per_second) { churn_ = changes_per_second; }

void SimCluster::RunChurn() {
  // Ticks of 20 ms and more, each with the changes that have become due.
  constexpr std::chrono::milliseconds kTick{20};
  double due = 0;
  auto last = std::chrono::steady_clock::now();
  while (!stop_.WaitFor(kTick)) {
    const auto now = std::chrono::steady_clock::now();
    due += churn_ * std::chrono::duration<double>(now - last).count();
    last = now;
    for (; due >= 1 && !stop_.stop_requested(); --due) {
      if (!fleet_.Step().ok()) break;  // nothing in the fleet to change
    }
  }
}

// --- Kubesim ---

absl::StatusOr<std::unique_ptr<Kubesim>> Kubesim::Create(const Options& options) {
  std::unique_ptr<Kubesim> sim(new Kubesim(options));
  const int servers = options.clusters + (options.hub ? 1 : 0);
  for (int i = 0; i < servers; ++i) {
    const bool hub = options.hub && i == 0;
    const int number = options.hub ? i : i + 1;
    SimCluster::Options server = options.server;
    server.name = hub ? "hub" : fmt::format("cluster-{}", number);
    server.port = options.port_base == 0 ? 0 : options.port_base + i;
    server.seed = options.server.seed * 1000 + static_cast<std::uint64_t>(number);
    if (hub) {
      server.churn_per_second = 0;
    } else {
      server.fleet = options.fleet;
      server.fleet->openshift = number > options.clusters - options.openshift;
    }
    ASSIGN_OR_RETURN(auto cluster, SimCluster::Create(server));
    if (!hub) {
      for (const Fault& fault : options.faults) cluster->api().faults().Add(fault);
    }
    sim->clusters_.push_back(std::move(cluster));
  }
  if (options.prefix_port >= 0) {
    HttpServer::Options http{.host = options.server.host, .port = options.prefix_port, .gzip = options.server.gzip};
    if (options.server.tls) {
      ASSIGN_OR_RETURN(sim->prefix_ca_, CertificateAuthority::Create("kubesim CA"));
      ASSIGN_OR_RETURN(http.tls, sim->prefix_ca_->Issue({}));
    }
    sim->prefix_server_ = std::make_unique<HttpServer>(
        std::move(http), sim->prefix_gate_, [s = sim.get()](Exchange& exchange) { s->HandlePrefixed(exchange); });
    RETURN_IF_ERROR(sim->prefix_server_->Start());
  }
  if (!options.dir.empty()) RETURN_IF_ERROR(sim->WriteFiles());
  return sim;
}

Kubesim::~Kubesim() {
  for (const auto& cluster : clusters_) cluster->Resume();  // requests that hang there would hold up the end
  prefix_server_.reset();
}

SimCluster* Kubesim::Find(std::string_view name) const {
  for (const auto& cluster : clusters_) {
    if (cluster->name() == name) return cluster.get();
  }
  return nullptr;
}

std::string Kubesim::PrefixUrl(std::string_view name) const {
  if (prefix_server_ == nullptr) return "";
  return fmt::format("{}://{}/clusters/{}", options_.server.tls ? "https" : "http",
                     Authority(options_.server.host, prefix_server_->port()), name);
}

void Kubesim::HandlePrefixed(Exchange& exchange) {
  constexpr std::string_view kPrefix = "/clusters/";
  std::string& path = exchange.request().path;
  SimCluster* cluster = nullptr;
  if (path.starts_with(kPrefix)) {
    const auto slash = std::min(path.find('/', kPrefix.size()), path.size());
    cluster = Find(std::string_view(path).substr(kPrefix.size(), slash - kPrefix.size()));
    path.erase(0, slash);
    if (path.empty()) path.push_back('/');
  }
  if (cluster == nullptr) {
    exchange.Respond(404, "text/plain", "no such cluster\n");
    return;
  }
  exchange.SetGate(cluster->api().gate());
  cluster->api().gate().Pass(exchange.stop());
  cluster->api().Handle(exchange);
}

std::string Kubesim::Connections() const {
  const std::string& ns = options_.connection_namespace;
  std::string text = fmt::format("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {}\n", ns);
  for (const auto& cluster : clusters_) {
    if (cluster->name() == "hub") continue;
    text += fmt::format(
        "---\n"
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {0}-credentials\n  namespace: {1}\ntype: Opaque\n"
        "data:\n  token: {2}\n",
        cluster->name(), ns, Base64(cluster->token()));
    if (const auto ca = cluster->ca_pem(); !ca.empty()) text += fmt::format("  ca.crt: {}\n", Base64(ca));
    text += fmt::format(
        "---\n"
        "apiVersion: clusterpulse.io/v1alpha1\nkind: ClusterConnection\nmetadata:\n  name: {0}\n  namespace: {1}\n"
        "spec:\n  displayName: {0}\n  endpoint: {2}\n  credentialsRef:\n    name: {0}-credentials\n"
        "  collectionMode: pull\n  monitoring:\n    interval: 30\n    timeout: 10\n",
        cluster->name(), ns, cluster->url());
  }
  return text;
}

absl::Status Kubesim::WriteFiles() const {
  if (options_.dir.empty()) return absl::InvalidArgumentError("no directory was given to write files into");
  const std::filesystem::path dir(options_.dir);
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return base::Unavailable("cannot make {}: {}", options_.dir, error.message());
  for (const auto& cluster : clusters_) {
    RETURN_IF_ERROR(WriteFile(dir / (cluster->name() + ".kubeconfig"), cluster->Kubeconfig()));
    if (prefix_server_ == nullptr) continue;
    RETURN_IF_ERROR(
        WriteFile(dir / (cluster->name() + "-prefix.kubeconfig"),
                  cluster->Kubeconfig(PrefixUrl(cluster->name()), prefix_ca_.has_value() ? prefix_ca_->pem() : "")));
  }
  return WriteFile(dir / "connections.yaml", Connections());
}

}  // namespace clusterpulse::kubesim
