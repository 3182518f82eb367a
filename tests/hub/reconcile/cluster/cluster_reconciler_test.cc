#include "hub/reconcile/cluster/cluster_reconciler.h"

#include <atomic>
#include <set>
#include <thread>

#include <catch2/catch.hpp>

#include "common/base/time_format.h"
#include "common/kube/api_error.h"
#include "tests/hub/reconcile/cluster/cluster_fixture.h"

namespace clusterpulse::reconcile {
namespace {

using runtime::EventType;
using Words = std::vector<std::string>;

absl::Status Refusal(int code, std::string reason) { return kube::ToStatus({code, reason, reason + "!", {}}); }

TEST_CASE("a new connection is pulled: data in the store, the truth in the status") {
  Fleet f;
  f.Start("a", R"({"labels":{"ring":"canary"},"monitoring":{"interval":45}})");
  f.Reconcile("a");

  CHECK(f.Finalizers("a") == Words{"clusterpulse.io/cleanup"});
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Health("a") == "healthy");
  CHECK(f.Message("a") == "Cluster is reachable");
  const json::Value status = f.Status("a");
  CHECK(status["nodes"].IntOr() == 2);
  CHECK(status["nodesReady"].IntOr() == 2);
  CHECK(status["observedGeneration"].IntOr() == 1);
  CHECK(status["lastSyncTime"].StringOr() == base::FormatSeconds(f.clock.Now()));
  CHECK(status["lastAttemptTime"].StringOr() == base::FormatSeconds(f.clock.Now()));
  CHECK(f.Condition("a", "Ready") == "True/Connected");
  CHECK(f.Condition("a", "Healthy") == "True/NodesReady");
  CHECK(f.Condition("a", "DataFresh") == "True/Fresh");
  CHECK(f.Condition("a", "StoreAvailable") == "True/Stored");
  for (const json::Value& condition : status["conditions"].items()) {
    CHECK(condition["observedGeneration"].IntOr() == 1);
  }

  CHECK(f.StoredNodes("a") == Words{"n1", "n2"});
  CHECK(f.StoredHealth("a") == "healthy");
  CHECK(f.Document("cluster:a:spec")["displayName"].StringOr() == "a display");
  CHECK(f.Document("cluster:a:spec")["monitoring"]["interval"].IntOr() == 45);
  CHECK(f.Document("cluster:a:labels")["ring"].StringOr() == "canary");
  CHECK(f.Document("cluster:a:metrics")["nodes"].IntOr() == 2);
  CHECK_FALSE(f.Document("cluster:a:namespaces").IsNull());
  CHECK(f.StoreEvents("a") == Words{"healthy"});
  REQUIRE(f.events.events().size() == 1);
  CHECK(f.events.events()[0].type == EventType::kNormal);
  CHECK(f.events.events()[0].reason == "Connected");
  CHECK(f.events.events()[0].about.key == kube::ObjectKey{"hub", "a"});
  CHECK(f.events.events()[0].about.kind == "ClusterConnection");
  CHECK_FALSE(f.events.events()[0].about.uid.empty());
}

TEST_CASE("passes without news say nothing, write times once an interval, and data stays fresh") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.events.Clear();
  const int writes = f.StatusWrites();
  const auto version = f.Object("a")["metadata"]["generation"];
  for (int i = 1; i <= 3; ++i) {
    f.clock.AdvanceBy(31s);
    f.Reconcile("a");
    CHECK(f.StatusWrites() == writes + i);
    CHECK(f.Status("a")["lastSyncTime"].StringOr() == base::FormatSeconds(f.clock.Now()));
  }
  f.clock.AdvanceBy(1s);  // a pass out of turn
  f.Reconcile("a");
  CHECK(f.StatusWrites() == writes + 3);
  CHECK(f.events.events().empty());
  CHECK(f.StoreEvents("a") == Words{"healthy"});
  CHECK(f.Object("a")["metadata"]["generation"] == version);
}

TEST_CASE("every failure reaches the object, an Event and the store, and recovery does too") {
  struct Case {
    const char* name;
    std::function<void(Fleet&)> break_it, mend;
    const char* phase;  // of a cluster that was reached before
    const char* phase_when_new;
    const char* reason;
    const char* says;
  };
  const auto cut = [](absl::Status status) { return [status](Fleet& f) { f.Cut("a", status); }; };
  const auto mend = [](Fleet& f) { f.Mend("a"); };
  const Case cases[] = {
      {"unreachable", cut(absl::UnavailableError("connection refused")), mend, "Disconnected", "Connecting",
       "ConnectionFailed", "connection refused"},
      {"frozen", cut(absl::DeadlineExceededError("no answer within 10s")), mend, "Disconnected", "Connecting",
       "ConnectionFailed", "did not answer in time"},
      {"overloaded", cut(Refusal(429, "TooManyRequests")), mend, "Disconnected", "Connecting", "ConnectionFailed",
       "TooManyRequests"},
      {"wrong CA", cut(absl::UnauthenticatedError("certificate verify failed")), mend, "Error", "Error", "TLSFailed",
       "check ca.crt in Secret hub/a-creds"},
      {"expired token", cut(Refusal(401, "Unauthorized")), mend, "Error", "Error", "CredentialsInvalid",
       "Secret hub/a-creds"},
      {"no RBAC", cut(Refusal(403, "Forbidden")), mend, "Error", "Error", "PermissionDenied",
       "grant the ServiceAccount"},
      {"not Kubernetes", cut(absl::DataLossError("<html>")), mend, "Error", "Error", "NotKubernetes", "spec.endpoint"},
      {"nodes cannot be listed",
       [](Fleet& f) {
         f.Cluster("a").FailNext(kube::Verb::kList, "nodes", Refusal(500, "InternalError"),
                                 kube::FakeKubeApi::kForever);
       },
       mend, "Disconnected", "Connecting", "ConnectionFailed", "nodes and pods cannot be read"},
      {"nodes are forbidden",
       [](Fleet& f) {
         f.Cluster("a").FailNext(kube::Verb::kList, "nodes", Refusal(403, "Forbidden"), kube::FakeKubeApi::kForever);
       },
       mend, "Error", "Error", "PermissionDenied", "list on nodes"},
      {"pods cannot be listed",
       [](Fleet& f) {
         f.Cluster("a").FailNext(kube::Verb::kList, "pods", absl::UnavailableError("reset"),
                                 kube::FakeKubeApi::kForever);
       },
       mend, "Disconnected", "Connecting", "ConnectionFailed", "reset"},
      {"Secret missing",
       [](Fleet& f) {
         REQUIRE(f.hub.store().Delete(kube::kSecrets, {"hub", "a-creds"}).ok());
       },
       [](Fleet& f) { f.CreateSecret("a-creds", "a-token"); }, "Error", "Error", "SecretNotFound", "hub/a-creds"},
      {"Secret without token", [](Fleet& f) { f.CreateSecret("a-creds", ""); },
       [](Fleet& f) { f.CreateSecret("a-creds", "a-token"); }, "Error", "Error", "CredentialsInvalid",
       "Secret hub/a-creds: key token is missing"},
      {"broken CA", [](Fleet& f) { f.CreateSecret("a-creds", "a-token", "hub", "BROKEN"); },
       [](Fleet& f) { f.CreateSecret("a-creds", "a-token"); }, "Error", "Error", "CredentialsInvalid",
       "ca.crt holds no certificate"},
      {"Secret forbidden",
       [](Fleet& f) {
         f.Patch("a", R"({"spec":{"credentialsRef":{"namespace":"vault"}}})");
         f.hub.FailNext(kube::Verb::kGet, "secrets", Refusal(403, "Forbidden"), kube::FakeKubeApi::kForever);
       },
       [](Fleet& f) {
         f.hub.ClearFaults();
         f.CreateSecret("a-creds", "t", "vault");
       },
       "Error", "Error", "CredentialsForbidden", "the hub may not read Secret vault/a-creds"},
      {"bad spec", [](Fleet& f) { f.Patch("a", R"({"spec":{"endpoint":"ftp://a","collectionMode":"x"}})"); },
       [](Fleet& f) { f.Patch("a", R"({"spec":{"endpoint":"https://a:6443","collectionMode":"pull"}})"); }, "Error",
       "Error", "InvalidSpec", "spec.endpoint must be a URL"},
  };
  const bool reached_before = GENERATE(true, false);
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name << (reached_before ? ", reached before" : ", new")) {
      Fleet f;
      f.Start("a");
      const std::string synced_at = base::FormatSeconds(f.clock.Now());
      if (reached_before) f.Reconcile("a");
      f.events.Clear();

      c.break_it(f);
      f.clock.AdvanceBy(31s);
      const auto next = f.Reconcile("a");
      REQUIRE(next.requeue_after.has_value());
      CHECK(*next.requeue_after >= 30s);
      CHECK(*next.requeue_after <= 32s);
      CHECK(f.Phase("a") == (reached_before ? c.phase : c.phase_when_new));
      CHECK(f.Health("a") == "unhealthy");
      CHECK_THAT(f.Message("a"), Catch::Contains(c.says));
      CHECK(f.Condition("a", "Ready") == fmt::format("False/{}", c.reason));
      CHECK(f.Condition("a", "Healthy") == "False/Unreachable");
      CHECK(f.Condition("a", "StoreAvailable") == "True/Stored");
      CHECK(f.Status("a")["lastSyncTime"].StringOr() == (reached_before ? synced_at : ""));
      CHECK(f.StoredHealth("a") == "unhealthy");
      CHECK_THAT(std::string(f.Document("cluster:a:status")["message"].StringOr()), Catch::Contains(c.says));
      CHECK(f.StoredNodes("a") == (reached_before ? Words{"n1", "n2"} : Words{}));  // old data is not wiped
      CHECK(f.StoreEvents("a") == (reached_before ? Words{"healthy", "unhealthy"} : Words{"unhealthy"}));
      REQUIRE(f.events.events().size() == 1);
      CHECK(f.events.events()[0].type == EventType::kWarning);
      CHECK(f.events.events()[0].reason == c.reason);
      CHECK_THAT(f.events.events()[0].message, Catch::Contains(c.says));

      // The same again is no news.
      f.clock.AdvanceBy(31s);
      f.Reconcile("a");
      CHECK(f.events.events().size() == 1);

      c.mend(f);
      f.clock.AdvanceBy(31s);
      f.Reconcile("a");
      CHECK(f.Phase("a") == "Connected");
      CHECK(f.Health("a") == "healthy");
      CHECK(f.StoredHealth("a") == "healthy");
      CHECK(f.Condition("a", "Ready") == "True/Connected");
      REQUIRE(f.events.events().size() == 2);
      CHECK(f.events.events()[1].type == EventType::kNormal);
      CHECK(f.Status("a")["lastSyncTime"].StringOr() == base::FormatSeconds(f.clock.Now()));
      CHECK(f.StoredNodes("a") == Words{"n1", "n2"});
    }
  }
}

TEST_CASE("a failed list that is not critical degrades the phase and keeps what was known") {
  struct Case {
    const char* resource;
    const char* document;
    absl::Status failure;
  };
  const absl::Status reset = absl::UnavailableError("reset");
  const absl::Status away = Refusal(404, "NotFound");  // its definition is being replaced
  for (const Case& c :
       {Case{"deployments", "cluster:a:metrics", reset}, Case{"clusteroperators", "cluster:a:cluster_operators", reset},
        Case{"clusteroperators", "cluster:a:cluster_operators", away},
        Case{"subscriptions", "cluster:a:operators", reset}, Case{"subscriptions", "cluster:a:operators", away}}) {
    DYNAMIC_SECTION(c.resource << " " << c.failure.ToString()) {
      Fleet f;
      f.AddClusterOperator("a", "dns", true);
      f.Cluster("a").store().Serve(kube::OperatorLifecycleTypes());
      f.Start("a");
      f.AddNode("a", "n3");
      for (const auto& [type, object] :
           {std::pair(kube::kDeployments, R"({"metadata":{"name":"d","namespace":"apps"},"spec":{}})"),
            std::pair(kube::kSubscriptions,
                      R"({"metadata":{"name":"pg","namespace":"apps"},"status":{"installedCSV":"pg.v1"}})"),
            std::pair(kube::kClusterServiceVersions,
                      R"({"metadata":{"name":"pg.v1","namespace":"apps"},"spec":{}})")}) {
        Fleet::Put(f.Cluster("a"), type, object);
      }
      f.Reconcile("a");
      CHECK(f.Phase("a") == "Connected");
      CHECK(f.Health("a") == "degraded");
      f.clock.AdvanceBy(151s);
      f.Reconcile("a");
      const json::Value before = f.Document(c.document);
      REQUIRE_FALSE(before.IsNull());

      f.Cluster("a").FailNext(kube::Verb::kList, c.resource, c.failure, kube::FakeKubeApi::kForever);
      f.clock.AdvanceBy(150s);
      f.AddNode("a", "n4");
      f.Reconcile("a");
      CHECK(f.Phase("a") == "Degraded");
      CHECK(f.Condition("a", "Ready") == "True/PartialData");
      CHECK(f.StoredNodes("a").size() == 4);  // the rest goes on
      CHECK(f.Status("a")["lastSyncTime"].StringOr() == base::FormatSeconds(f.clock.Now()));
      CHECK(f.Document("cluster:a:metrics")["deployments"] == json::Value(1));
      CHECK(f.Document("cluster:a:metrics")["nodes"] == json::Value(4));
      if (std::string_view(c.document) != "cluster:a:metrics") CHECK(f.Document(c.document) == before);
      CHECK(f.events.Count("PartialData") == 1);
      CHECK_THAT(f.Message("a"), Catch::Contains(base::Message(c.failure)));

      f.Mend("a");
      f.clock.AdvanceBy(31s);
      f.Reconcile("a");
      CHECK(f.Phase("a") == "Connected");
    }
  }
}

TEST_CASE("one failed list of ClusterOperators does not make a degraded operator well, three intervals do") {
  Fleet f;
  f.AddClusterOperator("a", "dns", true);
  f.Start("a");
  f.Reconcile("a");
  CHECK_THAT(f.Message("a"), Catch::Contains("ClusterOperator dns is degraded: no endpoints"));
  CHECK(f.Condition("a", "Healthy") == "False/ClusterOperatorsDegraded");
  f.Cluster("a").FailNext(kube::Verb::kList, "clusteroperators", absl::UnavailableError("reset"),
                          kube::FakeKubeApi::kForever);
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Health("a") == "degraded");
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Health("a") == "degraded");
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Health("a") == "healthy");
  CHECK(f.Phase("a") == "Degraded");
}

TEST_CASE("nodes that fail show in health, message, Event and store, and go when they recover") {
  Fleet f;
  f.Start("a");
  f.AddNode("a", "n3");
  f.Reconcile("a");
  f.events.Clear();
  f.AddNode("a", "n2", false);
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Health("a") == "degraded");
  CHECK(f.Message("a") == "1 of 3 nodes is not ready: n2 (KubeletNotReady)");
  CHECK(f.StoredHealth("a") == "degraded");
  CHECK(f.events.Count("NodesNotReady") == 1);
  f.AddNode("a", "n1", false);
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Health("a") == "unhealthy");
  CHECK(f.events.Count("MostNodesNotReady") == 1);  // getting worse is news
  f.AddNode("a", "n1");
  f.AddNode("a", "n2");
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Health("a") == "healthy");
  CHECK(f.StoreEvents("a") == Words{"healthy", "degraded", "unhealthy", "healthy"});
  CHECK(f.events.Count("NodesReady") == 1);
}

TEST_CASE("a cluster whose nodes are gone is unhealthy and its nodes leave the store") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  for (const char* node : {"n1", "n2"}) REQUIRE(f.Cluster("a").store().Delete(kube::kNodes, {"", node}).ok());
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Health("a") == "unhealthy");
  CHECK(f.Condition("a", "Healthy") == "False/NoNodes");
  CHECK(f.Status("a")["nodes"].IntOr(-1) == 0);
  CHECK(f.StoredNodes("a").empty());
}

TEST_CASE("the circuit breaker opens after five failures, is tried after a minute, and sync-now passes it") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.Cut("a");
  const auto attempts = [&] { return f.Cluster("a").Count(kube::Verb::kList, "namespaces"); };
  for (int i = 0; i < 5; ++i) {
    f.clock.AdvanceBy(31s);
    const auto next = f.Reconcile("a");
    CHECK(*next.requeue_after > (i < 4 ? 29s : 59s));
  }
  const int tried = attempts();
  const std::string said = f.Message("a");
  CHECK_THAT(said, Catch::Contains("connection refused") && Catch::Contains("sync-now"));
  const int writes = f.StatusWrites();

  f.clock.AdvanceBy(31s);
  auto next = f.Reconcile("a");
  CHECK(attempts() == tried);
  CHECK(f.Phase("a") == "Disconnected");
  CHECK(f.Health("a") == "unhealthy");
  CHECK(f.Message("a") == said);
  CHECK(f.StatusWrites() == writes);  // nothing new to say
  CHECK(*next.requeue_after >= 29s);
  CHECK(*next.requeue_after < 32s);

  f.clock.AdvanceBy(30s);  // half-open: one try
  f.Reconcile("a");
  CHECK(attempts() == tried + 1);
  CHECK(f.Message("a") == said);

  f.Mend("a");
  f.clock.AdvanceBy(1s);
  f.Reconcile("a");
  CHECK(attempts() == tried + 1);
  f.Annotate("a", kSyncNowAnnotation, R"("1")");
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  f.Cut("a");
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");  // closed again: the count starts anew
  f.clock.AdvanceBy(31s);
  f.Mend("a");
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
}

TEST_CASE("failures of TLS and credentials count for the breaker, a changed Secret takes effect at once") {
  Fleet f;
  f.Start("a");
  f.Cut("a", Refusal(401, "Unauthorized"));
  for (int i = 0; i < 6; ++i) {
    f.Reconcile("a");
    f.clock.AdvanceBy(10s);
  }
  CHECK(f.Cluster("a").Count(kube::Verb::kList, "namespaces") == 5);
  CHECK(f.Phase("a") == "Error");
  f.Mend("a");
  f.CreateSecret("a-creds", "rotated");
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  REQUIRE(f.targets.size() == 2);
  CHECK(f.targets[0].credentials.token == "a-token");
  CHECK(f.targets[1].credentials.token == "rotated");
}

TEST_CASE("the Secret is read again only when its version changed or it is in another namespace") {
  Fleet f;
  f.Start("a");
  const auto reads = [&] { return f.hub.Count(kube::Verb::kGet, "secrets"); };
  for (int i = 0; i < 3; ++i) f.Reconcile("a");
  CHECK(reads() == 1);
  f.CreateSecret("a-creds", "rotated");
  f.Reconcile("a");
  CHECK(reads() == 2);
  f.CreateSecret("a-creds", "elsewhere", "vault");
  f.Patch("a", R"({"spec":{"credentialsRef":{"namespace":"vault"}}})");
  for (int i = 0; i < 3; ++i) f.Reconcile("a");
  CHECK(reads() == 5);
  CHECK(f.targets.back().credentials.token == "elsewhere");
}

TEST_CASE("the hub's API server being away does not cost the credentials that are known") {
  Fleet f;
  f.CreateSecret("a-creds", "t", "vault");
  f.Start("a", R"({"credentialsRef":{"namespace":"vault"}})");
  f.Reconcile("a");
  f.hub.FailNext(kube::Verb::kGet, "secrets", absl::UnavailableError("connection refused"), 1);
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  // Without any there is nothing to connect with, which is not the operator's mistake.
  f.RestartHub();
  f.hub.FailNext(kube::Verb::kGet, "secrets", absl::UnavailableError("connection refused"), 1);
  CHECK(*f.Reconcile("a").requeue_after <= 11s);
  CHECK(f.Phase("a") == "Disconnected");
  CHECK(f.Condition("a", "Ready") == "False/SecretUnreadable");
}

TEST_CASE("connections are found by the Secret they use") {
  Fleet f;
  f.Start("a");
  f.Start("b", R"({"credentialsRef":{"name":"a-creds"}})");
  f.Start("c");
  for (const char* name : {"a", "b", "c"}) f.Reconcile(name);
  using Keys = std::vector<kube::ObjectKey>;
  CHECK(f.reconciler->UsersOf({"hub", "a-creds"}) == Keys{{"hub", "a"}, {"hub", "b"}});
  CHECK(f.reconciler->UsersOf({"vault", "a-creds"}).empty());
  f.Patch("b", R"({"spec":{"credentialsRef":{"name":"b-creds"}}})");
  f.Reconcile("b");
  CHECK(f.reconciler->UsersOf({"hub", "a-creds"}) == Keys{{"hub", "a"}});
  CHECK(f.reconciler->UsersOf({"hub", "b-creds"}) == Keys{{"hub", "b"}});
  f.Delete("b");
  f.Reconcile("b");
  f.Reconcile("b");
  CHECK(f.reconciler->UsersOf({"hub", "b-creds"}).empty());
}

TEST_CASE("a changed endpoint is used with the next pass, and everything is read anew") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.AddNode("b", "m1");
  f.Patch("a", R"({"spec":{"endpoint":"https://b:6443/"}})");
  f.Reconcile("a");
  CHECK(f.StoredNodes("a") == Words{"m1"});
  CHECK(f.Cluster("b").Count(kube::Verb::kGetPath, "/version") +
            f.Cluster("b").Count(kube::Verb::kGet, "clusterversions") >
        0);
  CHECK(f.Status("a")["observedGeneration"].IntOr() == 2);
}

TEST_CASE("what changes rarely is read at the scan interval, on sync-now, and again after a failure") {
  Fleet f;
  f.Cluster("a").store().Serve(kube::OperatorLifecycleTypes());
  f.Start("a");
  const auto scans = [&] { return f.Cluster("a").Count(kube::Verb::kList, "subscriptions"); };
  f.Reconcile("a");
  CHECK(scans() == 1);
  f.clock.AdvanceBy(299s);
  f.Reconcile("a");
  CHECK(scans() == 1);
  f.clock.AdvanceBy(1s);
  f.Cluster("a").FailNext(kube::Verb::kList, "subscriptions", absl::UnavailableError("reset"), 1);
  f.Reconcile("a");
  CHECK(scans() == 2);
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(scans() == 3);
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(scans() == 3);
  f.Annotate("a", kSyncNowAnnotation, R"("now")");
  f.Reconcile("a");
  CHECK(scans() == 4);
  f.Reconcile("a");  // acted on once
  CHECK(scans() == 4);
  // What could not be stored counts as not read.
  f.clock.AdvanceBy(300s);
  f.store().down = true;
  f.Reconcile("a");
  f.store().down = false;
  f.Reconcile("a");
  CHECK(scans() == 6);
}

TEST_CASE("operators that vanish from the cluster vanish from the store") {
  Fleet f;
  f.AddClusterOperator("a", "dns", false);
  f.AddClusterOperator("a", "auth", false);
  f.Start("a");
  f.Reconcile("a");
  CHECK_FALSE(f.Document("cluster:a:cluster_operator:dns").IsNull());
  for (const char* name : {"dns", "auth"})
    REQUIRE(f.Cluster("a").store().Delete(kube::kClusterOperators, {"", name}).ok());
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Keys("cluster:a:cluster_operator").empty());
}

TEST_CASE("while the store is down the object tells the truth about the cluster and names the store") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  const std::string stored_at = base::FormatSeconds(f.clock.Now());
  f.events.Clear();
  f.store().down = true;
  f.AddNode("a", "n3", false);
  for (int i = 0; i < 5; ++i) {
    f.clock.AdvanceBy(31s);
    CHECK(*f.Reconcile("a").requeue_after == 10s);  // the store may be back soon
  }
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Health("a") == "degraded");
  CHECK_THAT(f.Message("a"), Catch::StartsWith("1 of 3 nodes") && Catch::Contains("could not be stored: redis"));
  CHECK(f.Condition("a", "Ready") == "True/Connected");
  CHECK(f.Condition("a", "StoreAvailable") == "False/StoreUnavailable");
  CHECK(f.Condition("a", "DataFresh") == "False/StaleData");
  CHECK(f.Status("a")["lastSyncTime"].StringOr() == stored_at);
  CHECK(f.events.Count("StoreUnavailable") == 1);
  // A cluster that is lost meanwhile is lost because of itself.
  f.Cut("a");
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Disconnected");
  f.Mend("a");
  f.store().down = false;
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Condition("a", "StoreAvailable") == "True/Stored");
  CHECK(f.Condition("a", "DataFresh") == "True/Fresh");
  CHECK(f.StoredNodes("a") == Words{"n1", "n2", "n3"});
  CHECK(f.StoreEvents("a") == Words{"healthy", "degraded"});  // the event that was owed
}

TEST_CASE("deletion removes every key before the finalizer goes") {
  Fleet f;
  f.AddClusterOperator("a", "dns", true);
  f.Start("a");
  f.Start("ab");
  f.Reconcile("a");
  f.Reconcile("ab");
  f.Delete("a");
  CHECK(f.Exists("a"));
  CHECK_FALSE(f.Reconcile("a").requeue_after.has_value());
  CHECK_FALSE(f.Exists("a"));
  f.Reconcile("a");
  CHECK(f.Keys("cluster:a:").empty());
  CHECK(f.StoreEvents("a").back() == "cluster.deleted");
  CHECK(f.StoredNodes("ab").size() == 2);
  const std::string rendered = f.metrics.Render();
  CHECK_THAT(rendered, !Catch::Contains(R"(cluster="a")"));
  CHECK_THAT(rendered, Catch::Contains(R"(cluster="ab")"));
  CHECK(f.forgotten == Words{"a"});
  CHECK(*f.state().Clusters() == Words{"ab"});
}

TEST_CASE("a deletion waits for the store, says so, and is done when the store is back") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.events.Clear();
  f.store().down = true;
  f.Delete("a");
  for (int i = 0; i < 3; ++i) {
    CHECK(f.Reconcile("a").requeue_after.has_value());
    CHECK(f.Finalizers("a") == Words{"clusterpulse.io/cleanup"});
  }
  CHECK(f.Condition("a", "Ready") == "False/CleanupFailed");
  CHECK_THAT(f.Message("a"), Catch::Contains("skip-cleanup"));
  CHECK(f.events.Count("CleanupFailed") == 1);
  f.store().down = false;
  f.Reconcile("a");
  CHECK_FALSE(f.Exists("a"));
  CHECK(f.Keys("cluster:a:").empty());
}

TEST_CASE("skip-cleanup lets the object go at once, its data is removed when that works again") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.store().down = true;
  f.Delete("a");
  f.Reconcile("a");
  f.Annotate("a", kSkipCleanupAnnotation, R"("true")");
  f.Reconcile("a");
  CHECK_FALSE(f.Exists("a"));
  CHECK(f.Reconcile("a").requeue_after.has_value());
  f.store().down = false;
  CHECK_FALSE(f.Reconcile("a").requeue_after.has_value());
  CHECK(f.Keys("cluster:a:").empty());
}

TEST_CASE("a cluster is removed only when the API server, not the cache, has no such object") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.HideFromCache("a");
  CHECK(*f.Reconcile("a").requeue_after == 10s);
  CHECK(f.StoredNodes("a") == Words{"n1", "n2"});
  f.Patch("a", R"({"metadata":{"finalizers":null}})");
  f.Delete("a");
  f.hub.FailNext(kube::Verb::kGet, "clusterconnections", absl::UnavailableError("connection refused"), 1);
  CHECK(absl::IsUnavailable(f.TryReconcile("a").status()));
  CHECK(f.StoredNodes("a") == Words{"n1", "n2"});
  CHECK_FALSE(f.Reconcile("a").requeue_after.has_value());
  CHECK(f.Keys("cluster:a:").empty());
}

TEST_CASE("skip-cleanup drops the finalizer of a living object, without it the finalizer returns") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.Annotate("a", kSkipCleanupAnnotation, R"("true")");
  f.Reconcile("a");
  CHECK(f.Finalizers("a").empty());
  CHECK(f.Phase("a") == "Connected");
  f.Annotate("a", kSkipCleanupAnnotation, "null");
  f.Reconcile("a");
  CHECK(f.Finalizers("a") == Words{"clusterpulse.io/cleanup"});
}

TEST_CASE("an object that other finalizers hold is cleaned up and left alone") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.Patch("a", R"({"metadata":{"finalizers":["clusterpulse.io/cleanup","example.com/hold"]}})");
  f.Delete("a");
  f.Reconcile("a");
  CHECK(f.Finalizers("a") == Words{"example.com/hold"});
  CHECK(f.Keys("cluster:a:").empty());
  f.Reconcile("a");
  CHECK(f.Keys("cluster:a:").empty());
}

TEST_CASE("a refused finalizer is said on the object, nothing is stored, and it is tried again") {
  const int code = GENERATE(400, 403, 422, 500);
  CAPTURE(code);
  Fleet f;
  f.Start("a");
  f.hub.FailNext(kube::Verb::kPatch, "clusterconnections", Refusal(code, "NotOnMyWatch"), 1);
  CHECK(*f.Reconcile("a").requeue_after == 10s);
  CHECK(f.Keys("cluster:a:").empty());
  CHECK(f.Phase("a") == "Error");
  CHECK(f.Health("a") == "unknown");
  CHECK(f.Condition("a", "Ready") == "False/FinalizerRefused");
  CHECK_THAT(f.Message("a"), Catch::Contains("NotOnMyWatch!"));
  CHECK(f.events.Count("FinalizerRefused") == 1);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Condition("a", "DataFresh") == "True/Fresh");

  f.Delete("a");
  f.hub.FailNext(kube::Verb::kPatch, "clusterconnections", Refusal(code, "NotOnMyWatch"), 1);
  CHECK(*f.Reconcile("a").requeue_after == 10s);
  CHECK(f.Condition("a", "Ready") == "False/FinalizerRefused");
  CHECK(f.events.Count("FinalizerRefused") == 2);
  f.Reconcile("a");
  CHECK_FALSE(f.Exists("a"));
}

TEST_CASE("a finalizer that could not be asked for is tried again by the runtime") {
  Fleet f;
  f.Start("a");
  f.hub.FailNext(kube::Verb::kPatch, "clusterconnections", absl::UnavailableError("connection refused"), 1);
  CHECK(f.TryReconcile("a").status().code() == absl::StatusCode::kUnavailable);
  CHECK(f.Keys("cluster:a:").empty());
  CHECK(f.events.events().empty());
}

TEST_CASE("a deleted and recreated object starts anew") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.Delete("a");
  f.Reconcile("a");
  f.events.Clear();
  f.Connect("a");
  f.Reconcile("a");
  CHECK(f.StoredNodes("a") == Words{"n1", "n2"});
  CHECK(f.events.Count("Connected") == 1);
  CHECK(f.StoreEvents("a") == Words{"healthy", "cluster.deleted", "healthy"});
}

TEST_CASE("a paused connection is left alone and never stays healthy on old data") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  const int calls = static_cast<int>(f.Cluster("a").calls().size());
  f.Annotate("a", kPausedAnnotation, R"("true")");
  f.clock.AdvanceBy(30s);
  auto next = f.Reconcile("a");
  CHECK(f.Condition("a", "Paused") == "True/PausedByAnnotation");
  CHECK(f.Health("a") == "healthy");
  CHECK(*next.requeue_after == 61s);  // when the data will be too old

  f.clock.AdvanceBy(61s);
  next = f.Reconcile("a");
  CHECK(f.Health("a") == "unknown");
  CHECK(f.StoredHealth("a") == "unknown");
  CHECK_THAT(f.Message("a"), Catch::Contains("paused"));
  CHECK(f.Condition("a", "Ready") == "Unknown/Paused");
  CHECK(f.Condition("a", "DataFresh") == "False/Paused");
  CHECK(next.requeue_after.has_value());
  const int writes = f.StatusWrites();
  const int commits = f.store().commits;
  f.Annotate("a", kSyncNowAnnotation, R"("1")");  // the pause wins
  f.Reconcile("a");
  CHECK(f.StatusWrites() == writes);
  CHECK(f.store().commits == commits);
  CHECK(static_cast<int>(f.Cluster("a").calls().size()) == calls);

  f.Annotate("a", kPausedAnnotation, R"("false")");
  f.Reconcile("a");
  CHECK(f.Health("a") == "healthy");
  CHECK(f.Condition("a", "Paused").empty());
  CHECK(f.StoredHealth("a") == "healthy");
  CHECK(f.StoreEvents("a") == Words{"healthy", "unknown", "healthy"});
}

TEST_CASE("a connection that is created paused shows as unknown and is visible") {
  Fleet f;
  f.Start("a");
  f.Annotate("a", kPausedAnnotation, R"("true")");
  f.store().down = true;
  CHECK(*f.Reconcile("a").requeue_after == 10s);
  f.store().down = false;
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connecting");
  CHECK(f.Health("a") == "unknown");
  CHECK(f.StoredHealth("a") == "unknown");
  CHECK(f.Cluster("a").calls().empty());
}

TEST_CASE("a fenced puller takes over once and reads everything again") {
  Fleet f;
  f.Cluster("a").store().Serve(kube::OperatorLifecycleTypes());
  f.Start("a");
  f.Reconcile("a");
  CHECK(f.store().epochs == 1);
  f.store().fence_next = 1;
  f.AddNode("a", "n3");
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.store().epochs == 2);
  CHECK(f.StoredNodes("a").size() == 3);
  CHECK(f.Condition("a", "StoreAvailable") == "True/Stored");
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.store().epochs == 2);

  // A second hub that does not give way is named; the cluster is not declared lost.
  f.store().fence_next = 2;
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Condition("a", "StoreAvailable") == "False/StoreUnavailable");
  CHECK_THAT(f.Message("a"), Catch::Contains("only one hub"));
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Condition("a", "StoreAvailable") == "True/Stored");
}

TEST_CASE("a fenced puller gives way when the object went meanwhile, with data and with a failure") {
  const bool with_data = GENERATE(true, false);
  const char* const fate = GENERATE("deleted", "deleting", "recreated");
  DYNAMIC_SECTION((with_data ? "data, " : "failure, ") << fate) {
    Fleet f;
    f.Start("a");
    f.Reconcile("a");
    f.events.Clear();
    f.FreezeCache("a");
    f.Delete("a");
    if (std::string_view(fate) != "deleting") f.Patch("a", R"({"metadata":{"finalizers":null}})");
    if (std::string_view(fate) == "recreated") f.Connect("a");
    f.store().fence_next = 1;
    if (!with_data) f.Cut("a");
    f.AddNode("a", "n3");
    f.clock.AdvanceBy(31s);
    const int writes = f.StatusWrites();
    CHECK(f.Reconcile("a").requeue_after.has_value());
    CHECK(f.store().epochs == 1);
    CHECK(f.StoredNodes("a") == Words{"n1", "n2"});
    CHECK(f.StoredHealth("a") == "healthy");
    CHECK(f.StatusWrites() == writes);
    CHECK(f.events.events().empty());
  }
}

TEST_CASE("a fenced puller that cannot ask for the object takes nothing over") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.store().fence_next = 1;
  f.hub.FailNext(kube::Verb::kGet, "clusterconnections", absl::UnavailableError("connection refused"), 1);
  f.clock.AdvanceBy(31s);
  CHECK(*f.Reconcile("a").requeue_after == 10s);
  CHECK(f.store().epochs == 1);
  CHECK(f.Condition("a", "StoreAvailable") == "False/StoreUnavailable");
  f.Reconcile("a");  // still fenced, and now it can ask
  CHECK(f.store().epochs == 2);
  CHECK(f.Condition("a", "StoreAvailable") == "True/Stored");
}

TEST_CASE("a failure is stored as the writer, also of a cluster this process never reached") {
  const bool reached_before = GENERATE(true, false);
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  if (!reached_before) f.RestartHub();
  const int applies = f.store().applies;
  const int commits = f.store().commits;
  f.Cut("a");
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.store().applies == applies + 1);
  CHECK(f.store().commits == commits);  // nothing goes past the fence
  CHECK(f.store().epochs == (reached_before ? 1 : 2));
  CHECK(f.StoredHealth("a") == "unhealthy");
  CHECK(f.StoredNodes("a") == Words{"n1", "n2"});
}

TEST_CASE("a replaced writer of the spec takes it back only while it knows the object as it is") {
  const char* const fate = GENERATE("unchanged", "changed", "deleting", "recreated");
  DYNAMIC_SECTION(fate) {
    Fleet f;
    f.Start("a");
    f.Reconcile("a");
    CHECK(f.store().spec_epochs == 1);
    f.events.Clear();
    f.FreezeCache("a");
    if (std::string_view(fate) == "changed") f.Patch("a", R"({"spec":{"displayName":"new"}})");
    if (std::string_view(fate) == "deleting") f.Delete("a");
    if (std::string_view(fate) == "recreated") {
      f.Patch("a", R"({"metadata":{"finalizers":null}})");
      f.Delete("a");
      f.Connect("a");
    }
    f.store().fence_spec_next = 1;
    f.AddNode("a", "n3");
    f.clock.AdvanceBy(31s);
    const int writes = f.StatusWrites();
    const auto before = f.Document("cluster:a:spec");
    const auto next = f.Reconcile("a");
    if (std::string_view(fate) == "unchanged") {
      CHECK(f.store().spec_epochs == 2);
      CHECK(f.StoredNodes("a").size() == 3);
      CHECK(f.Condition("a", "StoreAvailable") == "True/Stored");
    } else {
      CHECK(*next.requeue_after == 10s);
      CHECK(f.store().spec_epochs == 1);
      CHECK(f.StoredNodes("a").size() == 2);
      CHECK(f.StatusWrites() == writes);
      CHECK(f.events.events().empty());
    }
    CHECK(f.Document("cluster:a:spec") == before);
  }
}

TEST_CASE("a hub that is being stopped leaves the spec to its successor") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.store().fence_spec_next = 1;
  f.stop.request_stop();
  CHECK(f.TryReconcile("a").status().code() == absl::StatusCode::kCancelled);
  CHECK(f.store().spec_epochs == 1);
}

TEST_CASE("a cluster that is too slow to be read is lost, and the limit is named") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.longest_pass = 20ms;
  f.RestartHub();
  const char* const frozen = GENERATE("namespaces", "nodes", "pods");
  f.Cluster("a").Hold(kube::Verb::kList, frozen);
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");  // every call alone would wait for 10 s or more
  CHECK(f.Phase("a") == "Disconnected");
  CHECK(f.Health("a") == "unhealthy");
  CHECK(f.StoredHealth("a") == "unhealthy");
  CHECK_THAT(f.Message("a"), Catch::Contains("the limit of 0.02 s"));
  CHECK(f.Condition("a", "Ready") == "False/ConnectionFailed");
}

TEST_CASE("a list that is not critical and too slow is missing, the nodes are not") {
  Fleet f;
  f.Start("a");
  f.longest_pass = 300ms;
  f.RestartHub();
  f.Cluster("a").Hold(kube::Verb::kList, "deployments");
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Degraded");
  CHECK(f.StoredNodes("a") == Words{"n1", "n2"});
  CHECK_THAT(f.Message("a") + std::string(f.Status("a").Dump()), Catch::Contains("the limit of 0.3 s"));
}

TEST_CASE("a pass may take its interval, at least a minute and at most five") {
  CHECK(PassLimit(30s) == 60s);
  CHECK(PassLimit(60s) == 60s);
  CHECK(PassLimit(90s) == 90s);
  CHECK(PassLimit(300s) == 300s);
  CHECK(PassLimit(86400s) == 300s);
}

TEST_CASE("an endpoint of another cluster starts anew: not reached, no data") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.Cut("b");
  f.Patch("a", R"({"spec":{"endpoint":"https://b:6443"}})");
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connecting");
  CHECK(f.Condition("a", "DataFresh") == "False/NoData");
  CHECK(f.Status("a")["lastSyncTime"].IsNull());
  f.Mend("b");
  f.AddNode("b", "m1");
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.Condition("a", "DataFresh") == "True/Fresh");
  // The same endpoint in other words, and another token, are the same cluster.
  f.Cut("b");
  f.Patch("a", R"({"spec":{"endpoint":"b:6443/"}})");
  f.CreateSecret("a-creds", "rotated");
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Disconnected");
  CHECK(f.Condition("a", "DataFresh") == "True/Fresh");
}

TEST_CASE("an endpoint that changed while no hub ran is noticed: old data and old words go") {
  Fleet f;
  f.AddClusterOperator("a", "dns", false);
  f.Start("a");
  f.Reconcile("a");
  CHECK(f.Status("a")["endpoint"].StringOr() == "https://a:6443");
  CHECK(f.Status("a")["version"].IsString());
  f.Patch("a", R"({"spec":{"endpoint":"https://b:6443","displayName":"moved"}})");
  f.RestartHub();
  f.events.Clear();
  SECTION("the other cluster cannot be reached") {
    f.Cut("b");
    f.Reconcile("a");
    CHECK(f.Phase("a") == "Connecting");
    CHECK(f.Condition("a", "DataFresh") == "False/NoData");
    CHECK(f.StoredHealth("a") == "unhealthy");
    CHECK(f.StoredNodes("a").empty());
    for (const char* key : {"node", "metrics", "namespaces", "info", "operators", "cluster_operator"}) {
      CAPTURE(key);
      CHECK(f.Keys(fmt::format("cluster:a:{}", key)).empty());
    }
    for (const char* member : {"lastSyncTime", "nodes", "nodesReady", "pods", "namespaces", "version", "platform"}) {
      CAPTURE(member);
      CHECK(f.Status("a")[member].IsNull());
    }
    CHECK(f.Status("a")["endpoint"].StringOr() == "https://b:6443");
    f.RestartHub();  // and it stays that way
    f.Reconcile("a");
    CHECK(f.Phase("a") == "Connecting");
  }
  SECTION("one list of the other cluster fails: nothing of the old one fills the hole") {
    f.AddNode("b", "m1");
    f.Cluster("b").FailNext(kube::Verb::kList, "deployments", absl::UnavailableError("reset"),
                            kube::FakeKubeApi::kForever);
    f.Reconcile("a");
    CHECK(f.Phase("a") == "Degraded");
    CHECK(f.StoredNodes("a") == Words{"m1"});
    CHECK(f.Keys("cluster:a:cluster_operator").empty());
    CHECK(f.Document("cluster:a:metrics")["deployments"].IsNull());
    CHECK(f.Status("a")["deployments"].IsNull());
    CHECK(f.Status("a")["nodes"].IntOr() == 1);
  }
  SECTION("the store is down meanwhile: it is done when the store is back, also by the next process") {
    f.Cut("b");
    f.store().down = true;
    f.Reconcile("a");
    CHECK(f.Phase("a") == "Connecting");
    CHECK(f.Status("a")["endpoint"].StringOr() == "https://a:6443");
    f.RestartHub();
    f.store().down = false;
    f.Reconcile("a");
    CHECK(f.StoredNodes("a").empty());
    CHECK(f.Status("a")["endpoint"].StringOr() == "https://b:6443");
  }
}

TEST_CASE("another change of the spec while no hub ran costs nothing") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.Patch("a", R"({"spec":{"endpoint":"a:6443/","displayName":"renamed"}})");  // the same endpoint in other words
  f.RestartHub();
  f.Cut("a");
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Disconnected");
  CHECK(f.Condition("a", "DataFresh") == "True/Fresh");
  CHECK(f.StoredNodes("a") == Words{"n1", "n2"});
}

TEST_CASE("a hub that is stopping writes nothing and does not count a failure") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  const json::Value before = f.Status("a");
  f.Cluster("a").Hold(kube::Verb::kList, "nodes");
  f.clock.AdvanceBy(31s);
  std::jthread stopper([&] {
    f.Cluster("a").WaitForCalls(kube::Verb::kList, "nodes", 2);
    f.stop.request_stop();
  });
  CHECK(f.TryReconcile("a").status().code() == absl::StatusCode::kCancelled);
  stopper.join();
  CHECK(f.Status("a") == before);
  CHECK(f.StoredHealth("a") == "healthy");
}

TEST_CASE("the failure of the node list ends the other reads") {
  Fleet f;
  f.Start("a");
  f.Cluster("a").Hold(kube::Verb::kList, "deployments");
  f.Cluster("a").FailNext(kube::Verb::kList, "nodes", absl::UnavailableError("reset"), 1);
  f.Reconcile("a");  // returns although the list of deployments never would
  CHECK(f.Condition("a", "Ready") == "False/ConnectionFailed");
}

TEST_CASE("a restarted hub goes on where the status says the old one was") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.events.Clear();
  const auto transition = f.Status("a")["conditions"];
  f.RestartHub();
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.events.events().empty());
  CHECK(f.StoreEvents("a") == Words{"healthy"});
  CHECK(f.Status("a")["conditions"] == transition);
  CHECK(f.StoredHealth("a") == "healthy");

  f.RestartHub();
  f.Cut("a");
  f.clock.AdvanceBy(31s);
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Disconnected");  // not Connecting: it was reached in an earlier life
}

TEST_CASE("connections with the same display name are separate") {
  Fleet f;
  f.Start("a", R"({"displayName":"same"})");
  f.Start("b", R"({"displayName":"same"})");
  f.AddNode("b", "only-b");
  f.Reconcile("a");
  f.Reconcile("b");
  CHECK(f.StoredNodes("a") == Words{"n1", "n2"});
  CHECK(f.StoredNodes("b") == Words{"n1", "n2", "only-b"});
  CHECK(f.targets.size() == 2);
  f.Delete("a");
  f.Reconcile("a");
  f.clock.AdvanceBy(31s);
  f.Reconcile("b");
  CHECK(f.Phase("b") == "Connected");
  CHECK(f.targets.size() == 2);  // b's client was not dropped with a
}

TEST_CASE("push is pulled as long as there is no ingester, and that is said") {
  Fleet f;
  f.push_enabled = false;
  f.RestartHub();
  f.Start("a", R"({"collectionMode":"push","ingesterAddress":"ingest:443"})");
  f.Reconcile("a");
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.StoredNodes("a").size() == 2);
  CHECK(f.Condition("a", "PushActive") == "False/PushNotAvailable");
  f.Patch("a", R"({"spec":{"collectionMode":"pull"}})");
  f.Reconcile("a");
  CHECK(f.Condition("a", "PushActive").empty());
}

TEST_CASE("every pass comes back: after the interval, sooner after a failure, never in step") {
  Fleet f;
  for (const char* name : {"a", "b", "c", "d"}) f.Start(name, R"({"monitoring":{"interval":600}})");
  std::set<std::int64_t> first, later;
  for (const char* name : {"a", "b", "c", "d"}) {
    const auto next = *f.Reconcile(name).requeue_after;
    CHECK(next >= 300s);  // the second passes of a fleet are spread
    CHECK(next <= 600s);
    first.insert(next.count());
  }
  for (const char* name : {"a", "b", "c", "d"}) {
    const auto next = *f.Reconcile(name).requeue_after;
    CHECK(next >= 600s);
    CHECK(next <= 630s);
    later.insert(next.count());
  }
  CHECK(first.size() == 4);
  CHECK(later.size() == 4);
  f.Cut("a");
  const auto next = *f.Reconcile("a").requeue_after;
  CHECK(next >= 60s);
  CHECK(next <= 63s);
}

TEST_CASE("the spec's timing is used: interval below 30 is 30, absent ones are the hub's") {
  struct Case {
    const char* monitoring;
    std::chrono::seconds interval;
  };
  for (const Case& c :
       {Case{"{}", 45s}, Case{R"({"monitoring":{"interval":10}})", 30s}, Case{R"({"monitoring":{"interval":-1}})", 45s},
        Case{R"({"monitoring":{"interval":90}})", 90s}}) {
    CAPTURE(c.monitoring);
    Fleet f({45s, 10s});
    f.Start("a", c.monitoring);
    f.Reconcile("a");
    const auto next = *f.Reconcile("a").requeue_after;
    CHECK(next >= c.interval);
    CHECK(next <= c.interval * 1.05);
  }
}

TEST_CASE("a status that cannot be written is tried again soon") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.AddNode("a", "n2", false);
  f.hub.FailNext(kube::Verb::kPatch, "clusterconnections", absl::UnavailableError("connection refused"), 1);
  f.clock.AdvanceBy(31s);
  CHECK(*f.Reconcile("a").requeue_after == 10s);
  CHECK(f.Health("a") == "healthy");
  CHECK(f.StoredHealth("a") == "unhealthy");
  f.clock.AdvanceBy(10s);
  f.Reconcile("a");
  CHECK(f.Health("a") == "unhealthy");
  CHECK(f.events.Count("MostNodesNotReady") == 1);
}

TEST_CASE("an unknown object without any data is nothing to do") {
  Fleet f;
  CHECK_FALSE(f.Reconcile("never-was").requeue_after.has_value());
  CHECK(f.StoreEvents("never-was").empty());
}

TEST_CASE("pulls are measured by cluster and result") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.Cut("a");
  for (int i = 0; i < 6; ++i) f.Reconcile("a");
  const std::string text = f.metrics.Render();
  CHECK_THAT(text, Catch::Contains(R"(clusterpulse_hub_pulls_total{result="Complete"} 1)"));
  CHECK_THAT(text, Catch::Contains(R"(clusterpulse_hub_pulls_total{result="ConnectionFailed"} 5)"));
  CHECK_THAT(text, Catch::Contains(R"(clusterpulse_hub_pull_breaker_state{cluster="a"} 2)"));
  CHECK_THAT(text, Catch::Contains(R"(clusterpulse_hub_pull_last_success_timestamp_seconds{cluster="a"})"));
  CHECK_THAT(text, Catch::Contains("clusterpulse_hub_pull_seconds_count 6"));
}

TEST_CASE("secrets of a cluster never reach status, Events or store") {
  Fleet f;
  f.Start("a");
  f.CreateSecret("a-creds", "top-secret-token");
  f.Cut("a", Refusal(401, "Unauthorized"));
  f.Reconcile("a");
  f.Mend("a");
  f.Reconcile("a");
  CHECK_THAT(f.Object("a").Dump(), !Catch::Contains("top-secret-token"));
  for (const auto& event : f.events.events()) CHECK_THAT(event.message, !Catch::Contains("top-secret-token"));
  for (const std::string& key : f.Keys("cluster:a:")) CHECK_THAT(key, !Catch::Contains("top-secret-token"));
  CHECK_THAT(f.Document("cluster:a:spec").Dump(), !Catch::Contains("top-secret-token"));
}

TEST_CASE("passes of different clusters run side by side") {
  Fleet f;
  for (int i = 0; i < 8; ++i) f.Start(fmt::format("c{}", i));
  std::vector<std::jthread> workers;
  std::atomic<int> failed{0};
  for (int i = 0; i < 8; ++i) {
    f.Cluster(fmt::format("c{}", i));  // made before threads look it up
    workers.emplace_back([&f, &failed, i] {
      for (int pass = 0; pass < 5; ++pass) {
        if (!f.TryReconcile(fmt::format("c{}", i)).ok()) ++failed;
        f.reconciler->UsersOf({"hub", "c0-creds"});
      }
    });
  }
  for (auto& worker : workers) worker.join();
  CHECK(failed == 0);
  for (int i = 0; i < 8; ++i) CHECK(f.Phase(fmt::format("c{}", i)) == "Connected");
}

}  // namespace
}  // namespace clusterpulse::reconcile
