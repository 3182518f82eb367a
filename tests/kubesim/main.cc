#include <csignal>
#include <iostream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <pthread.h>

#include "common/http/server.h"
#include "tests/kubesim/control.h"
#include "tests/kubesim/kubesim.h"

namespace {

using clusterpulse::kubesim::ControlServer;
using clusterpulse::kubesim::Fault;
using clusterpulse::kubesim::kControlHelp;
using clusterpulse::kubesim::Kubesim;

int Run(const Kubesim::Options& options, const std::string& control, const sigset_t& signals) {
  const auto sim = Kubesim::Create(options);
  if (!sim.ok()) {
    std::cerr << "kubesim: " << sim.status().ToString() << "\n";
    return 1;
  }
  std::unique_ptr<ControlServer> commands;
  if (!control.empty()) {
    const auto address =
        clusterpulse::http::ParseListenAddress(control.find(':') == control.npos ? "127.0.0.1:" + control : control);
    if (!address.ok()) {
      std::cerr << "kubesim: --control: " << address.status().ToString() << "\n";
      return 2;
    }
    commands =
        std::make_unique<ControlServer>(**sim, address->host.empty() ? "127.0.0.1" : address->host, address->port);
    if (const auto status = commands->Start(); !status.ok()) {
      std::cerr << "kubesim: " << status.ToString() << "\n";
      return 1;
    }
    fmt::print("control http://127.0.0.1:{}\n", commands->port());
  }
  for (const auto& cluster : (*sim)->clusters()) {
    fmt::print("{} {}{}\n", cluster->name(), cluster->url(),
               options.dir.empty() ? "" : fmt::format(" {}/{}.kubeconfig", options.dir, cluster->name()));
  }
  fmt::print("ready\n");
  std::cout.flush();
  std::fflush(stdout);
  int signal = 0;
  sigwait(&signals, &signal);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // Before any thread: the signals are waited for, not handled.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  Kubesim::Options options;
  std::string control;
  std::vector<std::string> faults;
  int hub = 1, bookmark_ms = 10000;
  bool no_tls = false, no_gzip = false, no_auth = false;
  CLI::App app("Many simulated Kubernetes API servers in one process, for tests and the demo.");
  app.footer(kControlHelp);
  app.add_option("--hub", hub, "1: a server named hub without a fleet; 0: none")
      ->check(CLI::Range(0, 1))
      ->capture_default_str();
  app.add_option("--clusters", options.clusters, "managed clusters, named cluster-1, ...")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--openshift", options.openshift, "so many of them, the last ones, look like OpenShift")
      ->capture_default_str();
  app.add_option("--nodes", options.fleet.nodes, "nodes of each managed cluster")->capture_default_str();
  app.add_option("--pods-per-node", options.fleet.pods_per_node, "pods of each node")->capture_default_str();
  app.add_option("--namespaces", options.fleet.namespaces, "namespaces with workloads")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--deployments", options.fleet.deployments, "deployments of each managed cluster")
      ->capture_default_str();
  app.add_option("--labels-per-node", options.fleet.labels_per_node, "labels of each node")->capture_default_str();
  app.add_option("--operators", options.fleet.operators, "OLM operators of each managed cluster")
      ->capture_default_str();
  app.add_option("--churn", options.server.churn_per_second, "object changes a second in each managed cluster")
      ->capture_default_str();
  app.add_option("--seed", options.server.seed, "the same seed gives the same fleets")->capture_default_str();
  app.add_option("--history", options.server.history, "watch events kept for each resource type")
      ->capture_default_str();
  app.add_option("--bookmark-ms", bookmark_ms, "milliseconds between bookmarks")->capture_default_str();
  app.add_option("--host", options.server.host, "address to listen on")->capture_default_str();
  app.add_option("--port-base", options.port_base, "hub on this port, clusters on those above; 0: any free ones")
      ->capture_default_str();
  app.add_option("--prefix-port", options.prefix_port,
                 "also serve all of them on this one port, under /clusters/NAME; 0: any free one, -1: not")
      ->capture_default_str();
  app.add_option("--control", control, "address of the control port, as 127.0.0.1:0; not given: none");
  app.add_option("--dir", options.dir, "where kubeconfigs and connections.yaml are written; not given: nowhere");
  app.add_option("--connection-namespace", options.connection_namespace, "namespace used in connections.yaml")
      ->capture_default_str();
  app.add_option("--fault", faults,
                 std::string("a fault rule for every managed cluster; may be repeated. Fields: ") +
                     clusterpulse::kubesim::kFaultFields);
  app.add_flag("--no-tls", no_tls, "plain HTTP");
  app.add_flag("--no-gzip", no_gzip, "never compress answers (real servers do from 128 KiB)");
  app.add_flag("--no-auth", no_auth, "take requests without a token");
  CLI11_PARSE(app, argc, argv);

  options.hub = hub == 1;
  options.server.tls = !no_tls;
  options.server.gzip = !no_gzip;
  options.server.authenticate = !no_auth;
  options.server.bookmark_interval = std::chrono::milliseconds(bookmark_ms);
  for (const std::string& text : faults) {
    const auto fault = Fault::Parse(text);
    if (!fault.ok()) {
      std::cerr << "kubesim: --fault: " << fault.status().ToString() << "\n";
      return 2;
    }
    options.faults.push_back(*fault);
  }
  return Run(options, control, signals);
}
