// What becomes of single batches: parts, limits, faults, ages.
#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using absl::StatusCode;
using Seqs = std::vector<std::uint64_t>;
using Strings = std::vector<std::string>;

Strings NodesOf(const model::Batch& batch) {
  Strings names;
  for (const model::Node& node : batch.snapshot.nodes.value()) names.push_back(node.name);
  return names;
}

// What was rejected so far, with reasons.
std::vector<model::Rejection> Rejected(TestHub& hub, TestStream& stream) {
  hub.AdvanceBy(20ms);
  std::vector<model::Rejection> all;
  for (const auto& ack : stream.Take<model::DeliveryAck>()) {
    all.insert(all.end(), ack.rejected.begin(), ack.rejected.end());
  }
  return all;
}

TEST_CASE("a batch in parts is applied as one") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  model::Batch first = Part(1, 0, 3, {"a", "b"});
  first.snapshot.counts.emplace().nodes = 4;
  first.snapshot.namespaces = Strings{"x", "z"};
  hub.Send(stream, first);
  hub.Send(stream, Part(1, 1, 3, {"c"}));
  CHECK(hub.Applied().empty());
  model::Batch last = Part(1, 2, 3, {"d"});
  last.snapshot.namespaces = Strings{"y", "z"};
  hub.Send(stream, last);
  REQUIRE(hub.Applied() == Seqs{1});
  const model::Batch batch = hub.State().applied[0];
  CHECK(NodesOf(batch) == Strings{"a", "b", "c", "d"});
  CHECK(batch.snapshot.counts.value().nodes == 4);
  CHECK(batch.snapshot.namespaces.value() == Strings{"x", "y", "z"});
  CHECK(!batch.snapshot.operators.has_value());
  CHECK(batch.parts == 0);
  hub.AdvanceBy(20ms);
  CHECK(stream.Take<model::DeliveryAck>().at(0).applied == std::vector<model::SeqRange>{{1, 1}});
}

TEST_CASE("a batch in parts that is broken is rejected once, and what follows is not") {
  struct Case {
    std::string name;
    std::vector<model::Batch> messages;
    Seqs rejected;
    std::string reason;
    Seqs applied;
  };
  model::Batch malformed = Part(1, 1, 3, {"no name!"});
  const std::vector<Case> cases = {
      {"a part is missing", {Part(1, 0, 3, {"a"}), Part(1, 2, 3, {"c"})}, {1}, "its parts came out of order", {9}},
      {"a part twice",
       {Part(1, 0, 3, {"a"}), Part(1, 0, 3, {"a"}), Part(1, 1, 3, {"b"}), Part(1, 2, 3, {"c"})},
       {1},
       "its parts came out of order",
       {9}},
      {"another number of parts",
       {Part(1, 0, 3, {"a"}), Part(1, 1, 2, {"b"})},
       {1},
       "its parts came out of order",
       {9}},
      {"the first is missing", {Part(1, 1, 3, {"b"}), Part(1, 2, 3, {"c"})}, {1}, "its first part is missing", {9}},
      {"another begins",
       {Part(1, 0, 3, {"a"}), Part(2, 0, 2, {"a"}), Part(2, 1, 2, {"b"})},
       {1},
       "another batch in parts began before its last part",
       {2, 9}},
      {"a part is malformed", {Part(1, 0, 3, {"a"}), malformed, Part(1, 2, 3, {"c"})}, {1}, "node_metrics[0]", {9}},
      {"a node twice", {Part(1, 0, 2, {"a"}), Part(1, 1, 2, {"a"})}, {1}, "node_metrics has a twice", {9}},
      {"a whole one in between", {Part(1, 0, 2, {"a"}), MakeBatch(2), Part(1, 1, 2, {"b"})}, {}, "", {2, 9}},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      TestHub hub;
      TestStream& stream = hub.ConnectDelivery();
      for (const model::Batch& message : c.messages) hub.Send(stream, message);
      const auto rejected = Rejected(hub, stream);
      Seqs seqs;
      for (const auto& rejection : rejected) seqs.push_back(rejection.seq);
      CHECK(seqs == c.rejected);
      if (!rejected.empty()) CHECK(rejected[0].reason.find(c.reason) != std::string::npos);
      hub.Send(stream, MakeBatch(9));
      CHECK(hub.Applied() == c.applied);
      hub.AdvanceBy(20ms);
      // All credits came back: everything the collector may have in flight still fits.
      for (std::uint64_t seq = 20; seq < 37; ++seq) hub.Send(stream, MakeBatch(seq));
      CHECK(!stream.ended());
    }
  }
}

TEST_CASE("parts that stop coming are given up") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, Part(1, 0, 2, {"a"}));
  hub.Pass(59s);
  CHECK(Rejected(hub, stream).empty());
  hub.Pass(1s);
  CHECK(Rejected(hub, stream) == std::vector<model::Rejection>{{1, "its parts stopped coming"}});
  CHECK(!stream.ended());
}

TEST_CASE("parts that the hub itself does not read are waited for") {
  TestHub hub;
  hub.AddCluster(kCluster, {.max_bytes_per_second = 10000});
  TestStream& stream = hub.ConnectDelivery();
  std::uint32_t part = 0;
  while (stream.reading()) {
    model::Batch batch = Part(1, part++, 5, {"n" + std::to_string(part)});
    batch.snapshot.nodes->front().os_image = std::string(1300000, 'x');
    hub.Send(stream, batch);
  }
  REQUIRE(part == 4);
  int held = 0;
  for (; !stream.reading(); ++held) hub.Pass(1s);
  CHECK(held > 90);
  hub.Pass(59s);
  SECTION("the last comes in time") {
    hub.Send(stream, Part(1, 4, 5, {"last"}));
    CHECK(hub.Applied() == Seqs{1});
  }
  SECTION("it does not") {
    hub.Pass(2s);
    CHECK(Rejected(hub, stream) == std::vector<model::Rejection>{{1, "its parts stopped coming"}});
  }
}

TEST_CASE("parts beyond 32 MiB are given up") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  for (std::uint32_t part = 0; part < 9 && !stream.ended(); ++part) {
    model::Batch batch = Part(1, part, 10, {"n" + std::to_string(part)});
    batch.snapshot.nodes->front().os_image = std::string((std::size_t{4} << 20) - 200, 'x');
    hub.Send(stream, batch);
  }
  const auto rejected = Rejected(hub, stream);
  REQUIRE(rejected.size() == 1);
  CHECK(rejected[0].reason == "larger than 33554432 bytes");
  CHECK(hub.Count("rejected_total", {"kind"}, "too_large") == 1);
  CHECK(!stream.ended());
}

TEST_CASE("a batch in parts that nobody agreed upon is rejected") {
  TestHub hub;
  model::Registration registration = DeliveryRegistration();
  registration.capabilities.parts = false;
  TestStream& stream = hub.Connect(registration);
  hub.Send(stream, Part(1, 0, 2, {"a"}));
  hub.Send(stream, Part(1, 1, 2, {"b"}));
  CHECK(Rejected(hub, stream) == std::vector<model::Rejection>{{1, "parts were not agreed upon"}});
}

TEST_CASE("a batch in parts waits out an outage like any other") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.data.FailApply(absl::UnavailableError("down"));
  hub.Send(stream, Part(1, 0, 2, {"a"}));
  hub.Send(stream, Part(1, 1, 2, {"b"}));
  hub.Send(stream, MakeBatch(2));
  hub.Pass(10s);
  hub.data.FailApply(absl::OkStatus());
  hub.Pass(6s);
  CHECK(hub.Applied() == Seqs{1, 2});
  CHECK(NodesOf(hub.State().applied[0]) == Strings{"a", "b"});
  CHECK(NodesOf(hub.State().applied[1]) == Strings{"n1"});
}

TEST_CASE("limits of the policy: rejected with the reason, and said for a while") {
  TestHub hub;
  hub.AddCluster(kCluster, {.max_nodes = 2, .max_rows = 3});
  TestStream& stream = hub.ConnectDelivery();
  std::string reason;
  SECTION("nodes") {
    hub.Send(stream, MakeBatch(1, {"a", "b", "c"}));
    reason = "more than 2 nodes in a batch";
  }
  SECTION("nodes over parts") {
    hub.Send(stream, Part(1, 0, 3, {"a", "b"}));
    hub.Send(stream, Part(1, 1, 3, {"c"}));
    hub.Send(stream, Part(1, 2, 3, {"d"}));
    reason = "more than 2 nodes in a batch";
  }
  SECTION("rows") {
    model::Batch batch = MakeBatch(1);
    batch.sources.push_back({.source = "ns/a", .rows = std::vector<model::SourceRow>(4)});
    hub.Send(stream, batch);
    reason = "more than 3 rows in a batch";
  }
  CHECK(Rejected(hub, stream) == std::vector<model::Rejection>{{1, reason}});
  hub.Send(stream, MakeBatch(2, {"a", "b"}));
  CHECK(hub.Applied() == Seqs{2});
  hub.Pass(2s);
  CHECK(hub.Presence().limited == reason);
  hub.Pass(290s);
  CHECK(hub.Presence().limited == reason);
  hub.Pass(40s);
  CHECK(hub.Presence().limited.empty());
}

TEST_CASE("bytes a second: the hub reads more slowly, and says so") {
  TestHub hub;
  hub.AddCluster(kCluster, {.max_bytes_per_second = 100000});
  TestStream& stream = hub.ConnectDelivery();
  // A burst is allowed: 4 MiB here.
  std::uint64_t seq = 0;
  while (stream.reading()) hub.Send(stream, LargeBatch(++seq, 1000000));
  CHECK(seq == 5);
  hub.AdvanceBy(7s);
  CHECK(!stream.reading());
  hub.AdvanceBy(2s);
  CHECK(stream.reading());
  CHECK(hub.Presence().limited == "more bytes a second than allowed");
  CHECK(hub.Applied().size() == 5);
  // In the long run no more than allowed.
  const base::SteadyTime begin = hub.clock.Steady();
  for (int i = 0; i < 20; ++i) {
    while (!stream.reading()) hub.AdvanceBy(100ms);
    hub.Send(stream, LargeBatch(++seq, 1000000));
  }
  CHECK(hub.clock.Steady() - begin >= 180s);
}

TEST_CASE("a malformed batch is rejected by its number") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.Send(stream, MakeBatch(1, {"no name!"}));
  const auto rejected = Rejected(hub, stream);
  REQUIRE(rejected.size() == 1);
  CHECK(rejected[0].seq == 1);
  CHECK(rejected[0].reason.find("node_metrics[0]") != std::string::npos);
  CHECK(hub.Count("rejected_total", {"kind"}, "malformed") == 1);
  CHECK(!stream.ended());
}

TEST_CASE("a batch whose bytes are broken behind its head is rejected, and what follows is not") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  std::string bytes = wire::Encode(MakeBatch(1, {"node-1"}));
  bytes.at(bytes.find("node-1")) = '\xff';
  hub.Send(stream, bytes);
  const auto rejected = Rejected(hub, stream);
  REQUIRE(rejected.size() == 1);
  CHECK(rejected[0].seq == 1);
  CHECK(hub.Count("rejected_total", {"kind"}, "malformed") == 1);
  hub.Send(stream, MakeBatch(2));
  CHECK(hub.Applied() == Seqs{2});
}

TEST_CASE("what cannot be answered by number ends the stream") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  model::Batch batch = MakeBatch(0, {GENERATE(as<std::string>(), "n1", "no name!")});
  hub.Send(stream, batch);
  CHECK(stream.code() == StatusCode::kInvalidArgument);
}

TEST_CASE("bytes that are no message end the stream, a malformed report does not") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  model::ConfigReport report{.hash = std::string(1000, 'h')};
  hub.Send(stream, report);
  CHECK(!stream.ended());
  CHECK(hub.Count("malformed_messages_total") == 1);
  hub.Send(stream, std::string("\xff\xff\xff"));
  CHECK(stream.code() == StatusCode::kInvalidArgument);
}

TEST_CASE("what a store can never take is rejected and does not stop what follows") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.data.FailApply(absl::FailedPreconditionError("key at 10.9.8.7 holds another type"));
  hub.Send(stream, MakeBatch(1));
  hub.data.FailApply(absl::OkStatus());
  hub.Send(stream, MakeBatch(2));
  CHECK(Rejected(hub, stream) == std::vector<model::Rejection>{{1, "the hub's store refused it"}});
  CHECK(hub.Applied() == Seqs{2});
}

TEST_CASE("results of sources that were not asked for are dropped and counted") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  model::Batch batch = MakeBatch(1);
  batch.sources.push_back({.source = "ns/a"});
  batch.sources.push_back({.source = "ns/b"});
  hub.Send(stream, batch);
  REQUIRE(hub.Applied() == Seqs{1});
  CHECK(hub.State().applied[0].sources.empty());
  CHECK(hub.Count("source_results_dropped_total") == 2);

  // Also when it was decoded again, and counted once.
  hub.data.FailApply(absl::UnavailableError("down"));
  batch.seq = 2;
  hub.Send(stream, batch);
  hub.data.FailApply(absl::OkStatus());
  hub.Pass(6s);
  REQUIRE(hub.Applied() == Seqs{1, 2});
  CHECK(hub.State().applied[1].sources.empty());
  CHECK(hub.Count("source_results_dropped_total") == 4);
}

TEST_CASE("data is as old as the collector's steady clock says, and never newer than its arrival") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  model::Batch batch = MakeBatch(1);
  std::chrono::milliseconds expected{0};
  SECTION("at once") {}
  SECTION("after a while") { batch.age = expected = 90s; }
  SECTION("an age that cannot be") {
    batch.age = 48h;
    expected = 24h;
  }
  SECTION("a clock that is ahead") { batch.collected_at = hub.clock.Now() + 1h; }
  SECTION("a clock that is behind") { batch.collected_at = hub.clock.Now() - 1h; }
  hub.Send(stream, batch);
  REQUIRE(hub.State().data_at.size() == 1);
  CHECK(hub.State().data_at[0] == hub.clock.Now() - expected);
}

TEST_CASE("data that waited for the store is as old as it was when it came") {
  TestHub hub;
  TestStream& stream = hub.ConnectDelivery();
  hub.data.FailApply(absl::UnavailableError("down"));
  const base::SystemTime arrived = hub.clock.Now();
  hub.Send(stream, MakeBatch(1));
  hub.Pass(60s);
  hub.data.FailApply(absl::OkStatus());
  hub.Pass(6s);
  REQUIRE(hub.State().data_at.size() == 1);
  CHECK(hub.State().data_at[0] == arrived);
}

}  // namespace
}  // namespace clusterpulse::ingest
