#include "hub/ingest/receipts.h"

#include <random>

#include <catch2/catch.hpp>

#include "common/wire/messages.h"
#include "hub/ingest/byte_pace.h"
#include "hub/ingest/flight_budget.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using base::SteadyTime;

const Metrics kNoMetrics;

TEST_CASE("credits hold against a model, whatever is sent, applied, rejected and told") {
  // The collector's view: what it sent and was not told of. It sends what it may, and the hub must agree.
  std::mt19937 random(11);
  const model::Credits credits{4, 1000};
  for (int round = 0; round < 200; ++round) {
    Receipts receipts("i", {}, credits, nullptr, kNoMetrics);
    struct Sent {
      std::uint64_t seq;
      std::size_t bytes;
      bool live;
    };
    std::vector<Sent> in_flight;
    std::deque<Sent> with_hub;
    std::uint64_t seq = 0, bytes = 0;
    SteadyTime now{1h};
    for (int step = 0; step < 200; ++step) {
      now += std::chrono::milliseconds(random() % 15);
      const bool live_out = std::any_of(in_flight.begin(), in_flight.end(), [](const Sent& s) { return s.live; });
      const bool live = random() % 3 == 0;
      const std::size_t size = 1 + random() % (random() % 8 == 0 ? 5000 : 400);
      const bool may = in_flight.empty() || (in_flight.size() < credits.batches && bytes + size <= credits.bytes) ||
                       (live && !live_out);
      if (may) {
        in_flight.push_back({++seq, size, live});
        with_hub.push_back(in_flight.back());
        bytes += size;
        REQUIRE(receipts.Take(size, !live, true));
      }
      if (!with_hub.empty() && random() % 2 == 0) {
        const Sent done = with_hub.front();
        with_hub.pop_front();
        if (random() % 4 == 0) {
          receipts.Rejected({"", done.seq, done.bytes}, "no");
        } else {
          receipts.Applied({"", done.seq, done.bytes}, {.at = now, .state = true, .continuity = 1});
        }
      }
      receipts.Step(now, {1, now});
      while (const auto message = receipts.NextMessage(now)) {
        const auto ack = std::get<model::DeliveryAck>(wire::DecodeFromHub(*message).value());
        const auto told = [&](std::uint64_t s) {
          return std::any_of(ack.applied.begin(), ack.applied.end(),
                             [&](const model::SeqRange& r) { return r.first <= s && s <= r.last; }) ||
                 std::any_of(ack.rejected.begin(), ack.rejected.end(),
                             [&](const model::Rejection& r) { return r.seq == s; });
        };
        for (const Sent& s : in_flight) bytes -= told(s.seq) ? s.bytes : 0;
        in_flight.erase(std::remove_if(in_flight.begin(), in_flight.end(), [&](const Sent& s) { return told(s.seq); }),
                        in_flight.end());
      }
      REQUIRE(receipts.in_flight() == in_flight.size());
    }
  }
}

TEST_CASE("a reason is cut, and whole characters stay") {
  Receipts receipts("i", {}, {16, 1000}, nullptr, kNoMetrics);
  REQUIRE(receipts.Take(10, false, true));
  std::string reason(511, 'x');
  reason += "\xc3\xa9 and more";
  receipts.Rejected({"", 1, 10}, reason);
  const auto ack =
      std::get<model::DeliveryAck>(wire::DecodeFromHub(receipts.NextMessage(SteadyTime{1h}).value()).value());
  CHECK(ack.rejected.at(0).reason == std::string(511, 'x'));
}

TEST_CASE("nothing to tell, nothing due") {
  Receipts receipts("i", {}, {16, 1000}, nullptr, kNoMetrics);
  CHECK(receipts.all_told());
  CHECK(!receipts.next_due(true, SteadyTime{1h}).has_value());
  CHECK(!receipts.NextMessage(SteadyTime{1h}).has_value());
  REQUIRE(receipts.Take(10, false, true));
  receipts.Applied({"", 1, 10}, {.at = SteadyTime{1h}, .state = true, .durable_after = 2s, .continuity = 1});
  CHECK(!receipts.all_told());
  CHECK(receipts.next_due(false, SteadyTime{1h}) == SteadyTime{1h} + 2s);
  CHECK(receipts.NextMessage(SteadyTime{1h}).has_value());
  CHECK(receipts.all_told());
  CHECK(receipts.next_due(true, SteadyTime{1h}) == SteadyTime{1h} + 2s);
}

TEST_CASE("shares of the budget") {
  FlightBudget budget(std::int64_t{256} << 20);
  CHECK(budget.Share() == model::Credits{16, 4u << 20});
  for (int i = 0; i < 64; ++i) budget.Join();
  CHECK(budget.Share().bytes == 4u << 20);
  for (int i = 0; i < 960; ++i) budget.Join();
  CHECK(budget.Share().bytes == 256u << 10);
  for (int i = 0; i < 9000; ++i) budget.Join();
  CHECK(budget.Share().bytes == 64u << 10);
}

TEST_CASE("a pace allows its burst and then its rate") {
  BytePace pace;
  SteadyTime now{1h};
  CHECK(pace.Take(1u << 30, now) == 0ns);  // no limit
  pace.SetRate(1 << 20);
  CHECK(pace.Take(10u << 20, now) == 0ns);  // ten seconds' worth
  CHECK(pace.Take(1u << 20, now) == 1s);
  now += 6s;
  CHECK(pace.Take(5u << 20, now) == 0ns);
  CHECK(pace.Take(1u << 20, now) == 1s);
  now += 100s;
  CHECK(pace.Take(10u << 20, now) == 0ns);  // no more is saved up
}

}  // namespace
}  // namespace clusterpulse::ingest
