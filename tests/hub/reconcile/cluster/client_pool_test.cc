#include "hub/reconcile/cluster/client_pool.h"

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/kube/testing/fake_kube_api.h"

namespace clusterpulse::reconcile {
namespace {

using namespace std::chrono_literals;

struct CountingFactory final : KubeClientFactory {
  absl::StatusOr<std::shared_ptr<kube::KubeApi>> Create(const std::string&, const ClientTarget& target) override {
    ++created;
    if (!next_error.ok()) return next_error;
    last = target;
    return std::shared_ptr<kube::KubeApi>(std::make_shared<kube::FakeKubeApi>(store));
  }
  void Forget(const std::string& cluster) override { forgotten.push_back(cluster); }
  kube::ObjectStore store;
  int created = 0;
  std::vector<std::string> forgotten;
  ClientTarget last;
  absl::Status next_error;
};

struct Pool {
  base::ManualClock clock;
  CountingFactory factory;
  ClientPool pool{factory, clock, {.breaker = {.threshold = 5, .recovery = 60s}, .idle = 30min}};
  kube::ObjectKey a{"hub", "a"}, b{"hub", "b"};
  ClientTarget target{"https://a", {"token", "ca", false}};

  ClientPool::Client Get(const kube::ObjectKey& key) {
    auto client = pool.Get(key, target);
    REQUIRE(client.ok());
    return *client;
  }
};

TEST_CASE("a client is made once and used until endpoint or Secret change") {
  Pool p;
  const auto first = p.Get(p.a);
  CHECK(first.is_new_target);
  const auto again = p.Get(p.a);
  CHECK(again.api == first.api);
  CHECK_FALSE(again.is_new_target);
  CHECK(p.factory.created == 1);

  const ClientTarget base = p.target;
  ClientTarget other_endpoint = base, other_token = base, other_ca = base, other_verify = base;
  other_endpoint.endpoint = "https://b";
  other_token.credentials.token = "new";
  other_ca.credentials.ca_cert = "new";
  other_verify.credentials.skip_tls_verify = true;
  auto last = again;
  for (const ClientTarget& target : {other_endpoint, other_token, other_ca, other_verify}) {
    p.target = target;
    const auto client = p.Get(p.a);
    CHECK(client.is_new_target);
    CHECK(client.api != last.api);
    CHECK(client.breaker != last.breaker);
    CHECK(p.factory.last == target);
    last = client;
  }
  CHECK(p.pool.clients() == 1);
}

TEST_CASE("connections with the same target have clients and breakers of their own") {
  Pool p;
  const auto a = p.Get(p.a);
  const auto b = p.Get(p.b);
  CHECK(a.api != b.api);
  CHECK(a.breaker != b.breaker);
  CHECK(p.pool.clients() == 2);
}

TEST_CASE("an idle client is dropped and its breaker stays") {
  Pool p;
  const auto first = p.Get(p.a);
  for (int i = 0; i < 5; ++i) first.breaker->OnFailure(p.clock.Steady());
  p.clock.AdvanceBy(30min);
  p.pool.DropIdle();
  CHECK(p.pool.clients() == 1);
  p.clock.AdvanceBy(1s);
  p.pool.DropIdle();
  CHECK(p.pool.clients() == 0);
  const auto again = p.Get(p.a);
  CHECK_FALSE(again.is_new_target);
  CHECK(again.breaker == first.breaker);
  CHECK(again.breaker->state() == base::CircuitBreaker::State::kOpen);
  CHECK(p.factory.created == 2);
}

TEST_CASE("a target no client can be made of is reported and counts as new when it is tried again") {
  Pool p;
  p.factory.next_error = absl::InvalidArgumentError("ca.crt holds no certificate");
  CHECK(p.pool.Get(p.a, p.target).status() == p.factory.next_error);
  CHECK(p.pool.clients() == 0);
  CHECK(p.factory.forgotten.empty());  // the connection lives
  p.factory.next_error = absl::OkStatus();
  CHECK(p.Get(p.a).is_new_target);
}

TEST_CASE("a forgotten connection leaves nothing behind, calls that run keep their client") {
  Pool p;
  const auto client = p.Get(p.a);
  p.pool.Forget(p.a);
  CHECK(p.pool.clients() == 0);
  CHECK(p.factory.forgotten == std::vector<std::string>{"a"});
  CHECK(client.api != nullptr);
  CHECK(p.Get(p.a).breaker != client.breaker);
}

}  // namespace
}  // namespace clusterpulse::reconcile
