// A stream of an upstream collector: no capabilities, one Ack for each batch.
#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using absl::StatusCode;

model::Batch UpstreamBatch(const std::string& id, std::vector<std::string> nodes = {"n1"}) {
  model::Batch batch = MakeBatch(0, std::move(nodes));
  batch.id = id;
  return batch;
}

TEST_CASE("an upstream collector gets its configuration, then one ack for each batch, and nothing else") {
  TestHub hub;
  TestStream& stream = hub.Connect(UpstreamRegistration());
  hub.Send(stream, UpstreamBatch("one"));
  hub.Send(stream, model::Heartbeat{});
  hub.Send(stream, UpstreamBatch("two"));
  stream.Collect();
  REQUIRE(stream.inbox.size() == 3);
  CHECK(std::get<model::CollectorConfig>(stream.inbox[0]).interval == 30s);
  CHECK(std::get<model::UpstreamAck>(stream.inbox[1]) == model::UpstreamAck{.batch_id = "one"});
  CHECK(std::get<model::UpstreamAck>(stream.inbox[2]) == model::UpstreamAck{.batch_id = "two"});
  CHECK(hub.State().applied.size() == 2);
  CHECK(hub.Presence().upstream);
  CHECK(hub.Presence().instance.rfind("upstream/10.0.0.1:4000/", 0) == 0);
}

TEST_CASE("an upstream batch is as new as its arrival, whatever it says") {
  TestHub hub;
  TestStream& stream = hub.ConnectUpstream();
  model::Batch batch = UpstreamBatch("one");
  batch.age = 1h;
  batch.history_only = true;
  hub.Send(stream, batch);
  REQUIRE(hub.State().data_at.size() == 1);
  CHECK(hub.State().data_at[0] == hub.clock.Now());
}

TEST_CASE("while a batch cannot be stored the hub holds it, reads on later, and the collector is not silent") {
  TestHub hub;
  TestStream& stream = hub.ConnectUpstream();
  hub.data.FailApply(absl::UnavailableError("down"));
  hub.Send(stream, UpstreamBatch("one"));
  CHECK(!stream.reading());
  hub.Pass(300s);
  CHECK(!stream.ended());
  CHECK(!stream.reading());
  CHECK(stream.Take<model::UpstreamAck>().empty());
  CHECK(hub.Presence().last_message >= hub.clock.Now() - 30s);

  hub.data.FailApply(absl::OkStatus());
  hub.Pass(6s);
  CHECK(stream.Take<model::UpstreamAck>() == std::vector<model::UpstreamAck>{{.batch_id = "one"}});
  CHECK(stream.reading());
  CHECK(hub.State().applied.size() == 1);
}

TEST_CASE("what there is no room to hold is refused with the reason") {
  TestHub hub(1000);
  TestStream& stream = hub.ConnectUpstream();
  hub.data.FailApply(absl::DeadlineExceededError("slow"));
  model::Batch batch = UpstreamBatch("big");
  batch.snapshot.nodes->front().os_image = std::string(2000, 'x');
  hub.Send(stream, batch);
  hub.Pass(1s);
  const auto acks = stream.Take<model::UpstreamAck>();
  REQUIRE(acks.size() == 1);
  CHECK(acks[0].batch_id == "big");
  CHECK(!acks[0].success);
  CHECK(acks[0].error.find("no room") != std::string::npos);
  CHECK(stream.reading());
  CHECK(hub.Count("rejected_total", {"kind"}, "no_room") == 1);
}

TEST_CASE("what can never be stored is refused with the reason, and the stream goes on") {
  struct Case {
    std::string name, kind;
    std::function<std::string(TestHub&)> bytes;
  };
  const std::vector<Case> cases = {
      {"malformed", "malformed", [](TestHub&) { return wire::Encode(UpstreamBatch("x", {"not a name!"})); }},
      {"over a limit", "limit",
       [](TestHub& hub) {
         hub.ChangePolicy([](ClusterPolicy& policy) { policy.limits.max_nodes = 2; });
         hub.pool->Recheck(kCluster);
         hub.Run();
         return wire::Encode(UpstreamBatch("x", {"a", "b", "c"}));
       }},
      {"refused by the store", "store",
       [](TestHub& hub) {
         hub.data.FailApply(absl::FailedPreconditionError("key of another type"));
         return wire::Encode(UpstreamBatch("x"));
       }},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      TestHub hub;
      TestStream& stream = hub.ConnectUpstream();
      hub.Send(stream, c.bytes(hub));
      const auto acks = stream.Take<model::UpstreamAck>();
      REQUIRE(acks.size() == 1);
      CHECK(acks[0].batch_id == "x");
      CHECK(!acks[0].success);
      CHECK(!acks[0].error.empty());
      CHECK(hub.Count("rejected_total", {"kind"}, c.kind) == 1);
      CHECK(stream.reading());
      hub.data.FailApply(absl::OkStatus());
      hub.Send(stream, UpstreamBatch("next"));
      CHECK(stream.Take<model::UpstreamAck>() == std::vector<model::UpstreamAck>{{.batch_id = "next"}});
    }
  }
}

TEST_CASE("a batch of another cluster ends the stream, upstream or not") {
  TestHub hub;
  hub.AddCluster("other");
  const bool malformed = GENERATE(true, false);
  const bool upstream = GENERATE(true, false);
  TestStream& stream = upstream ? hub.ConnectUpstream() : hub.ConnectDelivery();
  model::Batch batch = MakeBatch(upstream ? 0 : 1, {malformed ? "no name!" : "n1"}, "other");
  hub.Send(stream, batch);
  CHECK(stream.code() == StatusCode::kPermissionDenied);
  CHECK(hub.State("other").applied.empty());
  CHECK(hub.State().applied.empty());
  CHECK(hub.Count("rejected_total", {"kind"}, "foreign") == 1);
}

TEST_CASE("an upstream collector that does not read its acks is not read either") {
  TestHub hub;
  TestStream& stream = hub.ConnectUpstream();
  stream.takes_messages = false;
  hub.Send(stream, UpstreamBatch("one"));  // its ack is being sent
  hub.Send(stream, UpstreamBatch("two"));
  CHECK(!stream.reading());
  stream.takes_messages = true;
  hub.Run();
  CHECK(stream.reading());
  CHECK(stream.Take<model::UpstreamAck>().size() == 2);
}

}  // namespace
}  // namespace clusterpulse::ingest
