#include "hub/app/command_line.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include <catch2/catch.hpp>
#include <unistd.h>

#include "common/app/version.h"
#include "common/base/status.h"
#include "hub/app/crds.h"
#include "hub/app/reference.h"
#include "tests/hub/app/command_fixture.h"

namespace clusterpulse::app {
namespace {

using Fixture = CommandFixture;

std::string ReadDocument(const std::string& name) {
  std::ifstream file(std::string(CLUSTERPULSE_SOURCE_DIR) + "/docs/" + name);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST_CASE("without a command, and as `run`, the hub runs with its configuration") {
  Fixture f;
  f.variables["REDIS_HOST"] = "redis";
  CHECK(f.Execute({"--namespace=fleet"}) == 0);
  REQUIRE(f.ran);
  CHECK(f.ran->ns == "fleet");
  f.ran.reset();
  CHECK(f.Execute({"run", "--leader-elect"}) == 0);
  REQUIRE(f.ran);
  CHECK(f.ran->leader_elect);
}

TEST_CASE("a refused command line is one line on stderr and exit code 2") {
  struct Case {
    std::vector<std::string> args;
    std::string message;
  };
  const std::vector<Case> cases = {
      {{"--leader-elekt"}, "unknown flag --leader-elekt; did you mean --leader-elect?"},
      {{"flet"}, "unknown command \"flet\"; `clusterpulse-hub help` lists all"},
      {{"--namespace=x", "fleet"}, "unexpected argument \"fleet\"; --help shows the usage"},
      {{"--target=api"}, "--target=api does not exist in this version; allowed is one of all, controllers, ingester"},
      {{"crds"}, "usage: clusterpulse-hub crds apply|print [flags]"},
      {{"crds", "remove"}, "usage: clusterpulse-hub crds apply|print [flags]"},
      {{"crds", "apply", "--timeout=0"}, "--timeout=\"0\": allowed is a whole number of seconds from 1 to 3600"},
      {{"fleet", "-o", "yaml"}, "--output=\"yaml\": allowed is one of table, json"},
      {{"fleet", "--redis-host=x"}, "unknown flag --redis-host; --help lists all"},
      {{"uninstall", "--namespace=a/b"}, "--namespace=\"a/b\": allowed is the name of a namespace"},
      {{"metrics-reference", "x"}, "metrics-reference takes no arguments"},
      {{"metricsource"}, "usage: clusterpulse-hub metricsource check|try FILE... [flags]"},
      {{"metricsource", "run", "x"}, "usage: clusterpulse-hub metricsource check|try FILE... [flags]"},
      {{"metricsource", "check"}, "usage: clusterpulse-hub metricsource check FILE... [flags]"},
      {{"metricsource", "check", "x", "-o", "table"}, "--output=\"table\": allowed is one of text, json"},
      {{"metricsource", "check", "x", "--limit=1"}, "unknown flag --limit; --help lists all"},
      {{"metricsource", "try", "--limit=1"}, "usage: clusterpulse-hub metricsource try FILE... [flags]"},
      {{"metricsource", "try", "x", "--limit=0"}, "--limit=\"0\": allowed is a whole number from 1 to 1000000000"},
      {{"metricsource", "try", "x", "--namespace=a/b"}, "--namespace=\"a/b\": allowed is the name of a namespace"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.message) {
      Fixture f;
      CHECK(f.Execute(c.args) == 2);
      CHECK(f.err.str() == "clusterpulse-hub: " + c.message + "\n");
      CHECK(f.out.str().empty());
      CHECK_FALSE(f.ran);
    }
  }
}

TEST_CASE("help and version work for every command and need nothing") {
  Fixture f;
  f.variables["REDIS_PORT"] = "not a port";
  for (const std::string command : {"run", "fleet", "uninstall", "crds"}) {
    CAPTURE(command);
    CHECK(f.Execute({command, "--help"}) == 0);
    CHECK(f.out.str().find("Usage: clusterpulse-hub") != std::string::npos);
  }
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"--version"}, {"run", "--version"}, {"fleet", "--version"}}) {
    CHECK(f.Execute(args) == 0);
    CHECK(f.out.str().find("clusterpulse-hub " + std::string(kVersion)) == 0);
  }
  for (const std::vector<std::string>& args : {std::vector<std::string>{"metricsource", "--help"},
                                               {"metricsource", "check", "-h"},
                                               {"metricsource", "try", "-h"}}) {
    CHECK(f.Execute(args) == 0);
    CHECK(f.out.str().find("Usage: clusterpulse-hub metricsource ") == 0);
  }
  CHECK(f.Execute({"help"}) == 0);
  const std::string help = f.out.str();
  CHECK(f.Execute({"--help"}) == 0);
  CHECK(f.out.str() == help);
  for (const std::string text :
       {"crds apply|print", "metricsource check|try", "uninstall", "fleet", "[REDIS_TLS_SERVER_NAME]",
        "[REDIS_PASSWORD]", "--zap-time-encoding", "a whole number of seconds from 30 to 86400; default 30 s"}) {
    CAPTURE(text);
    CHECK(help.find(text) != std::string::npos);
  }
}

TEST_CASE("definitions are created, then unchanged, then configured, and served") {
  Fixture f;
  REQUIRE_FALSE(EmbeddedCrds().empty());
  CHECK(f.Execute({"crds", "apply", "--kubeconfig=/some/config"}) == 0);
  CHECK(f.kubeconfig == "/some/config");
  CHECK(f.out.str() ==
        "customresourcedefinition/clusterconnections.clusterpulse.io created, established\n"
        "customresourcedefinition/metricsources.clusterpulse.io created, established\n");
  f.Put("fleet", "a", {});

  CHECK(f.Execute({"crds", "apply"}) == 0);
  CHECK(f.out.str() ==
        "customresourcedefinition/clusterconnections.clusterpulse.io unchanged, established\n"
        "customresourcedefinition/metricsources.clusterpulse.io unchanged, established\n");

  REQUIRE(f.kube.store()
              .Edit(kube::kCustomResourceDefinitions, {"", "clusterconnections.clusterpulse.io"},
                    [](json::Value& crd) {
                      crd.Mutable("spec").Mutable("names").Mutable("shortNames") = json::Value::Array{"old"};
                    })
              .ok());
  CHECK(f.Execute({"crds", "apply"}) == 0);
  CHECK(f.out.str() ==
        "customresourcedefinition/clusterconnections.clusterpulse.io configured, established\n"
        "customresourcedefinition/metricsources.clusterpulse.io unchanged, established\n");
}

TEST_CASE("applying definitions fails with what the server said, and names the definition") {
  Fixture f;
  f.kube.FailNext(kube::Verb::kApply, "customresourcedefinitions",
                  kube::ToStatus({.code = 403, .reason = "Forbidden", .message = "cannot patch"}));
  CHECK(f.Execute({"crds", "apply"}) == 1);
  CHECK(f.err.str().find("clusterpulse-hub: applying clusterconnections.clusterpulse.io: ") == 0);
  CHECK(f.Execute({"crds", "apply", "--kubeconfig=/missing"}) == 1);
  CHECK(f.err.str() == "clusterpulse-hub: /missing: no such file\n");
}

TEST_CASE("printed definitions are the files of the repository") {
  Fixture f;
  CHECK(f.Execute({"crds", "print"}) == 0);
  for (const EmbeddedCrd& crd : EmbeddedCrds()) {
    std::ifstream file(std::string(CLUSTERPULSE_SOURCE_DIR) + "/deploy/crds/" + std::string(crd.file));
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    REQUIRE_FALSE(text.empty());
    CHECK(f.out.str().find("---\n" + text) != std::string::npos);
  }
}

TEST_CASE("connect makes a Secret and a connection out of a kubeconfig, as often as it is called") {
  Fixture f;
  REQUIRE(f.Execute({"crds", "apply"}) == 0);
  char path[] = "/tmp/clusterpulse-connect.XXXXXX";
  const int fd = ::mkstemp(path);
  REQUIRE(fd >= 0);
  ::close(fd);
  const auto kubeconfig = [&](const std::string& user) {
    std::ofstream(path) << "clusters: [{name: c, cluster: {server: 'https://10.0.0.7:6443'}}]\n"
                        << "users: [{name: u, user: {" << user << "}}]\n"
                        << "contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";
  };
  kubeconfig("token: first");
  CHECK(f.Execute({"connect", "harbour", "--from", path, "--namespace=default"}) == 0);
  CHECK(f.out.str() ==
        "Secret default/harbour-credentials applied\n"
        "ClusterConnection default/harbour applied\n");
  const json::Value connection = f.Connection("default", "harbour");
  CHECK(connection["spec"]["endpoint"].StringOr() == "https://10.0.0.7:6443");
  CHECK(connection["spec"]["credentialsRef"]["name"].StringOr() == "harbour-credentials");
  CHECK(connection["spec"]["collectionMode"].StringOr() == "pull");
  kubeconfig("token: second");
  CHECK(f.Execute({"connect", "harbour", "--from", path, "--namespace=default"}) == 0);

  // To push mode and back.
  CHECK(f.Execute({"connect", "harbour", "--from", path, "--namespace=default", "--push",
                   "--ingester-address=hub.example:9443"}) == 0);
  CHECK(f.out.str() ==
        "Secret default/harbour-credentials applied\n"
        "ClusterConnection default/harbour applied\n"
        "next: run a collector in the cluster (deploy/samples/collector.yaml) with CLUSTER_NAME=harbour and the token "
        "of Secret default/harbour-collector-token, which the hub makes\n");
  const json::Value spec = f.Connection("default", "harbour")["spec"];
  CHECK(spec["collectionMode"].StringOr() == "push");
  CHECK(spec["ingesterAddress"].StringOr() == "hub.example:9443");
  CHECK(f.Execute({"connect", "harbour", "--from", path, "--namespace=default"}) == 0);
  CHECK(f.Connection("default", "harbour")["spec"]["collectionMode"].StringOr() == "pull");

  // The hub needs no credentials of a cluster that pushes.
  kubeconfig("username: a, password: b");
  CHECK(f.Execute({"connect", "quay", "--from", path, "--namespace=default", "--push"}) == 0);
  CHECK(f.out.str().find(
            "no Secret applied; only with one the hub can read the cluster while its collector is lost: ") == 0);
  CHECK(f.Connection("default", "quay")["spec"]["collectionMode"].StringOr() == "push");
  CHECK(kube::IsNotFound(f.kube.Get(kube::kSecrets, {"default", "quay-credentials"}, {}).status()));

  CHECK(f.Execute({"connect", "harbour", "--from", path}) == 1);
  CHECK(f.err.str().find("has no bearer token") != std::string::npos);
  CHECK(f.Execute({"connect", "--from", path}) == 1);
  CHECK(f.err.str().find("usage: clusterpulse-hub connect NAME --from KUBECONFIG") != std::string::npos);
  std::remove(path);
}

TEST_CASE("uninstall takes our finalizer off and nothing else, as often as it is called") {
  Fixture f;
  REQUIRE(f.Execute({"crds", "apply"}) == 0);
  f.Put("clusterpulse", "a", {"clusterpulse.io/cleanup"});
  f.Put("clusterpulse", "b", {"example.com/keep", "clusterpulse.io/cleanup"});
  f.Put("clusterpulse", "c", {});
  f.Put("other", "d", {"clusterpulse.io/cleanup"});

  CHECK(f.Execute({"uninstall"}) == 0);
  CHECK(f.out.str() ==
        "clusterconnection/clusterpulse/a finalizer removed\n"
        "clusterconnection/clusterpulse/b finalizer removed\n"
        "3 ClusterConnections: finalizer removed from 2, 1 had none, 0 failed\n");
  CHECK(f.Connection("clusterpulse", "a")["metadata"]["finalizers"].items().empty());
  CHECK(f.Connection("clusterpulse", "b")["metadata"]["finalizers"].Dump() == R"(["example.com/keep"])");
  CHECK(f.Connection("other", "d")["metadata"]["finalizers"].items().size() == 1);

  CHECK(f.Execute({"uninstall"}) == 0);
  CHECK(f.out.str() == "3 ClusterConnections: finalizer removed from 0, 3 had none, 0 failed\n");

  CHECK(f.Execute({"uninstall", "-A"}) == 0);
  CHECK(f.out.str() ==
        "clusterconnection/other/d finalizer removed\n"
        "4 ClusterConnections: finalizer removed from 1, 3 had none, 0 failed\n");
}

TEST_CASE("after uninstall objects that were being deleted are gone, with no hub running") {
  Fixture f;
  REQUIRE(f.Execute({"crds", "apply"}) == 0);
  f.Put("clusterpulse", "a", {"clusterpulse.io/cleanup"});
  REQUIRE(f.kube.Delete(kube::kClusterConnections, {"clusterpulse", "a"}, {}, {}).ok());
  REQUIRE(f.kube.Get(kube::kClusterConnections, {"clusterpulse", "a"}, {}).ok());
  CHECK(f.Execute({"uninstall"}) == 0);
  CHECK(kube::IsNotFound(f.kube.Get(kube::kClusterConnections, {"clusterpulse", "a"}, {}).status()));
}

TEST_CASE("uninstall goes on behind an object that fails, and says so") {
  Fixture f;
  REQUIRE(f.Execute({"crds", "apply"}) == 0);
  f.Put("clusterpulse", "a", {"clusterpulse.io/cleanup"});
  f.Put("clusterpulse", "b", {"clusterpulse.io/cleanup"});
  f.kube.FailNext(kube::Verb::kPatch, "clusterconnections", absl::PermissionDeniedError("forbidden"));
  CHECK(f.Execute({"uninstall"}) == 1);
  CHECK(f.out.str().find("finalizer removed from 1, 0 had none, 1 failed") != std::string::npos);
  CHECK(f.err.str().find("clusterconnection/clusterpulse/a: ") != std::string::npos);
}

TEST_CASE("uninstall without the definition has nothing to do") {
  Fixture f;
  CHECK(f.Execute({"uninstall", "--all-namespaces"}) == 0);
  CHECK(f.out.str() == "no ClusterConnection definition on this cluster: nothing to do\n");
}

TEST_CASE("fleet shows the namespace that NAMESPACE or the flag names") {
  Fixture f;
  REQUIRE(f.Execute({"crds", "apply"}) == 0);
  f.Put("fleet", "harbour-7", {});
  f.variables["NAMESPACE"] = "fleet";
  CHECK(f.Execute({"fleet"}) == 0);
  CHECK(f.out.str().find("harbour-7   pull") != std::string::npos);
  CHECK(f.Execute({"fleet", "--namespace", "other"}) == 0);
  CHECK(f.out.str() == "no ClusterConnections\n");
  CHECK(f.Execute({"fleet", "-A", "-o", "json"}) == 0);
  CHECK(f.out.str() == R"([{"namespace":"fleet","cluster":"harbour-7","mode":"pull"}])"
                       "\n");
}

TEST_CASE("docs/configuration.md is what the program prints") {
  Fixture f;
  REQUIRE(f.Execute({"configuration-reference"}) == 0);
  // To mend it: clusterpulse-hub configuration-reference > docs/configuration.md
  CHECK(ReadDocument("configuration.md") == f.out.str());
}

TEST_CASE("docs/metrics.md is what the program prints") {
  Fixture f;
  REQUIRE(f.Execute({"metrics-reference"}) == 0);
  // To mend it: clusterpulse-hub metrics-reference > docs/metrics.md
  CHECK(ReadDocument("metrics.md") == f.out.str());
  CHECK(f.out.str().find("clusterpulse_hub_build_info") != std::string::npos);
  CHECK(f.out.str().find("clusterpulse_cluster_") == std::string::npos);
  CHECK(f.out.str().find("clusterpulse_node_") == std::string::npos);
}

}  // namespace
}  // namespace clusterpulse::app
