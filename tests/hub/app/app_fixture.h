#pragma once

#include <functional>
#include <future>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/http/client.h"
#include "common/json/value.h"
#include "common/kube/testing/fake_kube_api.h"
#include "hub/app/app.h"
#include "hub/app/crds.h"
#include "hub/store/embedded_store.h"

namespace clusterpulse::app {

using namespace std::chrono_literals;

// A KubeApi owned by the app, on a store of objects that the test sees.
struct FakeClients final : reconcile::KubeClientFactory {
  kube::ObjectStore& store;
  explicit FakeClients(kube::ObjectStore& s) : store(s) {}
  absl::StatusOr<std::shared_ptr<kube::KubeApi>> Create(const std::string&, const reconcile::ClientTarget&) override {
    return std::make_shared<kube::FakeKubeApi>(store);
  }
  void Forget(const std::string&) override {}
};

inline bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    base::StopSignal().WaitFor(5ms);
  }
  return true;
}

// The hub on fakes: a hub cluster, one managed cluster, a store in memory, real threads and loopback servers.
struct Fixture {
  kube::ObjectStore hub, managed;
  store::EmbeddedStore* store = nullptr;
  Config config;
  std::unique_ptr<App> app;
  std::stop_source stop;
  std::future<absl::Status> result;

  Fixture() {
    config.ns = "fleet";
    config.state_store = "embedded";
    config.probe_address = "127.0.0.1:0";
    config.metrics_address = "127.0.0.1:0";
    config.ingester_port = 0;  // any
    Put(managed, kube::kNodes,
        R"({"metadata":{"name":"n1"},"status":{"conditions":[{"type":"Ready","status":"True"}]}})");
  }
  ~Fixture() {
    stop.request_stop();
    if (result.valid()) result.wait();
  }
  static void Put(kube::ObjectStore& where, const kube::ResourceType& type, const std::string& text) {
    const auto object = json::Value::Parse(text);
    REQUIRE(object.ok());
    REQUIRE(where.Put(type, *object).ok());
  }
  void InstallDefinition() {
    kube::FakeKubeApi api(hub);
    std::ostringstream ignored;
    REQUIRE(ApplyCrds(api, 5s, ignored, {}).ok());
  }
  // Cluster "a". Its own token is "token".
  void PutConnection(const std::string& mode = "pull") {
    Put(hub, kube::kNamespaces, R"({"metadata":{"name":"fleet"}})");
    Put(hub, kube::kSecrets, R"({"metadata":{"namespace":"fleet","name":"s"},"data":{"token":"dG9rZW4="}})");
    Put(hub, kube::kClusterConnections,
        R"({"metadata":{"namespace":"fleet","name":"a"},)"
        R"("spec":{"endpoint":"https://a.example","credentialsRef":{"name":"s"},"collectionMode":")" +
            mode + R"("}})");
  }
  void Create() {
    Dependencies deps;
    deps.registry = std::make_unique<telemetry::Registry>();
    deps.hub = std::make_unique<kube::FakeKubeApi>(hub);
    auto opened = store::EmbeddedStore::Open({});
    REQUIRE(opened.ok());
    store = opened->get();
    deps.store = *std::move(opened);
    deps.clients = std::make_unique<FakeClients>(managed);
    auto history = MakeHistory(config, *deps.clock, *deps.random, *deps.registry, deps.log);
    REQUIRE(history.ok());
    deps.history = *std::move(history);
    auto made = App::Create(config, std::move(deps));
    REQUIRE(made.ok());
    app = *std::move(made);
  }
  void Start() {
    result = std::async(std::launch::async, [this] { return app->Run(stop.get_token()); });
  }
  absl::Status Stop() {
    stop.request_stop();
    return result.get();
  }
  std::pair<int, std::string> Fetch(int port, const std::string& path) {
    auto client = http::Client::Create({.base_url = "http://127.0.0.1:" + std::to_string(port)});
    REQUIRE(client.ok());
    json::Buffer body;
    const auto response = (*client)->Fetch({.target = path}, body, {});
    if (!response.ok()) return {0, base::Message(response.status())};
    return {response->code, std::string(body.view())};
  }
  json::Value Status() {
    const auto object = hub.Get(kube::kClusterConnections, {"fleet", "a"});
    return object.ok() ? (*json::Value::Parse((*object)->json))["status"] : json::Value();
  }
  std::string Phase() { return std::string(Status()["phase"].StringOr()); }
};

}  // namespace clusterpulse::app
