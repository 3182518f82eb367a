#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "common/kube/testing/fake_kube_api.h"
#include "common/kube/testing/forwarding_kube_api.h"
#include "hub/app/command_line.h"

namespace clusterpulse::app {

// Signals that never come.
struct NoSignals final : SignalHandler {};

// The command line over a simulated cluster.
struct CommandFixture {
  kube::FakeKubeApi kube;
  std::map<std::string, std::string> variables;
  std::string kubeconfig, context;  // as the last command asked for them
  std::ostringstream out, err;
  std::optional<Config> ran;
  std::function<void(base::StopSignal&)> on_signals;  // the command listens for signals now

  int Execute(std::vector<std::string> args) {
    out.str("");
    err.str("");
    Process process{
        .environment = [this](const std::string& name) -> std::optional<std::string> {
          const auto it = variables.find(name);
          if (it == variables.end()) return std::nullopt;
          return it->second;
        },
        .out = out,
        .err = err,
        .hub_api = [this](const std::string& path,
                          const std::string& name) -> absl::StatusOr<std::unique_ptr<kube::KubeApi>> {
          kubeconfig = path;
          context = name;
          if (path == "/missing") return absl::NotFoundError("/missing: no such file");
          // The command owns what it is given.
          return std::make_unique<kube::ForwardingKubeApi>(kube);
        },
        .signals = [this](base::StopSignal& stop,
                          SignalHandler::Options) -> absl::StatusOr<std::unique_ptr<SignalHandler>> {
          if (on_signals) on_signals(stop);
          return std::make_unique<NoSignals>();
        },
        .run =
            [this](const LoadedConfig& loaded, Process&) {
              ran = loaded.config;
              return 0;
            },
    };
    return app::Execute(args, process);
  }
  json::Value Connection(const std::string& ns, const std::string& name) {
    const auto text = kube.Get(kube::kClusterConnections, {ns, name}, {});
    REQUIRE(text.ok());
    return *json::Value::Parse(*text);
  }
  void Put(const std::string& ns, const std::string& name, json::Value::Array finalizers) {
    json::Value object;
    json::Value& metadata = object.Mutable("metadata");
    metadata.Mutable("namespace") = ns;
    metadata.Mutable("name") = name;
    if (!finalizers.empty()) metadata.Mutable("finalizers") = std::move(finalizers);
    object.Mutable("spec").Mutable("endpoint") = "https://x";
    object.Mutable("spec").Mutable("credentialsRef").Mutable("name") = "s";
    REQUIRE(kube.store().Put(kube::kClusterConnections, std::move(object)).ok());
  }
};

}  // namespace clusterpulse::app
