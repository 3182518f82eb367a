#include "hub/runtime/status_writer.h"

#include <thread>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/kube/testing/fake_kube_api.h"
#include "common/kube/testing/forwarding_kube_api.h"

namespace clusterpulse::runtime {
namespace {

using namespace std::chrono_literals;
using json::Value;
using kube::FakeKubeApi;
using kube::Verb;

const kube::ObjectKey kKey{"default", "d"};

Value Json(std::string_view text) {
  const auto value = Value::Parse(text);
  REQUIRE(value.ok());
  return *value;
}

struct Fixture {
  explicit Fixture(StatusWriter::Options options = {}) : writer(api, clock, options) {
    REQUIRE(
        api.store().Put(kube::kDeployments, Json(R"({"metadata":{"name":"d","namespace":"default"},"spec":{}})")).ok());
  }
  Value Status() {
    const auto object = api.store().Get(kube::kDeployments, kKey);
    REQUIRE(object.ok());
    return Json((*object)->json)["status"];
  }
  // A write by a reconciler whose cache is up to date.
  absl::Status Write(std::string_view desired) { return WriteFrom(Status(), desired); }
  absl::Status WriteFrom(const Value& current, std::string_view desired) {
    return writer.Write({.resource = kube::kDeployments,
                         .key = kKey,
                         .current = current,
                         .desired = Json(desired),
                         .routine = {"lastSync", "nodes"}},
                        stop.get_token());
  }
  int Patches() { return api.Count(Verb::kPatch, "deployments"); }
  std::string LastBody() { return api.calls().back().body; }

  base::ManualClock clock;
  FakeKubeApi api;
  StatusWriter writer;
  std::stop_source stop;
};

TEST_CASE("a change is written at once as one patch of the status subresource") {
  Fixture f;
  CHECK(f.Write(R"({"phase":"Connecting","lastSync":"1","nodes":3})").ok());
  CHECK(f.Patches() == 1);
  CHECK(f.api.calls().back().subresource == "status");
  CHECK(f.Status() == Json(R"({"phase":"Connecting","lastSync":"1","nodes":3})"));
  CHECK(f.Write(R"({"phase":"Connected","lastSync":"1","nodes":3})").ok());
  CHECK(f.LastBody() == R"({"status":{"phase":"Connected"}})");
}

TEST_CASE("nothing is written when nothing differs") {
  Fixture f;
  f.Write(R"({"phase":"Connected"})").IgnoreError();
  f.clock.AdvanceBy(1h);
  CHECK(f.Write(R"({"phase":"Connected"})").ok());
  CHECK(f.Write(R"({"phase":"Connected","absent":null})").ok());
  CHECK(f.Patches() == 1);
}

TEST_CASE("members that are not ours stay, null removes, and ours are written as a whole") {
  Fixture f;
  REQUIRE(
      f.api.store()
          .Edit(kube::kDeployments, kKey,
                [](Value& o) { o.Mutable("status") = *Value::Parse(R"({"theirs":1,"old":2,"map":{"a":1,"b":2}})"); })
          .ok());
  CHECK(f.Write(R"({"old":null,"map":{"b":3,"c":null},"list":[{"x":null}]})").ok());
  CHECK(f.Status() == Json(R"({"theirs":1,"map":{"b":3},"list":[{"x":null}]})"));
  CHECK(f.LastBody() == R"({"status":{"list":[{"x":null}],"map":{"a":null,"b":3},"old":null}})");
  CHECK(f.Write(R"({"old":null,"map":{"b":3,"c":null},"list":[{"x":null}]})").ok());
  CHECK(f.Patches() == 1);
}

TEST_CASE("routine members are written alone at most once an interval, and with every other change") {
  Fixture f;
  CHECK(f.Write(R"({"phase":"Connected","lastSync":"1"})").ok());
  f.clock.AdvanceBy(29s);
  CHECK(f.Write(R"({"phase":"Connected","lastSync":"2"})").ok());
  CHECK(f.Patches() == 1);
  CHECK(f.Write(R"({"phase":"Degraded","lastSync":"3"})").ok());
  CHECK(f.Status()["lastSync"].StringOr() == "3");
  f.clock.AdvanceBy(29s);
  CHECK(f.Write(R"({"phase":"Degraded","lastSync":"4"})").ok());
  CHECK(f.Patches() == 2);
  f.clock.AdvanceBy(1s);
  CHECK(f.Write(R"({"phase":"Degraded","lastSync":"5"})").ok());
  CHECK(f.Patches() == 3);
  CHECK(f.LastBody() == R"({"status":{"lastSync":"5"}})");
}

TEST_CASE("a stale view of the object causes no second patch") {
  Fixture f;
  const Value before = f.Status();
  CHECK(f.WriteFrom(before, R"({"phase":"Connected"})").ok());
  CHECK(f.WriteFrom(before, R"({"phase":"Connected"})").ok());
  CHECK(f.Patches() == 1);
  // A wish for what the stale view shows is a change all the same.
  const Value connected = f.Status();
  CHECK(f.WriteFrom(before, R"({"phase":"Lost"})").ok());
  CHECK(f.WriteFrom(connected, R"({"phase":"Connected"})").ok());
  CHECK(f.Status() == Json(R"({"phase":"Connected"})"));
  CHECK(f.Patches() == 3);
}

TEST_CASE("what somebody else changes is set right") {
  Fixture f;
  const Value theirs = Json(R"({"phase":"Wrong"})");
  CHECK(f.Write(R"({"phase":"Connected"})").ok());
  SECTION("at once when our write had been seen") {
    CHECK(f.Write(R"({"phase":"Connected"})").ok());
    CHECK(f.WriteFrom(theirs, R"({"phase":"Connected"})").ok());
    CHECK(f.Patches() == 2);
  }
  SECTION("after a while when it never was") {
    CHECK(f.WriteFrom(theirs, R"({"phase":"Connected"})").ok());
    CHECK(f.Patches() == 1);
    f.clock.AdvanceBy(10s);
    CHECK(f.WriteFrom(theirs, R"({"phase":"Connected"})").ok());
    CHECK(f.Patches() == 2);
  }
}

// Keeps of a status only what its schema knows, as a server with an older CustomResourceDefinition does.
class PruningApi final : public kube::ForwardingKubeApi {
 public:
  using ForwardingKubeApi::ForwardingKubeApi;
  absl::StatusOr<std::string> Patch(const kube::ResourceType& resource, const kube::ObjectKey& key,
                                    kube::PatchType type, std::string_view body, const kube::PatchOptions& patch,
                                    const kube::CallOptions& options) override {
    Value pruned = *Value::Parse(body);
    pruned.Mutable("status").Erase("unknown");
    return ForwardingKubeApi::Patch(resource, key, type, pruned.Dump(), patch, options);
  }
};

TEST_CASE("a server that keeps a member in its own form is not fought") {
  Fixture f;
  PruningApi pruning(f.api);
  StatusWriter writer(pruning, f.clock, {});
  const auto write = [&](std::string_view desired) {
    return writer.Write({.resource = kube::kDeployments, .key = kKey, .current = f.Status(), .desired = Json(desired)},
                        {});
  };
  CHECK(write(R"({"phase":"Connected","unknown":1})").ok());
  CHECK(f.Status() == Json(R"({"phase":"Connected"})"));
  for (int pass = 0; pass < 5; ++pass) {
    f.clock.AdvanceBy(1min);
    CHECK(write(R"({"phase":"Connected","unknown":1})").ok());
  }
  CHECK(f.Patches() == 1);
  CHECK(write(R"({"phase":"Connected","unknown":2})").ok());
  CHECK(f.Patches() == 2);
}

TEST_CASE("over all objects patches are limited: urgent ones wait, routine ones are skipped") {
  Fixture f({.per_second = 20, .burst = 2});
  CHECK(f.Write(R"({"phase":"A","lastSync":"1"})").ok());
  CHECK(f.Write(R"({"phase":"B","lastSync":"1"})").ok());
  const auto start = std::chrono::steady_clock::now();
  CHECK(f.Write(R"({"phase":"C","lastSync":"1"})").ok());
  CHECK(std::chrono::steady_clock::now() - start >= 50ms);
  CHECK(f.Patches() == 3);

  Fixture g({.per_second = 0.001, .burst = 1});
  CHECK(g.Write(R"({"phase":"A","lastSync":"1"})").ok());
  g.clock.AdvanceBy(1min);
  CHECK(g.Write(R"({"phase":"A","lastSync":"2"})").ok());
  CHECK(g.Patches() == 1);
}

TEST_CASE("a stop ends the wait for a turn") {
  Fixture f({.per_second = 0.001, .burst = 1});
  CHECK(f.Write(R"({"phase":"A"})").ok());
  f.stop.request_stop();
  CHECK(f.Write(R"({"phase":"B"})").code() == absl::StatusCode::kCancelled);
  CHECK(f.Patches() == 1);
}

TEST_CASE("an object that is gone is no error, and others are passed on and tried again") {
  Fixture f;
  f.api.FailNext(Verb::kPatch, "deployments", absl::UnavailableError("down"));
  CHECK(f.Write(R"({"phase":"A"})").code() == absl::StatusCode::kUnavailable);
  CHECK(f.Write(R"({"phase":"A"})").ok());
  CHECK(f.Status()["phase"].StringOr() == "A");
  REQUIRE(f.api.store().Delete(kube::kDeployments, kKey).ok());
  CHECK(f.WriteFrom({}, R"({"phase":"B"})").ok());
}

TEST_CASE("an object that was forgotten is written from what is seen") {
  Fixture f;
  const Value before = f.Status();
  CHECK(f.WriteFrom(before, R"({"phase":"A"})").ok());
  f.writer.Forget(kube::kDeployments, kKey);
  CHECK(f.WriteFrom(before, R"({"phase":"A"})").ok());
  CHECK(f.Patches() == 2);
}

TEST_CASE("many threads may write different objects") {
  Fixture f({.per_second = 1e6, .burst = 1e6});
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    const std::string name = "t" + std::to_string(t);
    Value object = Json(R"({"metadata":{"namespace":"default"}})");
    object.Mutable("metadata").Mutable("name") = name;
    REQUIRE(f.api.store().Put(kube::kDeployments, object).ok());
    threads.emplace_back([&f, name] {
      for (int i = 0; i < 50; ++i) {
        Value desired;
        desired.Mutable("phase") = i;
        f.writer.Write({.resource = kube::kDeployments, .key = {"default", name}, .desired = desired}, {})
            .IgnoreError();
      }
    });
  }
  threads.clear();
  CHECK(f.Patches() == 200);
}

}  // namespace
}  // namespace clusterpulse::runtime
