#include "hub/ingest/replay_plan.h"

#include <random>
#include <set>

#include <catch2/catch.hpp>

#include "common/model/seq_set.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;
using base::SteadyTime;
using model::SeqRange;

constexpr SteadyTime kNow{1h};

std::optional<SeqRange> Range(std::uint64_t first, std::uint64_t last) { return SeqRange{first, last}; }

TEST_CASE("what was lost is asked for oldest first, a few at a time") {
  ReplayPlan plan;
  CHECK(plan.empty());
  CHECK(plan.next_due(16) == SteadyTime::max());
  plan.Lost({40, 41});
  plan.Lost({1, 20});
  CHECK(plan.next_due(16) <= kNow);
  CHECK(plan.Next(16, kNow) == Range(1, 16));
  CHECK(plan.Next(16, kNow) == std::nullopt);
  CHECK(plan.next_due(16) == kNow + ReplayPlan::kAskAgain);
  plan.Settled({3, 5});
  CHECK(plan.Next(16, kNow) == Range(17, 19));
  plan.Settled({1, 18});
  CHECK(plan.Next(16, kNow) == Range(20, 20));
  CHECK(plan.Next(16, kNow) == Range(40, 41));
  CHECK(plan.empty());
}

TEST_CASE("no more is asked for than the credits allow") {
  ReplayPlan plan;
  plan.Lost({1, 100});
  CHECK(plan.Next(0, kNow) == std::nullopt);
  CHECK(plan.next_due(0) == SteadyTime::max());
  CHECK(plan.Next(4, kNow) == Range(1, 4));
  CHECK(plan.Next(4, kNow) == std::nullopt);
  CHECK(plan.Next(6, kNow) == Range(5, 6));
}

TEST_CASE("what does not come is asked for again, and holds nothing else up") {
  ReplayPlan plan;
  plan.Lost({1, 40});
  CHECK(plan.Next(16, kNow) == Range(1, 16));
  plan.Settled({2, 16});
  CHECK(plan.Next(16, kNow + 29s) == Range(17, 31));
  const SteadyTime later = kNow + 31s;
  plan.Settled({17, 31});
  CHECK(plan.Next(16, later) == Range(32, 40));  // after 1, which did not come
  plan.Settled({32, 40});
  CHECK(plan.Next(16, later) == Range(1, 1));
  plan.Settled({1, 1});
  CHECK(plan.empty());
  CHECK(plan.next_due(16) == SteadyTime::max());
}

TEST_CASE("too many ranges become fewer, and none is forgotten") {
  ReplayPlan plan;
  std::mt19937 random(5);
  std::set<std::uint64_t> lost;
  for (int i = 0; i < 3000; ++i) {
    const std::uint64_t seq = 1 + random() % 100000;
    lost.insert(seq);
    plan.Lost({seq, seq});
    REQUIRE(plan.lost().size() <= ReplayPlan::kMostRanges);
  }
  for (const std::uint64_t seq : lost) REQUIRE(model::Contains(plan.lost(), seq));
}

TEST_CASE("a plan against a model: everything lost is asked for until it is settled") {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    ReplayPlan plan;
    std::set<std::uint64_t> wanted;
    SteadyTime now = kNow;
    for (int step = 0; step < 300; ++step) {
      now += std::chrono::seconds(random() % 4);
      const std::uint64_t first = 1 + random() % 60, last = first + random() % 5;
      if (random() % 2 == 0) {
        plan.Lost({first, last});
        for (std::uint64_t seq = first; seq <= last; ++seq) wanted.insert(seq);
      } else {
        plan.Settled({first, last});
        for (std::uint64_t seq = first; seq <= last; ++seq) wanted.erase(seq);
      }
      if (const auto range = plan.Next(8, now)) {
        REQUIRE(range->first <= range->last);
        REQUIRE(range->last - range->first < 8);
        for (std::uint64_t seq = range->first; seq <= range->last; ++seq) REQUIRE(wanted.contains(seq));
      }
    }
    // From now on all that is asked for comes.
    for (int i = 0; i < 100 && !wanted.empty(); ++i) {
      now += ReplayPlan::kAskAgain;
      while (const auto range = plan.Next(8, now)) {
        plan.Settled(*range);
        for (std::uint64_t seq = range->first; seq <= range->last; ++seq) wanted.erase(seq);
      }
    }
    CHECK(wanted.empty());
    CHECK(plan.empty());
  }
}

}  // namespace
}  // namespace clusterpulse::ingest
