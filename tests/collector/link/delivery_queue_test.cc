#include "collector/link/delivery_queue.h"

#include <functional>
#include <set>

#include "tests/collector/link/sample.h"

namespace clusterpulse::link {
namespace {

using namespace std::chrono_literals;

constexpr Peer kOurs{.parts = true, .credits = {5, 4 << 20}};
constexpr Peer kUpstream{.upstream = true};

// What was sent, in short: "3" live, "h3" history, "3.0/2" a part.
std::string Text(const model::Batch& batch) {
  std::string text = (batch.history_only ? "h" : "") + std::to_string(batch.seq);
  if (batch.parts > 0) text += "." + std::to_string(batch.part) + "/" + std::to_string(batch.parts);
  return text;
}

struct Rig {
  DeliveryQueue queue;
  base::SteadyTime now = base::SteadyTime(1h);
  int made = 0;

  explicit Rig(std::size_t max_batches = 10, std::size_t max_bytes = std::size_t{64} << 20)
      : queue(max_batches, max_bytes) {}

  std::uint64_t Add(model::Batch batch, bool full = false, std::size_t max_message = wire::kMaxOwnMessage) {
    DeliveryQueue::Made out{
        .id = batch.id, .collected_at = base::SystemTime(std::chrono::seconds(++made)), .collected = now, .full = full};
    out.pieces = Split(std::move(batch), max_message);
    return queue.Add(std::move(out));
  }
  // Nodes, counts and namespaces.
  std::uint64_t AddNodes(bool full = false, std::size_t padding = 0) {
    return Add(NodeBatch("b" + std::to_string(made + 1), 1, padding), full);
  }
  std::uint64_t AddSource(const std::string& name) {
    model::Batch batch = NodeBatch("b" + std::to_string(made + 1));
    batch.snapshot = {};
    batch.sources = {SampleSource(name, 1)};
    return Add(std::move(batch));
  }
  std::vector<std::string> Send(std::size_t most = 100) {
    std::vector<std::string> sent;
    while (sent.size() < most) {
      const auto message = queue.Next(now, false);
      if (!message.has_value()) break;
      sent.push_back(Text(ReadBatch(*message)));
    }
    return sent;
  }
  void Applied(std::uint64_t first, std::uint64_t last) { queue.Applied({{first, last}}); }
  void Durable(std::uint64_t low, std::vector<model::SeqRange> ranges = {}) { queue.Durable({low, std::move(ranges)}); }
  void Reconnect(const Peer& peer = kOurs, const model::DurablePosition& durable = {}) {
    queue.Disconnected();
    queue.Durable(durable);
    queue.SetPeer(peer);
  }
  std::vector<std::uint64_t> Lost() const {
    std::vector<std::uint64_t> lost;
    for (const model::Gap& run : queue.gaps()) {
      for (std::uint64_t seq = run.seqs.first; seq <= run.seqs.last; ++seq) lost.push_back(seq);
    }
    return lost;
  }
};

using Sent = std::vector<std::string>;
using Seqs = std::vector<std::uint64_t>;

TEST_CASE("nothing is sent before a hub answered") {
  Rig rig;
  rig.AddNodes();
  CHECK(rig.Send().empty());
  rig.queue.SetPeer(kOurs);
  CHECK(rig.Send() == Sent{"1"});
  rig.queue.Disconnected();
  CHECK(rig.Send().empty());
}

TEST_CASE("the newest of each scope is live, in order; the rest is history, oldest first, two at a time") {
  Rig rig;
  rig.AddNodes();
  rig.AddSource("a");
  rig.AddNodes();
  rig.AddSource("b");
  rig.AddNodes();
  rig.AddNodes();
  rig.queue.SetPeer(kOurs);
  CHECK(rig.Send() == Sent{"2", "4", "6", "h1", "h3"});
  rig.Applied(1, 1);
  CHECK(rig.Send() == Sent{"h5"});
  rig.Applied(2, 6);
  CHECK(rig.Send().empty());
  CHECK(rig.queue.stats().sent_live == 3);
  CHECK(rig.queue.stats().sent_history == 3);
  CHECK(rig.queue.stats().applied == 6);
}

TEST_CASE("a full batch makes all before it history") {
  Rig rig;
  rig.AddSource("gone");
  rig.AddNodes();
  rig.AddNodes(/*full=*/true);
  rig.queue.SetPeer(kOurs);
  CHECK(rig.Send() == Sent{"3", "h1", "h2"});
  CHECK(rig.queue.stats().full_batches == 1);
}

TEST_CASE("a batch that holds nothing is live until the next") {
  Rig rig;
  model::Batch empty = NodeBatch("empty");
  empty.snapshot = {};
  rig.Add(empty);
  rig.queue.SetPeer(kOurs);
  CHECK(rig.Send() == Sent{"1"});
  rig.Add(empty);
  rig.AddSource("a");
  CHECK(rig.Send() == Sent{"3", "h2"});
}

TEST_CASE("history never goes while a live batch waits") {
  Rig rig;
  for (int i = 0; i < 6; ++i) rig.AddNodes();
  rig.queue.SetPeer({.parts = true, .credits = {3, 4 << 20}});
  CHECK(rig.Send(2) == Sent{"6", "h1"});
  rig.AddNodes();  // 7
  rig.AddNodes();  // 8, and 6 is still in flight
  CHECK(rig.Send() == Sent{"8"});
  rig.AddNodes();  // 9: all credits are used, and it waits
  CHECK(rig.Send().empty());
  rig.Applied(1, 1);
  CHECK(rig.Send() == Sent{"9"});
  rig.Applied(6, 9);
  CHECK(rig.Send() == Sent{"h2", "h3"});
}

TEST_CASE("credits bound what is in flight; one live batch is always allowed, an oversized one goes alone") {
  struct Case {
    const char* name;
    model::Credits credits;
    Sent sent;
  };
  // One live and three of history; about 1 KB each.
  const std::vector<Case> cases = {
      {"enough", {16, 1 << 20}, {"4", "h1", "h2", "h3"}},
      {"of batches", {2, 1 << 20}, {"4", "h1"}},
      {"of bytes", {16, 2500}, {"4", "h1"}},
      {"bytes for none", {16, 10}, {"4"}},
      {"one", {1, 1 << 20}, {"4"}},
      {"none", {0, 0}, {"4"}},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Rig rig;
      for (int i = 0; i < 4; ++i) rig.AddNodes(false, 900);
      rig.queue.SetPeer({.parts = true, .credits = c.credits});
      CHECK(rig.Send() == c.sent);
      rig.AddNodes(false, 900);
      const bool has_room = c.credits.batches > c.sent.size() && c.credits.bytes > 1 << 19;
      CHECK(rig.Send() == (has_room ? Sent{"5"} : Sent{}));
      // Once all is applied, all credits are back: what is larger than they are goes alone.
      rig.Applied(1, 10);
      CHECK(rig.queue.stats().in_flight == 0);
      const Sent next = rig.Send(1);
      if (!has_room) CHECK(next == Sent{"5"});
    }
  }
}

TEST_CASE("oversized history goes when nothing else is in flight") {
  Rig rig;
  rig.AddNodes(false, 5000);
  rig.AddNodes(false, 5000);
  rig.AddNodes();
  rig.queue.SetPeer({.parts = true, .credits = {16, 1000}});
  CHECK(rig.Send() == Sent{"3"});
  rig.Applied(3, 3);
  CHECK(rig.Send() == Sent{"h1"});
  rig.AddNodes();
  CHECK(rig.Send() == Sent{"4"});
  rig.Applied(4, 4);
  CHECK(rig.Send().empty());
  rig.Applied(1, 1);
  CHECK(rig.Send() == Sent{"h2"});
}

TEST_CASE("more history is in flight while it is small and half of the credits are left") {
  struct Case {
    const char* name;
    std::uint32_t credits;
    std::size_t padding;
    std::size_t history;
  };
  const std::vector<Case> cases = {{"few credits", 3, 0, 2},   {"many", 16, 0, 8},
                                   {"half of them", 10, 0, 5}, {"not more than eight", 1000, 0, 8},
                                   {"large", 16, 200'000, 2},  {"larger than a quarter MiB together", 16, 60'000, 4}};
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Rig rig(100);
      for (int i = 0; i < 20; ++i) rig.AddNodes(false, c.padding);
      rig.queue.SetPeer({.parts = true, .credits = {c.credits, 4 << 20}});
      CHECK(rig.Send().size() == 1 + c.history);
      // A live batch waits for none of them.
      rig.AddNodes();
      const bool has_room = c.credits > 1 + c.history;
      CHECK(rig.Send() == (has_room ? Sent{"21"} : Sent{}));
    }
  }
}

TEST_CASE("credits may change, and no hub gets endless ones") {
  Rig rig(5000);
  for (int i = 0; i < 3; ++i) rig.AddNodes();
  rig.queue.SetPeer({.parts = true, .credits = {1, 1 << 20}});
  CHECK(rig.Send() == Sent{"3"});
  rig.queue.SetCredits({16, 1 << 20});
  CHECK(rig.Send() == Sent{"h1", "h2"});

  rig.Reconnect({.parts = true, .credits = {~0u, ~std::uint64_t{0}}});
  for (int i = 0; i < 1100; ++i) rig.AddSource("s" + std::to_string(i));
  rig.Send(2000);
  CHECK(rig.queue.stats().in_flight == 1024);
}

TEST_CASE("a batch carries its age, by the steady clock") {
  Rig rig;
  rig.queue.SetPeer(kOurs);
  rig.AddNodes();
  rig.now += 90s;
  CHECK(ReadBatch(*rig.queue.Next(rig.now, false)).age == 90s);
}

TEST_CASE("only durable frees; applied returns credits") {
  Rig rig;
  rig.queue.SetPeer(kOurs);
  for (int i = 0; i < 4; ++i) rig.AddNodes();
  rig.Send();
  rig.Applied(1, 4);
  rig.Send();
  rig.Applied(1, 4);
  CHECK(rig.queue.stats().in_flight == 0);
  CHECK(rig.queue.stats().batches == 4);
  CHECK(rig.queue.held() == model::SeqRange{1, 4});
  rig.Durable(1, {{3, 3}});
  CHECK(rig.queue.stats().batches == 2);
  CHECK(rig.queue.held() == model::SeqRange{2, 4});
  CHECK(rig.queue.stats().durable_low == 1);
  rig.Durable(4);
  CHECK(rig.queue.stats().batches == 0);
  CHECK(rig.queue.stats().bytes == 0);
  CHECK(rig.queue.held() == model::SeqRange{});
  CHECK(rig.queue.stats().durable == 4);
  CHECK(rig.queue.stats().newest_durable == rig.now);
  CHECK_FALSE(rig.queue.stats().oldest.has_value());
}

TEST_CASE("a hub cannot free what was never sent") {
  Rig rig;
  rig.AddNodes();
  rig.AddNodes();
  rig.queue.SetPeer({.parts = true, .credits = {1, 1000}});
  CHECK(rig.Send() == Sent{"2"});
  rig.Durable(~std::uint64_t{0});
  CHECK(rig.queue.held() == model::SeqRange{1, 1});
  CHECK(rig.queue.stats().durable_low == 0);
  rig.Applied(1, 100);
  CHECK(rig.queue.stats().applied == 0);
  rig.queue.Rejected({{1, "no"}, {7, "no"}});
  CHECK(rig.queue.stats().rejected == 0);
  rig.AddNodes();
  CHECK(rig.Send() == Sent{"3"});
}

TEST_CASE("after a broken stream all that is not durable is sent again") {
  Rig rig;
  rig.queue.SetPeer(kOurs);
  for (int i = 0; i < 4; ++i) rig.AddNodes();
  rig.Send();
  rig.Applied(1, 2);
  SECTION("to a hub that knows of nothing") {
    rig.Reconnect();
    rig.AddNodes(/*full=*/true);
    CHECK(rig.Send() == Sent{"5", "h1", "h2"});
    rig.Applied(1, 5);
    CHECK(rig.Send() == Sent{"h3", "h4"});
  }
  SECTION("to one that has some of it durable") {
    rig.Reconnect(kOurs, {1, {{4, 4}}});
    rig.AddNodes(/*full=*/true);
    CHECK(rig.Send() == Sent{"5", "h2", "h3"});
  }
  SECTION("without a full batch, the newest as state") {
    rig.Reconnect();
    CHECK(rig.Send() == Sent{"4", "h1", "h2"});
  }
}

TEST_CASE("rejected batches are given up and return their credits") {
  Rig rig;
  rig.queue.SetPeer({.parts = true, .credits = {1, 1 << 20}});
  rig.AddNodes();
  rig.AddNodes();
  CHECK(rig.Send() == Sent{"2"});
  rig.queue.Rejected({{2, std::string(1000, 'r')}});
  CHECK(rig.queue.stats().rejected == 1);
  CHECK(rig.queue.stats().lost == 0);
  CHECK(rig.queue.held() == model::SeqRange{1, 1});
  CHECK(rig.Send() == Sent{"h1"});
  CHECK(rig.queue.refusals().count == 1);
  CHECK(rig.queue.refusals().seq == 2);
  CHECK(rig.queue.TakeRefusals().reason.size() == 256);
  CHECK(rig.queue.refusals().count == 0);
}

TEST_CASE("replay sends what is left again, as history") {
  Rig rig;
  rig.queue.SetPeer(kOurs);
  for (int i = 0; i < 5; ++i) {
    rig.AddNodes();
    rig.Send();
  }
  rig.Applied(1, 4);
  rig.Durable(1);
  rig.queue.Replay({1, 5});
  CHECK(rig.Send() == Sent{"h2", "h3"});
  rig.Applied(2, 3);
  CHECK(rig.Send() == Sent{"h4"});
  // What is in flight is sent again only after the answer to it.
  rig.Applied(5, 5);
  CHECK(rig.Send() == Sent{"h5"});
  rig.Applied(4, 5);
  CHECK(rig.Send().empty());
  rig.Durable(5);
  CHECK(rig.queue.stats().batches == 0);
}

TEST_CASE("a replay tells whether the newest state of a scope was in it, once") {
  Rig rig;
  rig.queue.SetPeer(kOurs);
  rig.AddSource("a");
  rig.AddNodes();
  rig.AddNodes();  // replaces the one before
  rig.Send();
  rig.Applied(1, 3);
  rig.AddSource("b");
  rig.Send();          // in flight
  rig.AddSource("c");  // not sent
  CHECK_FALSE(rig.queue.Replay({2, 2}));
  CHECK(rig.queue.Replay({1, 2}));
  CHECK_FALSE(rig.queue.Replay({1, 2}));
  CHECK(rig.queue.Replay({3, 3}));
  CHECK(rig.queue.Replay({4, 4}));
  CHECK_FALSE(rig.queue.Replay({5, 9}));
}

TEST_CASE("when full the oldest goes and is lost, the newest never") {
  Rig rig(3);
  for (int i = 0; i < 5; ++i) rig.AddNodes();
  CHECK(rig.queue.held() == model::SeqRange{3, 5});
  CHECK(rig.queue.stats().lost == 2);
  CHECK(rig.queue.gaps() ==
        std::vector<model::Gap>{{{1, 2}, base::SystemTime(1s), base::SystemTime(2s), model::GapCause::kSpoolOverflow}});
  CHECK(rig.queue.stats().oldest == base::SystemTime(3s));

  Rig bytes(10, 3000);
  for (int i = 0; i < 5; ++i) bytes.AddNodes(false, 900);
  CHECK(bytes.queue.stats().batches == 2);
  CHECK(bytes.queue.stats().bytes <= 3000);
  bytes.AddNodes(false, 5000);
  CHECK(bytes.queue.stats().batches == 1);
  CHECK(bytes.queue.held() == model::SeqRange{6, 6});
  CHECK(bytes.Lost() == Seqs{1, 2, 3, 4, 5});
}

TEST_CASE("pieces of one batch count as one and fall out together") {
  Rig rig(2);
  model::Batch batch = NodeBatch("big", 1, 1000);
  batch.sources = {SampleSource("a", 1, 1000), SampleSource("b", 1, 1000)};
  CHECK(rig.Add(batch, true, 1500) == 3);
  rig.AddNodes();
  CHECK(rig.queue.held() == model::SeqRange{1, 4});
  rig.AddNodes();
  CHECK(rig.queue.held() == model::SeqRange{4, 5});
  CHECK(rig.Lost() == Seqs{1, 2, 3});
}

TEST_CASE("what falls out of the buffer while the hub has it is lost only if the hub says so") {
  Rig rig(1);
  rig.queue.SetPeer(kOurs);
  rig.AddNodes();
  CHECK(rig.Send() == Sent{"1"});
  rig.AddNodes();
  CHECK(rig.Send() == Sent{"2"});
  CHECK(rig.queue.held() == model::SeqRange{2, 2});
  CHECK(rig.queue.stats().lost == 0);
  CHECK(rig.queue.stats().in_flight == 2);
  SECTION("durable") {
    rig.Applied(1, 1);
    CHECK(rig.queue.stats().in_flight == 1);
    rig.Durable(1);
    CHECK(rig.queue.stats().durable == 1);
    CHECK(rig.queue.stats().lost == 0);
  }
  SECTION("wanted again while in flight") {
    rig.queue.Replay({1, 1});
    CHECK(rig.Lost().empty());
    rig.Applied(1, 1);
    CHECK(rig.Lost() == Seqs{1});
  }
  SECTION("wanted again") {
    rig.Applied(1, 1);
    rig.queue.Replay({1, 1});
    CHECK(rig.Lost() == Seqs{1});
  }
  SECTION("the next hub has it durable") {
    rig.queue.Disconnected();
    rig.AddNodes();
    CHECK(rig.Lost().empty());
    rig.queue.Durable({2, {}});
    rig.queue.SetPeer(kOurs);
    CHECK(rig.Lost().empty());
    CHECK(rig.queue.stats().durable == 2);
  }
  SECTION("the next hub knows nothing of it") {
    rig.Reconnect();
    CHECK(rig.Lost() == Seqs{1});
  }
  SECTION("rejected") {
    rig.queue.Rejected({{1, "bad"}});
    CHECK(rig.queue.stats().rejected == 1);
    CHECK(rig.queue.stats().lost == 0);
    REQUIRE(rig.queue.gaps().size() == 1);
    CHECK(rig.queue.gaps().front().cause == model::GapCause::kRejected);
  }
}

TEST_CASE("what is undecided and what is lost stays bounded") {
  Rig rig(1, 1);
  rig.queue.SetPeer(kOurs);
  for (std::uint64_t i = 1; i <= 1200; ++i) {
    rig.AddNodes();
    rig.Send();
    rig.Applied(i, i);
  }
  CHECK(rig.queue.stats().lost == 1200 - 1 - 1024);
  // Every second one is durable: no two lost ones follow each other.
  Rig holes(1, 1);
  for (int i = 0; i < 300; ++i) {
    holes.AddNodes();
    holes.queue.SetPeer(kOurs);
    if (i % 2 == 0) holes.Send();
    holes.AddNodes();
    holes.queue.Disconnected();
  }
  CHECK(holes.queue.gaps().size() <= DeliveryQueue::kMostGaps);
}

TEST_CASE("what was believed lost and is durable after all is no gap") {
  Rig rig(1);
  rig.queue.SetPeer(kOurs);
  for (int i = 0; i < 3; ++i) rig.AddNodes();  // 1 and 2 are lost
  rig.Send();
  rig.Durable(1);
  CHECK(rig.Lost() == Seqs{2});
  rig.Durable(3);
  CHECK(rig.Lost().empty());
  CHECK(rig.queue.stats().durable_low == 3);
}

model::Batch BigNodes() { return NodeBatch("big", 3000, 500); }  // 1.5 MiB or so

TEST_CASE("a scope above the limit goes in parts, one batch of credit, not to be interrupted") {
  Rig rig;
  rig.AddNodes();
  rig.Add(BigNodes(), true);
  rig.queue.SetPeer({.parts = true, .credits = {2, 4 << 20}});
  CHECK(rig.Send(1) == Sent{"2.0/2"});
  rig.AddNodes();
  CHECK(ReadBatch(*rig.queue.Next(rig.now, /*only_begun=*/true)).part == 1);
  CHECK_FALSE(rig.queue.Next(rig.now, /*only_begun=*/true).has_value());
  CHECK(rig.queue.stats().in_flight == 1);
  CHECK(rig.Send() == Sent{"3"});
}

TEST_CASE("a batch in parts that is broken off or rejected begins anew or ends") {
  Rig rig;
  rig.Add(BigNodes(), true);
  rig.queue.SetPeer(kOurs);
  CHECK(rig.Send(1) == Sent{"1.0/2"});
  SECTION("broken off") {
    rig.Reconnect();
    CHECK(rig.Send() == Sent{"1.0/2", "1.1/2"});
  }
  SECTION("rejected") {
    rig.queue.Rejected({{1, "too large"}});
    CHECK(rig.Send().empty());
  }
  SECTION("pushed out of the buffer") {
    DeliveryQueue& queue = rig.queue;
    for (int i = 0; i < 10; ++i) rig.AddNodes();
    CHECK(ReadBatch(*queue.Next(rig.now, true)).part == 1);
    CHECK_FALSE(queue.Next(rig.now, true).has_value());
  }
}

TEST_CASE("what a hub cannot read is not sent and does not block") {
  struct Case {
    const char* name;
    Peer peer;
    Sent sent;
    bool is_kept;  // for another hub
  };
  const model::Credits credits{16, 64 << 20};
  const std::vector<Case> cases = {
      {"parts", {.parts = true, .credits = credits}, {"2", "1.0/2", "1.1/2"}, false},
      {"no parts, whole", {.credits = credits}, {"2", "1"}, false},
      {"no parts, too large", {.max_message = 1 << 20, .credits = credits}, {"2"}, true},
      {"parts, too many",
       {.parts = true, .max_message = 1 << 20, .max_batch = 1 << 20, .credits = credits},
       {"2"},
       true},
      {"parts too large", {.parts = true, .max_message = 1 << 19, .credits = credits}, {"2"}, true},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Rig rig;
      rig.Add(BigNodes());
      rig.AddNodes();
      rig.queue.SetPeer(c.peer);
      Sent sent = rig.Send();
      for (std::string& text : sent) {
        if (text[0] == 'h') text.erase(0, 1);
      }
      CHECK(sent == c.sent);
      CHECK(rig.queue.stats().batches == 2);
      CHECK(rig.queue.refusals().count == (c.is_kept ? 1 : 0));
      rig.Reconnect();
      CHECK(rig.Send() == Sent{"2", "h1.0/2", "h1.1/2"});
    }
  }
}

TEST_CASE("an upstream hub gets the newest batch only, whole and as current") {
  Rig rig;
  rig.AddNodes();
  rig.AddSource("a");
  model::Batch both = BigNodes();
  both.sources = {SampleSource("b", 1)};
  rig.Add(both);
  rig.queue.SetPeer(kUpstream);
  const auto nodes = rig.queue.Next(rig.now, false);
  REQUIRE(nodes.has_value());
  CHECK(nodes->size() > wire::kMaxOwnMessage);
  const model::Batch first = ReadBatch(*nodes);
  CHECK(first.snapshot == both.snapshot);
  CHECK_FALSE(first.history_only);
  CHECK(first.parts == 0);
  CHECK(rig.Send() == Sent{"4"});

  // Acknowledged once both pieces are, and with it all before.
  rig.queue.UpstreamAcked({.batch_id = "big"});
  CHECK(rig.queue.stats().batches == 4);
  rig.queue.UpstreamAcked({.batch_id = "big"});
  CHECK(rig.queue.stats().batches == 0);
  CHECK(rig.queue.stats().durable == 2);
  CHECK(rig.Lost() == Seqs{1, 2});  // history that such a hub does not take
  CHECK(rig.queue.gaps().front().cause == model::GapCause::kLinkDown);
  CHECK(rig.queue.durable() == model::DurablePosition{0, {{3, 4}}});
  rig.queue.UpstreamAcked({.batch_id = "big"});
  CHECK(rig.queue.stats().applied == 2);
}

TEST_CASE("an upstream hub's refusal keeps the batch for the next round") {
  Rig rig;
  rig.queue.SetPeer(kUpstream);
  rig.AddNodes();
  CHECK(rig.Send() == Sent{"1"});
  rig.queue.UpstreamAcked({.batch_id = "b1", .success = false, .error = "store is down"});
  CHECK(rig.queue.refusals().reason == "store is down");
  CHECK(rig.Send().empty());
  CHECK(rig.queue.stats().batches == 1);
  CHECK(rig.queue.stats().in_flight == 0);
  SECTION("the next batch") {
    rig.AddNodes();
    CHECK(rig.Send() == Sent{"2"});
    rig.queue.UpstreamAcked({.batch_id = "b2"});
    CHECK(rig.queue.stats().batches == 0);
    CHECK(rig.Lost() == Seqs{1});
  }
  SECTION("the next stream") {
    rig.Reconnect(kUpstream);
    CHECK(rig.Send() == Sent{"1"});
  }
  SECTION("the next stream is one of ours") {
    rig.Reconnect(kOurs);
    rig.AddNodes();
    CHECK(rig.Send() == Sent{"2", "h1"});
  }
}

TEST_CASE("a batch of which an upstream hub takes a part is over once it decided on all") {
  struct Case {
    const char* name;
    bool first_ok, second_ok;
    Seqs lost;
  };
  for (const Case& c : {Case{"both taken", true, true, {}}, Case{"the second refused", true, false, {2}},
                        Case{"the first refused", false, true, {1}}}) {
    DYNAMIC_SECTION(c.name) {
      Rig rig;
      rig.queue.SetPeer(kUpstream);
      model::Batch both = NodeBatch("both", 30, 500);
      both.sources = {SampleSource("b", 30, 500)};
      rig.Add(both, true, 20'000);
      CHECK(rig.Send() == Sent{"1", "2"});
      rig.queue.UpstreamAcked({.batch_id = "both", .success = c.first_ok});
      CHECK(rig.queue.stats().batches == 2);
      rig.queue.UpstreamAcked({.batch_id = "both", .success = c.second_ok});
      CHECK(rig.queue.stats().batches == 0);
      CHECK(rig.Lost() == c.lost);
      const model::SeqSet durable(rig.queue.durable());
      for (std::uint64_t seq = 1; seq <= 2; ++seq) CHECK(durable.Contains(seq) == (c.lost != Seqs{seq}));
    }
  }
  SECTION("one piece is too large for it") {
    Rig rig;
    rig.queue.SetPeer(kUpstream);
    model::Batch both = NodeBatch("both", 9000, 500);
    both.sources = {SampleSource("b", 1)};
    rig.Add(both);
    CHECK(rig.Send() == Sent{"2"});
    rig.queue.UpstreamAcked({.batch_id = "both"});
    CHECK(rig.queue.stats().batches == 0);
    CHECK(rig.queue.durable() == model::DurablePosition{0, {{2, 2}}});
    CHECK(rig.Lost() == Seqs{1});
  }
}

TEST_CASE("newest state that the hub did not get asks for a full batch; what each batch tells does not") {
  struct Case {
    const char* name;
    std::function<void(Rig&)> happen;
    bool is_lost;
  };
  const auto push_out = [](Rig& rig) {
    for (int i = 0; i < 3; ++i) rig.AddNodes();
  };
  const std::vector<Case> cases = {
      {"fell out unsent",
       [&](Rig& rig) {
         rig.AddSource("a");
         push_out(rig);
       },
       true},
      {"fell out while in flight",
       [&](Rig& rig) {
         rig.AddSource("a");
         rig.Send();
         push_out(rig);
       },
       false},
      {"fell out, but is there anew",
       [&](Rig& rig) {
         rig.AddSource("a");
         rig.AddSource("a");
         rig.AddNodes();
         rig.AddNodes();
       },
       false},
      {"only nodes fell out", push_out, false},
      {"a full batch came meanwhile",
       [&](Rig& rig) {
         rig.AddSource("a");
         push_out(rig);
         rig.AddNodes(/*full=*/true);
       },
       false},
      {"rejected",
       [](Rig& rig) {
         rig.AddSource("a");
         rig.Send();
         rig.queue.Rejected({{1, "limit"}});
       },
       true},
      {"rejected nodes",
       [](Rig& rig) {
         rig.AddNodes();
         rig.Send();
         rig.queue.Rejected({{1, "limit"}});
       },
       false},
      {"too large",
       [](Rig& rig) {
         rig.queue.SetPeer({.max_message = 100, .credits = {16, 1 << 20}});
         rig.AddSource("a");
         rig.Send();
       },
       true},
      {"refused by an upstream hub",
       [](Rig& rig) {
         rig.queue.SetPeer(kUpstream);
         rig.AddSource("a");
         rig.Send();
         rig.queue.UpstreamAcked({.batch_id = "b1", .success = false});
       },
       true},
      {"overtaken on the way to an upstream hub",
       [](Rig& rig) {
         rig.queue.SetPeer(kUpstream);
         rig.AddSource("a");
         rig.AddNodes();
         rig.Send();
         rig.queue.UpstreamAcked({.batch_id = "b2"});
       },
       true},
      {"without a hub",
       [&](Rig& rig) {
         rig.queue.Disconnected();
         rig.AddSource("a");
         push_out(rig);
       },
       false},
      {"the stream broke",
       [&](Rig& rig) {
         rig.AddSource("a");
         push_out(rig);
         rig.queue.Disconnected();
       },
       false},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Rig rig(3);
      rig.queue.SetPeer(kOurs);
      c.happen(rig);
      CHECK(rig.queue.TakeStateLost() == c.is_lost);
      CHECK_FALSE(rig.queue.TakeStateLost());
    }
  }
}

TEST_CASE("whether the newest batch is still to be taken, and whether there is more to send") {
  Rig rig;
  CHECK_FALSE(rig.queue.IsNewestPending());
  rig.AddNodes();
  CHECK(rig.queue.IsNewestPending());
  CHECK_FALSE(rig.queue.HasWaiting());  // for nobody
  rig.queue.SetPeer(kOurs);
  CHECK(rig.queue.HasWaiting());
  rig.Send();
  CHECK_FALSE(rig.queue.HasWaiting());
  CHECK(rig.queue.IsNewestPending());
  rig.Applied(1, 1);
  CHECK_FALSE(rig.queue.IsNewestPending());
  rig.AddNodes();
  rig.AddNodes();
  CHECK(rig.Send(1) == Sent{"3"});
  rig.Applied(3, 3);
  CHECK_FALSE(rig.queue.IsNewestPending());
  CHECK(rig.queue.HasWaiting());  // history
  rig.queue.SetPeer(kUpstream);
  CHECK_FALSE(rig.queue.HasWaiting());  // which it does not take
  rig.AddNodes();
  CHECK(rig.queue.HasWaiting());
  rig.Send();
  rig.queue.UpstreamAcked({.batch_id = "b4", .success = false});
  CHECK_FALSE(rig.queue.IsNewestPending());
}

TEST_CASE("what is too large for an upstream hub waits for one of ours") {
  Rig rig;
  rig.Add(NodeBatch("huge", 9000, 500), true);
  rig.queue.SetPeer(kUpstream);
  CHECK(rig.Send().empty());
  CHECK(rig.queue.refusals().seq == 1);
  CHECK(rig.queue.stats().batches == 1);
  SECTION("that turns out late") { rig.queue.SetPeer(kOurs); }
  SECTION("the next one") { rig.Reconnect(); }
  CHECK(rig.Send(1) == Sent{"1.0/5"});
}

TEST_CASE("what an upstream hub was sent on a broken stream and never acknowledged is not durable") {
  Rig rig;
  rig.queue.SetPeer(kUpstream);
  rig.AddNodes();
  rig.Send();
  rig.Reconnect(kUpstream);
  rig.AddNodes(/*full=*/true);
  CHECK(rig.Send() == Sent{"2"});
  rig.queue.UpstreamAcked({.batch_id = "b2"});
  CHECK(rig.Lost() == Seqs{1});
  CHECK(rig.queue.stats().durable == 1);
}

TEST_CASE("an upstream hub that does not acknowledge is not sent batches for ever") {
  Rig rig(1000);
  rig.queue.SetPeer(kUpstream);
  for (int i = 0; i < 100; ++i) {
    rig.AddNodes();
    rig.Send();
  }
  CHECK(rig.queue.stats().in_flight == 64);
  CHECK(rig.queue.stats().sent_live == 64);
}

TEST_CASE("a hub that turns out to be ours late takes over what is in flight") {
  Rig rig;
  rig.AddNodes();
  rig.AddNodes();
  rig.queue.SetPeer(kUpstream);
  CHECK(rig.Send() == Sent{"2"});
  rig.queue.SetPeer(kOurs);
  CHECK(rig.Send() == Sent{"h1"});
  rig.queue.UpstreamAcked({.batch_id = "b2"});
  CHECK(rig.queue.stats().in_flight == 2);
  rig.Applied(1, 2);
  rig.Durable(2);
  CHECK(rig.queue.stats().batches == 0);
}

// A hub of ours that applies what it gets and makes it durable sometime, over streams that break at any moment: at the
// end every batch was made durable or counted as lost, and none twice in the buffer.
TEST_CASE("every batch ends durable or lost, whatever happens on the way") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    base::SeededRandom random(seed);
    const auto chance = [&](int percent) { return static_cast<int>(random.Next() % 100) < percent; };
    Rig rig(1 + random.Next() % 8);
    std::set<std::uint64_t> got, durable;
    std::uint64_t made = 0, low = 0;
    bool is_up = false;
    const auto position = [&] {
      while (durable.count(low + 1) > 0) ++low;
      model::DurablePosition out{low, {}};
      for (const std::uint64_t seq : durable) {
        if (seq > low + 1) out.ranges.push_back({seq, seq});
      }
      return out;
    };
    for (int step = 0; step < 300; ++step) {
      if (chance(25)) made = chance(50) ? rig.AddNodes(chance(20)) : rig.AddSource(std::to_string(random.Next() % 3));
      if (!is_up && chance(30)) {
        rig.queue.Durable(position());
        rig.queue.SetPeer({.parts = true, .credits = {1 + static_cast<std::uint32_t>(random.Next() % 4), 1 << 20}});
        is_up = true;
      }
      if (!is_up) continue;
      if (const auto message = rig.queue.Next(rig.now, false); message.has_value() && chance(90)) {
        got.insert(ReadBatch(*message).seq);
      }
      if (chance(40)) {
        for (const std::uint64_t seq : got) rig.queue.Applied({{seq, seq}});
      }
      if (chance(20)) {
        for (const std::uint64_t seq : got) {
          if (chance(60)) durable.insert(seq);
        }
        rig.queue.Durable(position());
      }
      if (chance(3)) rig.queue.Replay({1 + random.Next() % (made + 1), made + 1});
      if (chance(5)) {
        rig.queue.Disconnected();
        is_up = false;
        std::set<std::uint64_t>().swap(got);  // the hub died too
      }
    }
    // Peace: everything that is left gets through.
    rig.queue.Disconnected();
    rig.queue.Durable(position());
    rig.queue.SetPeer(kOurs);
    for (int round = 0; round < 100; ++round) {
      while (const auto message = rig.queue.Next(rig.now, false)) {
        const std::uint64_t seq = ReadBatch(*message).seq;
        durable.insert(seq);
        rig.queue.Applied({{seq, seq}});
      }
      rig.queue.Durable(position());
    }
    const DeliveryQueue::Stats stats = rig.queue.stats();
    CHECK(stats.batches == 0);
    CHECK(stats.in_flight == 0);
    CHECK(stats.durable + stats.lost == made);
    // The hub may have more than we know of, never less.
    CHECK(durable.size() >= stats.durable);
    CHECK(stats.durable > 0);
  }
}

}  // namespace
}  // namespace clusterpulse::link
