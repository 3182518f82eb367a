#include "hub/reconcile/cluster/cluster_directory.h"

#include <map>

#include <catch2/catch.hpp>

namespace clusterpulse::reconcile {
namespace {

using namespace std::chrono_literals;

ClusterConnection Push(const std::string& name) {
  ClusterConnection c;
  c.meta.ns = "hub";
  c.meta.name = name;
  c.meta.uid = name + "-uid";
  c.spec.endpoint = "https://a:6443";
  c.spec.credentials_name = "creds";
  c.spec.collection_mode = "push";
  return c;
}

struct Fixture {
  ClusterConnection connection = Push("a");
  ClusterPolicies::Options options{{30s, 10s}, 300s, {}};

  std::optional<ingest::ClusterPolicy> Find(const std::string& name = "a") {
    const ClusterPolicies policies(
        [this](const std::string& cluster) {
          return cluster == connection.meta.name ? std::optional(connection) : std::nullopt;
        },
        options);
    return policies.Find(name);
  }
};

TEST_CASE("a collector is wanted of a valid cluster in push mode only") {
  struct Case {
    const char* name;
    std::function<void(ClusterConnection&)> change;
    const char* refusal;
  };
  const Case cases[] = {
      {"push", [](auto&) {}, ""},
      {"pull", [](auto& c) { c.spec.collection_mode = "pull"; }, "is in pull mode"},
      {"not said", [](auto& c) { c.spec.collection_mode.clear(); }, "is in pull mode"},
      {"paused",
       [](auto& c) {
         c.meta.annotations = {{kPausedAnnotation, "true"}};
       },
       "is paused"},
      {"deleted", [](auto& c) { c.meta.deletion_timestamp = "2031-04-05T06:07:08Z"; }, "is being deleted"},
      {"invalid", [](auto& c) { c.spec.credentials_name.clear(); },
       "has an invalid spec: spec.credentialsRef.name is missing: name the Secret that holds the token"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Fixture f;
      c.change(f.connection);
      const auto policy = f.Find();
      REQUIRE(policy.has_value());
      CHECK(policy->refusal == c.refusal);
      CHECK(policy->uid == "a-uid");
    }
  }
  CHECK_FALSE(Fixture().Find("b").has_value());
}

TEST_CASE("the interval is that of the spec with its floor, or the collector's own") {
  Fixture f;
  CHECK(f.Find()->config.interval == 0s);
  f.connection.spec.interval_seconds = 10;
  CHECK(f.Find()->config.interval == 30s);
  f.connection.spec.interval_seconds = 120;
  CHECK(f.Find()->config.interval == 120s);
  CHECK(f.Find()->config.operator_interval == 300s);
}

TEST_CASE("limits are told, and the hash names the content") {
  Fixture f;
  const std::string plain = f.Find()->config.hash;
  CHECK(plain.size() == 32);
  CHECK(f.Find()->config.hash == plain);
  f.connection.meta.resource_version = "9";  // no content of the configuration
  CHECK(f.Find()->config.hash == plain);
  f.options.limits = {100, 2000, 1 << 20};
  const auto policy = f.Find();
  CHECK(policy->limits == f.options.limits);
  CHECK(policy->config.max_nodes == 100);
  CHECK(policy->config.max_bytes_per_second == 1 << 20);
  CHECK(policy->config.hash != plain);
}

}  // namespace
}  // namespace clusterpulse::reconcile
