#include "hub/history/durability_watch.h"

#include <catch2/catch.hpp>

namespace clusterpulse::history {
namespace {

using namespace std::chrono_literals;
using base::SteadyTime;
using Seen = DurabilityWatch::Look::Seen;

constexpr std::chrono::milliseconds kAfter = 10s;

// A server that is looked at and written to; times are from an arbitrary zero.
struct World {
  DurabilityWatch watch{kAfter};

  static SteadyTime At(std::chrono::milliseconds t) { return SteadyTime(1h) + t; }
  void Look(std::chrono::milliseconds at, std::int64_t start) {
    watch.On({.sent = At(at), .answered = At(at + 5ms), .seen = Seen::kStart, .start = start});
  }
  void LookWithoutStart(std::chrono::milliseconds at) {
    watch.On({.sent = At(at), .answered = At(at + 5ms), .seen = Seen::kNoStart});
  }
  void LookInVain(std::chrono::milliseconds at) {
    watch.On({.sent = At(at), .answered = At(at + 5ms), .seen = Seen::kNoAnswer});
  }
  // Whether a batch that was sent with `continuity` and accepted at `at` is durable at `now`.
  bool IsDurable(std::uint64_t continuity, std::chrono::milliseconds at, std::chrono::milliseconds now) const {
    const model::DurableMark mark = watch.mark();
    return mark.continuity == continuity && At(now) >= At(at) + kAfter && At(at) <= mark.until;
  }
};

TEST_CASE("a batch is durable once a look sent late enough finds the process it knew") {
  World w;
  w.Look(0s, 100);
  CHECK(w.watch.send_from() == World::At(1005ms));
  const auto continuity = w.watch.continuity();
  CHECK_FALSE(w.IsDurable(continuity, 2s, 60s));
  w.Look(11'999ms, 100);
  CHECK_FALSE(w.IsDurable(continuity, 2s, 60s));
  w.Look(12s, 100);
  CHECK(w.IsDurable(continuity, 2s, 60s));
  CHECK_FALSE(w.IsDurable(continuity, 2001ms, 60s));
  CHECK(w.watch.continuity() == continuity);
}

TEST_CASE("a process that was killed takes what was not durable with it") {
  World w;
  w.Look(0s, 100);
  const auto before = w.watch.continuity();
  w.Look(11s, 100);  // durable until 1 s
  w.Look(13s, 113);  // started anew
  CHECK(w.watch.continuity() != before);
  CHECK_FALSE(w.IsDurable(before, 12s, 60s));
  // Also what was already durable changes its continuity: who has not looked meanwhile asks for it again.
  CHECK_FALSE(w.IsDurable(before, 1s, 60s));
  const auto after = w.watch.continuity();
  CHECK(w.watch.send_from() == World::At(14'005ms));
  w.Look(30s, 113);
  CHECK(w.IsDurable(after, 15s, 60s));
  CHECK_FALSE(w.IsDurable(before, 15s, 60s));
}

TEST_CASE("no answer proves nothing, and breaks nothing") {
  World w;
  w.Look(0s, 100);
  const auto continuity = w.watch.continuity();
  for (auto at = 3s; at < 20min; at += 10s) w.LookInVain(at);
  CHECK_FALSE(w.IsDurable(continuity, 2s, 30min));
  CHECK_FALSE(w.watch.by_time());
  w.Look(20min, 100);  // it was only out of reach
  CHECK(w.IsDurable(continuity, 2s, 30min));
}

TEST_CASE("nodes that answer in turn are each known once") {
  World w;
  w.Look(0s, 100);
  w.Look(2s, 200);
  const auto continuity = w.watch.continuity();
  for (auto at = 4s; at < 60s; at += 2s) w.Look(at, at.count() % 4 == 0 ? 100 : 200);
  CHECK(w.watch.continuity() == continuity);
  CHECK(w.IsDurable(continuity, 40s, 60s));
  w.Look(61s, 300);
  CHECK(w.watch.continuity() != continuity);
}

TEST_CASE("a node seen long ago is forgotten among many, and then new") {
  World w;
  for (std::int64_t i = 0; i <= static_cast<std::int64_t>(DurabilityWatch::kMostStarts); ++i) {
    w.Look(std::chrono::seconds(i), 100 + i);
  }
  const auto continuity = w.watch.continuity();
  w.Look(100s, 101);
  CHECK(w.watch.continuity() == continuity);
  w.Look(101s, 100);
  CHECK(w.watch.continuity() == continuity + 1);
}

TEST_CASE("a server that never tells its start is judged by time") {
  World w;
  const auto continuity = w.watch.continuity();
  w.LookInVain(0s);
  CHECK_FALSE(w.watch.by_time());
  w.LookWithoutStart(1s);
  CHECK(w.watch.by_time());
  CHECK(w.watch.continuity() == continuity);
  CHECK(w.watch.send_from() <= World::At(0s));
  CHECK(w.IsDurable(continuity, 2s, 12s));
  CHECK_FALSE(w.IsDurable(continuity, 2s, 11s));
  // And by its start as soon as it tells it.
  w.Look(20s, 100);
  CHECK_FALSE(w.watch.by_time());
  CHECK(w.watch.continuity() != continuity);
}

TEST_CASE("a start that is not shown any more counts as hidden only after minutes") {
  World w;
  w.Look(0s, 100);
  const auto continuity = w.watch.continuity();
  w.LookWithoutStart(10s);
  w.LookWithoutStart(10s + DurabilityWatch::kGoneFor - 1ms);
  CHECK_FALSE(w.watch.by_time());
  CHECK_FALSE(w.IsDurable(continuity, 2s, 20min));
  SECTION("in one piece") {
    w.LookInVain(10s + DurabilityWatch::kGoneFor);
    w.LookWithoutStart(10s + DurabilityWatch::kGoneFor + 1s);
    CHECK_FALSE(w.watch.by_time());
    CHECK(w.watch.continuity() == continuity);
  }
  SECTION("then what waited is void") {
    w.LookWithoutStart(10s + DurabilityWatch::kGoneFor);
    CHECK(w.watch.by_time());
    CHECK(w.watch.continuity() != continuity);
    CHECK_FALSE(w.IsDurable(continuity, 2s, 20min));
    CHECK(w.IsDurable(w.watch.continuity(), 6min, 20min));
  }
}

TEST_CASE("the start of a process") {
  struct Case {
    std::string name, metrics;
    std::optional<std::int64_t> start;
  };
  const std::string stores = "vm_rows_inserted_total{type=\"prometheus\"} 0\n";
  const std::vector<Case> cases = {
      {"VictoriaMetrics", stores + "process_start_time_seconds 1796009487\nx 1\n", 1796009487},
      {"without an end of line", stores + "process_start_time_seconds 1796009487", 1796009487},
      {"with an exponent", "process_start_time_seconds 1.796009487e+09\n" + stores, 1796009487},
      {"vmauth", "process_start_time_seconds 1796009487\nvmauth_user_requests_total 1\n", std::nullopt},
      {"no start", stores, std::nullopt},
      {"another name", stores + "process_start_time_seconds_x 5\n", std::nullopt},
      {"no number", stores + "process_start_time_seconds x\n", std::nullopt},
      {"no sense", stores + "process_start_time_seconds NaN\n", std::nullopt},
      {"too large", stores + "process_start_time_seconds 1e300\n", std::nullopt},
      {"a page", "<html>process_start_time_seconds 5</html>", std::nullopt},
      {"nothing", "", std::nullopt},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) { CHECK(ParseStart(c.metrics) == c.start); }
  }
}

}  // namespace
}  // namespace clusterpulse::history
