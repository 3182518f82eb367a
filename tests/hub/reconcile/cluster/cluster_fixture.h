#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <absl/strings/escaping.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/base/testing/manual_clock.h"
#include "common/json/value.h"
#include "common/kube/testing/fake_kube_api.h"
#include "common/telemetry/registry.h"
#include "hub/history/testing/fake_history.h"
#include "hub/reconcile/cluster/cluster_reconciler.h"
#include "hub/runtime/testing/fake_event_recorder.h"
#include "hub/store/embedded_store.h"

namespace clusterpulse::reconcile {

using namespace std::chrono_literals;

// A store whose way can be cut, and that can claim another writer took over.
class CuttableStore final : public store::StateStore {
 public:
  explicit CuttableStore(store::StateStore& inner) : inner_(inner) {}

  std::atomic<bool> down = false;
  // So many Apply calls for data (for the spec) meet a newer writer first.
  std::atomic<int> fence_next = 0, fence_spec_next = 0;
  std::atomic<int> epochs = 0, spec_epochs = 0, applies = 0, commits = 0;
  // What others do right before the next call by which data is written, or its writer changed.
  std::function<void()> before_data;

  absl::StatusOr<store::ApplyResult> Apply(const store::WriterPosition& p,
                                           const std::vector<store::Write>& w) override {
    RETURN_IF_ERROR(Way());
    const bool is_data = p.role == store::WriterRole::kData;
    if (is_data) Interfere();
    if (is_data) ++applies;
    if (std::atomic<int>& fence = is_data ? fence_next : fence_spec_next; fence > 0) {
      --fence;
      RETURN_IF_ERROR(inner_.AcquireEpoch(p.cluster, p.role, static_cast<std::int64_t>(p.epoch) + 1).status());
    }
    return inner_.Apply(p, w);
  }
  absl::Status Commit(const std::vector<store::Write>& w) override {
    RETURN_IF_ERROR(Way());
    ++commits;
    return inner_.Commit(w);
  }
  absl::StatusOr<std::uint64_t> AcquireEpoch(const std::string& c, store::WriterRole role, std::int64_t now) override {
    RETURN_IF_ERROR(Way());
    if (role == store::WriterRole::kData) Interfere();
    ++(role == store::WriterRole::kData ? epochs : spec_epochs);
    return inner_.AcquireEpoch(c, role, now);
  }
  absl::StatusOr<std::optional<std::string>> Get(const std::string& k) override {
    RETURN_IF_ERROR(Way());
    return inner_.Get(k);
  }
  absl::StatusOr<std::vector<std::optional<std::string>>> GetMany(const std::vector<std::string>& k) override {
    RETURN_IF_ERROR(Way());
    return inner_.GetMany(k);
  }
  absl::StatusOr<std::map<std::string, std::string>> HashGetAll(const std::string& k) override {
    RETURN_IF_ERROR(Way());
    return inner_.HashGetAll(k);
  }
  absl::StatusOr<std::vector<std::string>> SetMembers(const std::string& k) override {
    RETURN_IF_ERROR(Way());
    return inner_.SetMembers(k);
  }
  absl::StatusOr<std::vector<std::pair<std::string, double>>> SortedNewest(const std::string& k,
                                                                           std::size_t n) override {
    RETURN_IF_ERROR(Way());
    return inner_.SortedNewest(k, n);
  }
  absl::StatusOr<std::vector<std::string>> ListRange(const std::string& k, std::size_t n) override {
    RETURN_IF_ERROR(Way());
    return inner_.ListRange(k, n);
  }
  absl::StatusOr<store::Ttl> TimeToLive(const std::string& k) override { return inner_.TimeToLive(k); }
  absl::StatusOr<std::int64_t> DeletePrefix(const std::string& p) override {
    RETURN_IF_ERROR(Way());
    return inner_.DeletePrefix(p);
  }
  absl::StatusOr<std::vector<std::string>> Keys(const std::string& p) override { return inner_.Keys(p); }
  absl::StatusOr<bool> AcquireLease(const std::string& n, const std::string& h, std::chrono::milliseconds t) override {
    return inner_.AcquireLease(n, h, t);
  }
  absl::StatusOr<std::optional<std::string>> LeaseHolder(const std::string& n) override {
    return inner_.LeaseHolder(n);
  }
  absl::Status ReleaseLease(const std::string& n, const std::string& h) override { return inner_.ReleaseLease(n, h); }
  absl::StatusOr<std::unique_ptr<store::Subscription>> Subscribe(const std::string& c,
                                                                 std::function<void(std::string_view)> f) override {
    return inner_.Subscribe(c, std::move(f));
  }
  std::chrono::milliseconds DurableAfter() const override { return inner_.DurableAfter(); }
  model::DurableMark Durable() override { return inner_.Durable(); }
  absl::Status Ping() override { return Way(); }

 private:
  void Interfere() {
    if (const auto act = std::exchange(before_data, nullptr)) act();
  }
  absl::Status Way() const { return down ? absl::UnavailableError("redis: connection refused") : absl::OkStatus(); }

  store::StateStore& inner_;
};

// One hub cluster, managed clusters behind https://NAME:6443, a store, and the reconciler between them, driven by hand.
class Fleet : public KubeClientFactory {
 public:
  explicit Fleet(Timing defaults = {30s, 10s}) : defaults_(defaults) {
    kube::ServedType connections;
    connections.resource = kube::kClusterConnections;
    connections.singular = "clusterconnection";
    connections.has_status = connections.has_generation = connections.custom = true;
    hub.store().Serve({connections});
    auto opened = store::EmbeddedStore::Open({.data_dir = "", .clock = &clock});
    REQUIRE(opened.ok());
    inner_ = *std::move(opened);
    store_ = std::make_unique<CuttableStore>(*inner_);
    state_ =
        std::make_unique<store::ClusterState>(*store_, store::ClusterState::Options{.hub_namespace = "hub"}, clock);
    collectors_ = std::make_unique<store::CollectorState>(*store_, *state_, "hub");
    Put(hub, kube::kNamespaces, R"({"metadata":{"name":"hub"}})");
    RestartHub();
  }

  // --- what operators do ---

  void CreateSecret(const std::string& name, const std::string& token, const std::string& ns = "hub",
                    const std::string& ca = "CA") {
    Put(hub, kube::kSecrets,
        fmt::format(R"({{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{}","namespace":"{}"}},
            "data":{{"token":"{}","ca.crt":"{}"}}}})",
                    name, ns, absl::Base64Escape(token), absl::Base64Escape(ca)));
  }
  // A connection to the cluster of that name, with Secret NAME-creds. `spec` members replace those of the default.
  void Connect(const std::string& name, const std::string& spec = "{}") {
    CreateSecret(name + "-creds", name + "-token");
    auto members = Json(fmt::format(
        R"({{"displayName":"{0} display","endpoint":"https://{0}:6443","credentialsRef":{{"name":"{0}-creds"}}}})",
        name));
    json::MergePatch(members, Json(spec));
    json::Value object = Json(fmt::format(
        R"({{"apiVersion":"clusterpulse.io/v1alpha1","kind":"ClusterConnection","metadata":{{"name":"{}","namespace":"hub"}}}})",
        name));
    object.Mutable("spec") = members;
    REQUIRE(hub.store().Create(kube::kClusterConnections, "hub", object).ok());
  }
  void Patch(const std::string& name, const std::string& patch) {
    const auto patched =
        hub.store().Patch(kube::kClusterConnections, {"hub", name}, kube::StorePatch::kMerge, Json(patch));
    REQUIRE(patched.ok());
  }
  void Annotate(const std::string& name, std::string_view annotation, const std::string& value) {
    Patch(name, fmt::format(R"({{"metadata":{{"annotations":{{"{}":{}}}}}}})", annotation, value));
  }
  void Delete(const std::string& name) { REQUIRE(hub.store().Delete(kube::kClusterConnections, {"hub", name}).ok()); }

  // --- what happens on managed clusters ---

  kube::FakeKubeApi& Cluster(const std::string& name) { return clusters_["https://" + name + ":6443"]; }
  void AddNode(const std::string& cluster, const std::string& node, bool ready = true) {
    Put(Cluster(cluster), kube::kNodes,
        fmt::format(R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{}"}},"status":{{"conditions":[
            {{"type":"Ready","status":"{}","reason":"{}"}}],"capacity":{{"cpu":"4","memory":"8Gi"}},
            "allocatable":{{"cpu":"4","memory":"8Gi"}}}}}})",
                    node, ready ? "True" : "False", ready ? "KubeletReady" : "KubeletNotReady"));
  }
  void AddClusterOperator(const std::string& cluster, const std::string& name, bool degraded) {
    Cluster(cluster).store().Serve(kube::OpenShiftTypes());
    Put(Cluster(cluster), kube::kClusterOperators,
        fmt::format(
            R"({{"apiVersion":"config.openshift.io/v1","kind":"ClusterOperator","metadata":{{"name":"{}"}},"status":{{"conditions":[
            {{"type":"Available","status":"True"}},{{"type":"Degraded","status":"{}","message":"no endpoints"}}]}}}})",
            name, degraded ? "True" : "False"));
  }
  // Two ready nodes and a connection.
  void Start(const std::string& name, const std::string& spec = "{}") {
    AddNode(name, "n1");
    AddNode(name, "n2");
    Connect(name, spec);
  }
  void Cut(const std::string& cluster, absl::Status status = absl::UnavailableError("connection refused")) {
    Cluster(cluster).FailNext(kube::Verb::kList, "", std::move(status), kube::FakeKubeApi::kForever);
  }
  void Mend(const std::string& cluster) { Cluster(cluster).ClearFaults(); }

  // --- the hub ---

  runtime::Result Reconcile(const std::string& name) {
    const auto result = TryReconcile(name);
    INFO(base::Message(result.status()));
    REQUIRE(result.ok());
    if (Exists(name)) CHECK(EmptyTexts(Status(name)) == "");
    return *result;
  }
  absl::StatusOr<runtime::Result> TryReconcile(const std::string& name) {
    return reconciler->Reconcile({"hub", name}, stop.get_token());
  }
  // A new process: memory is gone, store and objects stay.
  void RestartHub() {
    status_ = std::make_unique<runtime::StatusWriter>(hub, clock, runtime::StatusWriter::Options{});
    HubObjects objects;
    objects.connection = [this](const kube::ObjectKey& key) { return Lookup(key); };
    objects.secret_version = [this](const kube::ObjectKey& key) -> std::optional<std::string> {
      if (key.ns != "hub") return std::nullopt;
      const auto object = hub.store().Get(kube::kSecrets, key);
      if (!object.ok()) return std::nullopt;
      return std::to_string((*object)->version);  // no assertions here: passes may run on other threads
    };
    ClusterReconciler::Options options;
    options.hub_namespace = "hub";
    options.instance = "process-" + std::to_string(++processes_);
    options.defaults = defaults_;
    options.longest_pass = longest_pass;
    options.push_enabled = push_enabled;
    options.ingester_address = "hub.example:443";
    objects.token_secret = [this](const kube::ObjectKey& key) -> std::optional<TokenSecret> {
      const auto object = hub.store().Get(kube::kSecrets, key);
      if (!object.ok()) return std::nullopt;
      TokenSecret secret;
      kube::ObjectMeta meta;
      json::Parser parser;
      (void)parser.Parse((*object)->json, [&](json::Cursor c) { return ReadTokenSecret(c, meta, secret); });
      return secret;
    };
    reconciler.reset();
    reconciler = std::make_unique<ClusterReconciler>(
        ClusterReconciler::Dependencies{hub, *this, *state_, *collectors_, *status_, events, clock, random,
                                        [this] { return clock.Steady() - store_up_since; },
                                        with_history ? &history : nullptr, &reached},
        objects, options, ClientPool::Options{}, PullMetrics(metrics));
  }

  // The watch cache stops hearing of changes: passes see the object as it is now.
  void FreezeCache(const std::string& name) { cached_ = Lookup({"hub", name}); }
  // The watch cache has not heard of the object yet.
  void HideFromCache(const std::string& name) { hidden_ = name; }

  // --- what can be seen ---

  bool Exists(const std::string& name) { return hub.store().Get(kube::kClusterConnections, {"hub", name}).ok(); }
  json::Value Object(const std::string& name) {
    const auto object = hub.store().Get(kube::kClusterConnections, {"hub", name});
    REQUIRE(object.ok());
    return Json((*object)->json);
  }
  json::Value Status(const std::string& name) { return Object(name)["status"]; }
  std::string Phase(const std::string& name) { return std::string(Status(name)["phase"].StringOr()); }
  std::string Health(const std::string& name) { return std::string(Status(name)["health"].StringOr()); }
  std::string Message(const std::string& name) { return std::string(Status(name)["message"].StringOr()); }
  // Where an empty text stands, which formats, enums and minLength of the schema refuse; empty: nowhere.
  static std::string EmptyTexts(const json::Value& value, const std::string& path = "status") {
    std::string found = value.IsString() && value.StringOr().empty() ? path + " " : "";
    for (const auto& [member, inner] : value.members()) found += EmptyTexts(inner, path + "." + member);
    for (const json::Value& inner : value.items()) found += EmptyTexts(inner, path + "[]");
    return found;
  }
  // "True/Connected"; empty when absent.
  std::string Condition(const std::string& name, std::string_view type) {
    const json::Value status = Status(name);
    for (const json::Value& c : status["conditions"].items()) {
      if (c["type"].StringOr() == type) return fmt::format("{}/{}", c["status"].StringOr(), c["reason"].StringOr());
    }
    return {};
  }
  json::Value Document(const std::string& key) {
    const auto text = inner_->Get(key);
    REQUIRE(text.ok());
    return text->has_value() ? Json(**text) : json::Value();
  }
  std::string StoredHealth(const std::string& name) {
    return std::string(Document("cluster:" + name + ":status")["health"].StringOr());
  }
  std::vector<std::string> StoredNodes(const std::string& name) {
    return *inner_->SetMembers("cluster:" + name + ":nodes");
  }
  std::vector<std::string> Keys(const std::string& prefix) { return *inner_->Keys(prefix); }
  // Health words of the store's events, oldest first.
  std::vector<std::string> StoreEvents(const std::string& name) {
    std::vector<std::string> out;
    const auto list = inner_->ListRange("events:" + name, 100);
    REQUIRE(list.ok());
    for (auto it = list->rbegin(); it != list->rend(); ++it) {
      const json::Value event = Json(*it);
      out.push_back(event["type"].StringOr() == "cluster.reconciled" ? std::string(event["data"]["health"].StringOr())
                                                                     : std::string(event["type"].StringOr()));
    }
    return out;
  }
  std::vector<std::string> Finalizers(const std::string& name) {
    std::vector<std::string> out;
    const json::Value object = Object(name);
    for (const json::Value& f : object["metadata"]["finalizers"].items()) out.emplace_back(f.StringOr());
    return out;
  }
  int StatusWrites() { return hub.Count(kube::Verb::kPatch, "clusterconnections"); }
  CuttableStore& store() { return *store_; }
  store::ClusterState& state() { return *state_; }
  store::CollectorState& collectors() { return *collectors_; }

  static json::Value Json(std::string_view text) {
    auto value = json::Value::Parse(text);
    INFO(text);
    REQUIRE(value.ok());
    return *std::move(value);
  }
  static void Put(kube::FakeKubeApi& api, const kube::ResourceType& type, const std::string& text) {
    const auto put = api.store().Put(type, Json(text));
    INFO(base::Message(put.status()));
    REQUIRE(put.ok());
  }

  absl::StatusOr<std::shared_ptr<kube::KubeApi>> Create(const std::string&, const ClientTarget& target) override {
    base::MutexLock lock(mu_);
    targets.push_back(target);
    if (target.credentials.ca_cert == "BROKEN") return absl::InvalidArgumentError("ca.crt holds no certificate");
    return std::shared_ptr<kube::KubeApi>(std::shared_ptr<void>(), &clusters_[target.endpoint]);
  }
  void Forget(const std::string& cluster) override { forgotten.push_back(cluster); }

  base::ManualClock clock;
  base::SeededRandom random{7};
  kube::FakeKubeApi hub;
  runtime::FakeEventRecorder events;
  telemetry::Registry metrics;
  std::stop_source stop;
  std::chrono::milliseconds longest_pass{300000};  // takes effect with RestartHub
  bool push_enabled = true;                        // the same
  bool with_history = false;                       // the same
  base::SteadyTime store_up_since{};               // long ago
  history::FakeHistoryWriter history{clock};
  ReachedClusters reached{clock};
  std::vector<ClientTarget> targets;   // of the clients made
  std::vector<std::string> forgotten;  // clusters
  std::unique_ptr<ClusterReconciler> reconciler;

 private:
  std::optional<ClusterConnection> Lookup(const kube::ObjectKey& key) {
    if (cached_.has_value()) return cached_;
    if (key.name == hidden_) return std::nullopt;
    const auto object = hub.store().Get(kube::kClusterConnections, key);
    if (!object.ok()) return std::nullopt;
    ClusterConnection connection;
    kube::ObjectMeta meta;
    json::Parser parser;
    if (!parser.Parse((*object)->json, [&](json::Cursor c) { return ReadClusterConnection(c, meta, connection); })
             .ok()) {
      return std::nullopt;
    }
    return connection;
  }

  base::Mutex mu_;  // for passes that run side by side
  const Timing defaults_;
  std::map<std::string, kube::FakeKubeApi> clusters_;  // by endpoint
  std::unique_ptr<store::StateStore> inner_;
  std::unique_ptr<CuttableStore> store_;
  std::unique_ptr<store::ClusterState> state_;
  std::unique_ptr<store::CollectorState> collectors_;
  std::unique_ptr<runtime::StatusWriter> status_;
  std::optional<ClusterConnection> cached_;
  std::string hidden_;
  int processes_ = 0;
};

}  // namespace clusterpulse::reconcile
