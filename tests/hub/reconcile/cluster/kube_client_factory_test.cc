#include "hub/reconcile/cluster/kube_client_factory.h"

#include <catch2/catch.hpp>

namespace clusterpulse::reconcile {
namespace {

TEST_CASE("a client is made of endpoint and credentials without connecting, a broken CA is refused") {
  HttpKubeClientFactory factory({});
  CHECK(factory.Create("a", {"https://127.0.0.1:1", {"token", "", false}}).ok());
  CHECK(factory.Create("a", {"http://127.0.0.1:1/prefix", {"token", "", false}}).ok());
  CHECK(factory.Create("a", {"https://127.0.0.1:1", {"token", "no certificate", false}}).status().code() ==
        absl::StatusCode::kInvalidArgument);
  // The explicit switch wins over whatever stands in ca.crt.
  CHECK(factory.Create("a", {"https://127.0.0.1:1", {"token", "no certificate", true}}).ok());
}

TEST_CASE("the requests of a cluster that is gone are no longer shown") {
  telemetry::Registry registry;
  const kube::ApiMetrics metrics = kube::ApiMetrics::Make(registry, "clusterpulse_hub");
  HttpKubeClientFactory factory({.metrics = metrics});
  for (const char* cluster : {"a", "b"}) {
    const auto client = factory.Create(cluster, {"http://127.0.0.1:1", {"token", "", false}});
    REQUIRE(client.ok());
    CHECK_FALSE((*client)->GetPath("/version", {}).ok());  // nobody listens there
  }
  factory.Forget("a");
  const std::string text = registry.Render();
  CHECK_THAT(text, !Catch::Contains(R"(cluster="a")"));
  CHECK_THAT(text, Catch::Contains(R"(clusterpulse_hub_kube_requests_total{cluster="b",code="error",verb="get"} 1)"));
}

}  // namespace
}  // namespace clusterpulse::reconcile
