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

}  // namespace
}  // namespace clusterpulse::reconcile
