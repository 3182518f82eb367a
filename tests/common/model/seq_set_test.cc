#include "common/model/seq_set.h"

#include <random>
#include <set>

#include <catch2/catch.hpp>

using clusterpulse::model::DurablePosition;
using clusterpulse::model::SeqRange;
using clusterpulse::model::SeqSet;

TEST_CASE("ranges join what they touch") {
  struct Case {
    const char* name;
    std::vector<SeqRange> add;
    DurablePosition want;
  };
  const std::vector<Case> cases{
      {"nothing", {}, {0, {}}},
      {"in order", {{1, 1}, {2, 2}, {3, 3}}, {3, {}}},
      {"a hole", {{1, 1}, {3, 3}}, {1, {{3, 3}}}},
      {"the hole is filled", {{1, 1}, {3, 3}, {2, 2}}, {3, {}}},
      {"from behind", {{3, 3}, {2, 2}, {1, 1}}, {3, {}}},
      {"touching ranges", {{5, 6}, {9, 9}, {7, 8}}, {0, {{5, 9}}}},
      {"one over several", {{3, 3}, {5, 5}, {7, 7}, {2, 6}}, {0, {{2, 7}}}},
      {"over the low end", {{1, 4}, {3, 8}}, {8, {}}},
      {"from zero", {{0, 2}}, {2, {}}},
      {"zero alone", {{0, 0}}, {0, {}}},
      {"the last number there is", {{~0ULL, ~0ULL}, {5, 5}, {~0ULL, ~0ULL}}, {0, {{5, 5}, {~0ULL, ~0ULL}}}},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      SeqSet set;
      for (const SeqRange& range : c.add) set.Add(range);
      CHECK(set.position() == c.want);
    }
  }
}

TEST_CASE("Add tells whether anything was new") {
  SeqSet set;
  CHECK(set.Add(2));
  CHECK_FALSE(set.Add(2));
  CHECK(set.Add(SeqRange{1, 3}));
  CHECK_FALSE(set.Add(SeqRange{1, 3}));
  CHECK_FALSE(set.AddUpTo(0));
}

TEST_CASE("a set is the same however its numbers come") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    SeqSet set;
    std::set<std::uint64_t> want;
    for (int i = 0; i < 60; ++i) {
      const std::uint64_t first = 1 + random() % 100;
      const std::uint64_t last = first + random() % 4;
      bool fresh = false;
      for (std::uint64_t seq = first; seq <= last; ++seq) fresh |= want.insert(seq).second;
      CHECK(set.Add(SeqRange{first, last}) == fresh);
    }
    for (std::uint64_t seq = 0; seq <= 110; ++seq) CHECK(set.Contains(seq) == (want.count(seq) == 1));
    CHECK(SeqSet(set.position()) == set);
    std::uint64_t count = 0;
    for (const SeqRange& range : set.Ranges()) count += range.last - range.first + 1;
    CHECK(count == want.size());
  }
}

TEST_CASE("memory is bounded: the highest ranges are forgotten") {
  SeqSet set;
  for (std::uint64_t seq = 2; seq <= 2 * SeqSet::kMostRanges + 10; seq += 2) set.Add(seq);
  CHECK(set.position().ranges.size() == SeqSet::kMostRanges);
  CHECK(set.Contains(2));
  CHECK_FALSE(set.Contains(2 * SeqSet::kMostRanges + 10));
}
