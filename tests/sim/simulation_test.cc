#include "tests/sim/simulation.h"

#include <set>

#include <catch2/catch.hpp>

namespace clusterpulse::sim {

TEST_CASE("the same seed gives the same log, byte for byte, and another seed another") {
  std::set<std::uint64_t> hashes;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    const Result first = Run({.seed = seed}), second = Run({.seed = seed});
    CHECK(first.log_hash == second.log_hash);
    CHECK(first.actions == second.actions);
    CHECK(first.batches > 0);
    hashes.insert(first.log_hash);
  }
  CHECK(hashes.size() == 20);
}

TEST_CASE("a history store that loses more than it may is found out") {
  int found = 0;
  for (std::uint64_t seed = 1; seed <= 100 && found == 0; ++seed) {
    const Result result = Run({.seed = seed, .history_unwritten = std::chrono::seconds(40)});
    for (const std::string& failure : result.failures) found += failure.starts_with("lost: ") ? 1 : 0;
  }
  CHECK(found > 0);
}

TEST_CASE("a day without a hub costs nothing that a spool holds, and what it does not is known") {
  struct Case {
    std::uint64_t spool_bytes;
    bool is_lost;
  };
  const Case c = GENERATE(values<Case>({{std::uint64_t{16} << 20, false}, {std::uint64_t{64} << 10, true}}));
  CAPTURE(c.spool_bytes);
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const Result result = Run({.seed = seed, .outage = std::chrono::hours(24), .outage_spool_bytes = c.spool_bytes});
    CAPTURE(seed, result.failures);
    // Every batch is durable with all its samples, or in a gap that both sides know.
    CHECK(result.failures.empty());
    CHECK(result.batches >= 24 * 120);
    CHECK((result.lost > 0) == c.is_lost);
  }
}

}  // namespace clusterpulse::sim
