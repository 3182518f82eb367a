#include "collector/link/outbox.h"

#include <thread>

#include "common/base/testing/manual_clock.h"
#include "tests/collector/link/sample.h"

namespace clusterpulse::link {
namespace {

using namespace std::chrono_literals;

constexpr Peer kOurs{.parts = true, .credits = {16, 4 << 20}};

TEST_CASE("batches are numbered from 1 and sent as they were made") {
  base::ManualClock clock;
  Outbox outbox({}, "instance-1", clock);
  model::Batch batch = NodeBatch("first", 3);
  batch.age = 2s;
  batch.seq = 77;
  batch.history_only = true;
  CHECK(outbox.Add(batch, true) == 1);
  CHECK(outbox.Add(NodeBatch("second"), false) == 2);
  clock.AdvanceBy(10s);
  outbox.SetPeer(kOurs);

  const model::Batch second = ReadBatch(*outbox.Next());
  CHECK(second.id == "second");
  CHECK(second.age == 10s);
  model::Batch first = ReadBatch(*outbox.Next());
  CHECK(first.age == 12s);
  CHECK(first.seq == 1);
  CHECK(first.history_only);
  first.seq = batch.seq;
  first.age = batch.age;
  CHECK(first == batch);
}

TEST_CASE("the registration tells what is held") {
  base::ManualClock clock;
  Outbox outbox({}, "instance-1", clock);
  model::Registration registration;
  registration.held = {3, 4};
  outbox.Describe(registration);
  CHECK(registration.instance == "instance-1");
  CHECK(registration.held == model::SeqRange{});
  CHECK(registration.durable_low == 0);
  outbox.SetPeer(kOurs);
  for (int i = 0; i < 3; ++i) {
    outbox.Add(NodeBatch("b"), true);
    REQUIRE(outbox.Next().has_value());
  }
  outbox.Durable({1, {}});
  outbox.Describe(registration);
  CHECK(registration.held == model::SeqRange{2, 3});
  CHECK(registration.durable_low == 1);
}

TEST_CASE("replays of another instance are none of ours") {
  base::ManualClock clock;
  Outbox outbox({}, "instance-1", clock);
  outbox.SetPeer(kOurs);
  outbox.Add(NodeBatch("b"), true);
  REQUIRE(outbox.Next().has_value());
  outbox.Applied({{1, 1}});
  outbox.Replay({"instance-0", {1, 1}});
  CHECK_FALSE(outbox.Next().has_value());
  outbox.Replay({"instance-1", {1, 1}});
  CHECK(outbox.Next().has_value());
}

TEST_CASE("metrics tell what the outbox did") {
  base::ManualClock clock;
  telemetry::Registry registry;
  Outbox outbox({.max_batches = 3}, "i", clock, {}, &registry);
  for (int i = 0; i < 4; ++i) outbox.Add(NodeBatch("b", 1, 900), true);
  clock.AdvanceBy(7s);
  outbox.SetPeer(kOurs);
  while (outbox.Next().has_value()) {
  }
  outbox.Applied({{2, 4}});
  const auto has = [&](const std::string& line) {
    const std::string text = registry.Render();
    CAPTURE(line, text);
    CHECK(text.find("\nclusterpulse_collector_" + line + "\n") != std::string::npos);
  };
  has("buffered_batches 3");
  has("batches_sent_total{lane=\"live\"} 1");
  has("batches_sent_total{lane=\"history\"} 2");
  has("batches_applied_total 3");
  has("batches_durable_total 0");
  has("batches_lost_total 1");
  has("durable_age_seconds 7");
  CHECK(outbox.stats().bytes > 3000);

  outbox.Rejected({{3, "bad"}});
  outbox.Durable({4, {}});
  clock.AdvanceBy(5s);
  has("buffered_batches 0");
  has("buffered_bytes 0");
  has("batches_durable_total 2");
  has("batches_rejected_total 1");
  has("batches_lost_total 1");
  has("durable_age_seconds 12");
}

TEST_CASE("rejections are logged, but not each of many") {
  base::ManualClock clock;
  std::vector<std::string> lines;
  const log::Logger log({.sink = [&](std::string_view line) { lines.emplace_back(line); }});
  Outbox outbox({.max_batches = 100}, "i", clock, log);
  outbox.SetPeer(kOurs);
  for (int i = 0; i < 50; ++i) {
    const std::uint64_t seq = outbox.Add(NodeBatch("b"), true);
    REQUIRE(outbox.Next().has_value());
    outbox.Rejected({{seq, "reason-" + std::to_string(seq)}});
  }
  REQUIRE(lines.size() == 5);
  CHECK(lines[4].find("reason-5") != std::string::npos);
  clock.AdvanceBy(60s);
  CHECK_FALSE(outbox.Next().has_value());
  REQUIRE(lines.size() == 6);
  CHECK(lines[5].find("reason-50") != std::string::npos);
  CHECK(lines[5].find("45") != std::string::npos);
}

TEST_CASE("batches may be added while others are sent and acknowledged") {
  base::ManualClock clock;
  telemetry::Registry registry;
  Outbox outbox({.max_batches = 50}, "i", clock, {}, &registry);
  outbox.SetPeer(kOurs);
  constexpr std::uint64_t kBatches = 300;
  std::jthread owner([&] {
    for (std::uint64_t i = 0; i < kBatches; ++i) outbox.Add(NodeBatch("b"), i % 3 == 0);
  });
  std::jthread reader([&] {
    for (int i = 0; i < 50; ++i) registry.Render();
  });
  std::uint64_t taken = 0, broken = 0;
  while (outbox.stats().last_seq < kBatches || outbox.stats().batches > 0) {
    const auto message = outbox.Next();
    if (!message.has_value()) continue;
    const auto decoded = wire::DecodeFromCollector(*message);
    const auto* const batch = decoded.ok() ? std::get_if<model::Batch>(&*decoded) : nullptr;
    if (batch == nullptr) {
      ++broken;
      break;
    }
    ++taken;
    outbox.Applied({{batch->seq, batch->seq}});
    outbox.Durable({0, {{batch->seq, batch->seq}}});
  }
  owner.join();
  reader.join();
  const Outbox::Stats stats = outbox.stats();
  CHECK(broken == 0);
  CHECK(stats.durable == taken);
  CHECK(stats.durable + stats.lost == kBatches);
}

}  // namespace
}  // namespace clusterpulse::link
