#include "tests/soak/delivery_checker.h"

#include <algorithm>

#include <catch2/catch.hpp>

namespace clusterpulse::testing {
namespace {

// Batches 1..4 of "new" and 1..2 of "old", each with two samples; all but the newest is durable.
DeliveryRecord Kept() {
  DeliveryRecord record;
  record.cluster = "quay";
  record.instance = "new";
  record.durable = {.low = 2, .ranges = {{3, 3}}};
  record.in_spool["new"] = {4};
  const auto add = [&](const char* instance, std::uint64_t seq, std::int64_t stamp, bool is_stored) {
    DeliveryRecord::Batch& batch = record.produced[instance][seq];
    batch.stamp_ms = stamp;
    for (const char* series : {"nodes", "pods"}) {
      const std::uint32_t id = record.SeriesId(series);
      const double value = static_cast<double>(stamp) / 3;
      batch.samples.emplace_back(id, value);
      if (is_stored) record.stored[id].push_back({stamp, value});
    }
  };
  for (const std::uint64_t seq : {1, 2}) add("old", seq, 1000 + static_cast<std::int64_t>(seq), true);
  for (const std::uint64_t seq : {1, 2, 3, 4}) add("new", seq, 2000 + static_cast<std::int64_t>(seq), seq < 4);
  return record;
}

void Forget(DeliveryRecord& record, const char* series, std::int64_t stamp) {
  std::erase_if(record.stored[record.SeriesId(series)],
                [stamp](const DeliveryRecord::Sample& sample) { return sample.stamp_ms == stamp; });
}

TEST_CASE("a promise that was kept") {
  DeliveryRecord record = Kept();
  DeliveryVerdict verdict = CheckDelivery(record);
  CHECK(verdict.violations.empty());
  CHECK(verdict.samples == 10);
  CHECK(verdict.counts.at("new") == DeliveryVerdict::Count{4, 3, 1, 0});
  CHECK(verdict.counts.at("old") == DeliveryVerdict::Count{2, 2, 0, 0});

  // What is in a gap may be missing, and what nobody is told of may be stored already.
  Forget(record, "pods", 1002);
  Forget(record, "pods", 2002);
  record.gaps = {{"old", {2, 3}, "collector_lost"}, {"new", {2, 2}, "rejected"}};
  record.stored[record.SeriesId("pods")].push_back({2004, 2004.0 / 3});
  verdict = CheckDelivery(record);
  CHECK(verdict.violations.empty());
  CHECK(verdict.counts.at("new") == DeliveryVerdict::Count{4, 2, 1, 1});
  CHECK(verdict.counts.at("old") == DeliveryVerdict::Count{3, 1, 0, 2});  // 3 was never seen
}

TEST_CASE("each way to break it is found") {
  struct Case {
    const char* name;
    void (*harm)(DeliveryRecord& record);
    DeliveryVerdict::Breach breach;
  };
  using Breach = DeliveryVerdict::Breach;
  const Case cases[] = {
      {"a durable batch lacks a sample", [](DeliveryRecord& r) { Forget(r, "pods", 2003); }, Breach::kLost},
      {"a former instance's batch lacks one", [](DeliveryRecord& r) { Forget(r, "nodes", 1001); }, Breach::kGone},
      {"neither stored nor spooled", [](DeliveryRecord& r) { r.in_spool.clear(); }, Breach::kGone},
      {"a gap of another instance does not count",
       [](DeliveryRecord& r) {
         r.in_spool.clear();
         r.gaps = {{"old", {4, 4}, "spool_overflow"}};
       },
       Breach::kGone},
      {"a sample twice",
       [](DeliveryRecord& r) {
         r.stored[0].push_back({2001, 2001.0 / 3});
       },
       Breach::kTwice},
      {"a sample at another time",
       [](DeliveryRecord& r) {
         r.stored[0].push_back({2009, 3});
       },
       Breach::kWrongTime},
      {"a sample with another value", [](DeliveryRecord& r) { r.stored[0][0].value += 1e-6; }, Breach::kWrongValue},
      {"a series nobody has",
       [](DeliveryRecord& r) {
         r.stored[r.SeriesId("cranes")].push_back({2001, 1});
       },
       Breach::kWrongTime},
      {"a number that was skipped", [](DeliveryRecord& r) { r.produced["old"].erase(1); }, Breach::kUnknown},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      DeliveryRecord record = Kept();
      c.harm(record);
      const DeliveryVerdict verdict = CheckDelivery(record);
      CAPTURE(verdict.ToString());
      CHECK(std::any_of(verdict.violations.begin(), verdict.violations.end(),
                        [&](const DeliveryVerdict::Violation& told) { return told.breach == c.breach; }));
    }
  }
}

TEST_CASE("of many violations of a kind a few are told") {
  DeliveryRecord record = Kept();
  for (int i = 0; i < 100; ++i) record.stored[0].push_back({5000 + i, 1});
  CHECK(CheckDelivery(record).violations.size() == DeliveryVerdict::kMostViolations);
}

}  // namespace
}  // namespace clusterpulse::testing
