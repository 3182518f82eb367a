#include "collector/sources/source_set.h"

#include <functional>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"
#include "common/metricsource/reader.h"
#include "tests/collector/sources/definitions.h"

namespace clusterpulse::sources {
namespace {

using namespace std::chrono_literals;
using Strings = std::vector<std::string>;

// 0.5 from Uniform, always.
class Halfway final : public base::Random {
 public:
  std::uint64_t Next() override { return std::uint64_t{1} << 63; }
};

struct Fixture {
  base::ManualClock clock;
  Halfway random;
  SourceSet set{clock, random};
  const base::SteadyTime start = clock.Steady();

  static metricsource::Collection Rows(const metricsource::Source& source, int count) {
    metricsource::Collection out(source);
    metricsource::RowReader reader(source, {});
    json::Parser parser;
    for (int i = 0; i < count; ++i) {
      const metricsource::RowMeta meta{.ns = "a", .name = "n"};
      REQUIRE(out.rows.AppendJson(parser, meta, fmt::format(R"({{"size":{}}})", i)).ok());
    }
    out.duration = 5ms;
    return out;
  }
  static metricsource::Collection Failed(const metricsource::Source& source, const std::string& failure) {
    metricsource::Collection out(source);
    out.failure = failure;
    out.message = "it did not";
    return out;
  }
  // One run that gives so many rows, or fails.
  SourceSet::Ended RunOnce(int rows, std::chrono::milliseconds takes = 0ms) {
    const auto run = set.Begin();
    REQUIRE(run.has_value());
    clock.AdvanceBy(takes);
    return set.End(*run, Rows(*run->source, rows));
  }
  SourceSet::Ended FailOnce(const std::string& failure = "Forbidden", std::chrono::milliseconds takes = 0ms) {
    const auto run = set.Begin();
    REQUIRE(run.has_value());
    clock.AdvanceBy(takes);
    return set.End(*run, Failed(*run->source, failure));
  }
  std::vector<model::SourceResult> Take(bool full = false) { return set.Take(full, true, clock.Now()).results; }
  // "hub/maps 3 rows", "hub/maps Forbidden"
  Strings Told(bool full = false) {
    Strings out;
    for (const model::SourceResult& result : Take(full)) {
      out.push_back(result.failure.empty() ? fmt::format("{} {} rows", result.source, result.rows.size())
                                           : fmt::format("{} {}", result.source, result.failure));
    }
    return out;
  }
  // When the next run is due; -1: none.
  std::int64_t DueIn() const {
    const auto due = set.due();
    return due ? std::chrono::duration_cast<std::chrono::milliseconds>(*due - clock.Steady()).count() : -1;
  }
};

TEST_CASE("a source runs at once, then spread over a whole interval, then on ticks that do not drift") {
  Fixture f;
  REQUIRE(f.set.Apply({Definition{.interval = 60}.Text()}).problems.empty());
  CHECK(f.DueIn() == 0);
  f.RunOnce(1, 700ms);
  CHECK(f.set.due() == f.start + 45s);  // (1/4 + 1/2) of 60 s
  CHECK_FALSE(f.set.Begin().has_value());
  for (int i = 0; i < 3; ++i) {
    f.clock.AdvanceBy(std::chrono::milliseconds(f.DueIn()) + 3ms);
    f.RunOnce(1, 900ms);
    CHECK(f.set.due() == f.start + 45s + (i + 1) * 60s);
  }
  // The machine slept, or a run took long: what was missed is skipped.
  f.clock.AdvanceBy(200s);
  f.RunOnce(1);
  CHECK(f.set.due() == f.start + 45s + 6 * 60s);
}

TEST_CASE("one that fails is repeated after half its interval, at least 30 s, and then goes on with its ticks") {
  struct Case {
    std::string name;
    int interval;
    std::chrono::seconds retry;
  };
  const std::vector<Case> cases = {{"short", 30, 30s}, {"middle", 60, 30s}, {"long", 400, 200s}};
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Fixture f;
      f.set.Apply({Definition{.interval = c.interval}.Text()});
      CHECK(f.FailOnce("TimedOut", 10s).is_news);
      CHECK(f.set.due() == f.start + 10s + c.retry);
      f.clock.AdvanceBy(c.retry);
      const auto again = f.clock.Steady();
      CHECK_FALSE(f.FailOnce("TimedOut").is_news);
      CHECK(f.set.due() == again + c.retry);
      f.clock.AdvanceBy(c.retry);
      CHECK(f.RunOnce(1).is_news);
      const auto first = std::chrono::milliseconds(c.interval * 750);
      CHECK((*f.set.due() - f.start - first) % std::chrono::seconds(c.interval) == 0s);
      CHECK(*f.set.due() > f.clock.Steady());
      CHECK(*f.set.due() <= f.clock.Steady() + std::chrono::seconds(c.interval));
    }
  }
}

TEST_CASE("a run that lost namespaces is repeated sooner too") {
  Fixture f;
  f.set.Apply({Definition{.interval = 300}.Text()});
  const auto run = f.set.Begin();
  auto rows = Fixture::Rows(*run->source, 2);
  rows.errors = {"namespace a: forbidden"};
  CHECK(f.set.End(*run, std::move(rows)).is_news);
  CHECK(f.DueIn() == 150000);
  const auto told = f.Take();
  REQUIRE(told.size() == 1);
  CHECK(told[0].errors == 1);
  CHECK(told[0].message == "namespace a: forbidden");
}

TEST_CASE("each has its own time: what runs is not begun again, and the one that waits longest is first") {
  Fixture f;
  f.set.Apply({Definition{.name = "a"}.Text(), Definition{.name = "b"}.Text()});
  const auto slow = f.set.Begin(), fast = f.set.Begin();
  REQUIRE(slow.has_value());
  REQUIRE(fast.has_value());
  CHECK(slow->source->id == "hub/a");
  CHECK_FALSE(f.set.Begin().has_value());
  CHECK_FALSE(f.set.due().has_value());
  f.set.End(*fast, Fixture::Rows(*fast->source, 2));
  CHECK(f.Told() == Strings{"hub/b 2 rows"});
  f.clock.AdvanceBy(100s);
  f.RunOnce(3);  // b again, although a still runs
  CHECK(f.Told() == Strings{"hub/b 3 rows"});
  CHECK(f.set.last_turn() == f.start + 30s);  // a is beyond its time
  f.set.End(*slow, Fixture::Rows(*slow->source, 1));
  CHECK(f.set.last_turn() == f.clock.Steady());
  CHECK(f.Told() == Strings{"hub/a 1 rows"});
}

TEST_CASE("a batch has what is new, a full one the newest of all") {
  Fixture f;
  f.set.Apply({Definition{.name = "a"}.Text(), Definition{.name = "b"}.Text()});
  CHECK(f.Told(true).empty());
  f.RunOnce(1);
  f.RunOnce(2);
  CHECK(f.Told() == Strings{"hub/a 1 rows", "hub/b 2 rows"});
  CHECK(f.Told().empty());
  CHECK(f.Told(true) == Strings{"hub/a 1 rows", "hub/b 2 rows"});
  CHECK(f.Told().empty());
  f.clock.AdvanceBy(100s);
  f.RunOnce(5);
  CHECK(f.Told() == Strings{"hub/a 5 rows"});
}

TEST_CASE("more rows than one message holds are made when they are wanted") {
  Fixture f;
  f.set.Apply({Definition{.name = "a"}.Text(), Definition{.name = "b"}.Text(), Definition{.name = "c"}.Text()});
  f.RunOnce(SourceSet::kMostRows - 1);
  f.RunOnce(2);
  f.RunOnce(1);
  const auto taken = f.set.Take(false, true, f.clock.Now());
  REQUIRE(taken.results.size() == 2);
  CHECK(taken.results[0].rows.size() == SourceSet::kMostRows - 1);
  CHECK(taken.results[1].source == "hub/c");
  REQUIRE(taken.streams.size() == 1);
  const model::RowStream& stream = taken.streams[0];
  CHECK(stream.count == 2);
  model::SourceResult b = stream.head;
  CHECK(b.rows.empty());
  f.set.Apply({});  // they outlive their source
  stream.append(0, 1, b.rows);
  stream.append(1, 2, b.rows);
  CHECK(b.source == "hub/b");
  CHECK(b.resource_count == 2);
  CHECK(b.definition_hash == "1111");
  CHECK(b.rows.at(1).values_json == R"({"size":1,"team":null,"kib":null})");
  CHECK(b.aggregations_json == R"({"total":0,"by_team":{"_unknown_":2}})");
}

TEST_CASE("what a source gave before it failed goes first, the failure with the next batch") {
  Fixture f;
  f.set.Apply({Definition().Text()});
  f.RunOnce(3);
  f.clock.AdvanceBy(60s);
  f.FailOnce();
  const auto first = f.set.Take(false, true, f.clock.Now());
  REQUIRE(first.results.size() == 1);
  CHECK(first.results[0].rows.size() == 3);
  CHECK(first.results[0].age == 60s);
  CHECK(first.has_more);
  const auto second = f.set.Take(false, true, f.clock.Now());
  REQUIRE(second.results.size() == 1);
  CHECK(second.results[0].failure == "Forbidden");
  CHECK(second.results[0].message == "it did not");
  CHECK(second.results[0].definition_hash == "1111");
  CHECK(second.results[0].age == 0s);
  CHECK_FALSE(second.has_more);
  CHECK(f.Told().empty());
  // The rows are not forgotten: the hub of the next stream may not have them.
  CHECK(f.Told(true) == Strings{"hub/maps 3 rows"});
  CHECK(f.Told() == Strings{"hub/maps Forbidden"});
  // Nor is a failure told that is over.
  f.clock.AdvanceBy(60s);
  f.RunOnce(4);
  CHECK(f.Told(true) == Strings{"hub/maps 4 rows"});
  CHECK(f.Told().empty());
}

TEST_CASE("an upstream hub is told no failures") {
  Fixture f;
  f.set.Apply({Definition{.name = "a"}.Text(), Definition{.name = "b"}.Text()});
  f.RunOnce(3);
  f.FailOnce();
  f.clock.AdvanceBy(60s);
  f.FailOnce();
  f.FailOnce();
  const auto taken = f.set.Take(true, false, f.clock.Now());
  REQUIRE(taken.results.size() == 1);
  CHECK(taken.results[0].rows.size() == 3);
  CHECK_FALSE(taken.has_more);
  CHECK(f.Told() == Strings{"hub/a Forbidden", "hub/b Forbidden"});
}

TEST_CASE("one bad definition changes nothing for the others, nor for its last good version") {
  Fixture f;
  const std::string good = Definition{.name = "a"}.Text(), other = Definition{.name = "b"}.Text();
  CHECK(f.set.Apply({good, other}).in_force == 2);
  f.RunOnce(1);
  f.RunOnce(2);
  f.Told();
  const std::string bad = Definition{.name = "a", .hash = "2222", .path = ".spec['x"}.Text();
  const auto applied = f.set.Apply({bad, other});
  REQUIRE(applied.problems.size() == 1);
  CHECK(applied.problems[0].find("metric source hub/a: rejected: spec.fields[0].path") == 0);
  CHECK(applied.problems[0].find('\n') == std::string::npos);
  CHECK(applied.in_force == 2);
  CHECK(applied.rejected == 1);
  CHECK_FALSE(applied.is_changed);
  CHECK(applied.has_news);
  CHECK(f.set.definitions() == Strings{good, other});
  const auto told = f.Take();
  REQUIRE(told.size() == 1);
  CHECK(told[0].source == "hub/a");
  CHECK(told[0].failure == "Rejected");
  CHECK(told[0].definition_hash == "2222");
  CHECK(told[0].message.find("spec.fields[0].path") == 0);
  // The same again is no news, but still a problem.
  const auto again = f.set.Apply({bad, other});
  CHECK(again.problems == applied.problems);
  CHECK_FALSE(again.has_news);
  CHECK(f.Told().empty());
  // The version before goes on, and what it gives does not hide the rejection.
  f.clock.AdvanceBy(45s);
  f.RunOnce(7);
  CHECK(f.Told() == Strings{"hub/a 7 rows"});
  CHECK(f.Told() == Strings{"hub/a Rejected"});
  // Taken back: the hub is told the rows once more, or it would believe in the rejection.
  const auto back = f.set.Apply({good, other});
  CHECK(back.problems.empty());
  CHECK(back.has_news);
  CHECK(f.Told() == Strings{"hub/a 7 rows"});
  CHECK(f.Told().empty());
}

TEST_CASE("definitions that cannot be used at all") {
  struct Case {
    std::string name;
    Strings texts;
    Strings problems;
    Strings told;
  };
  const std::string good = Definition().Text();
  const std::vector<Case> cases = {
      {"no JSON", {"{", good}, {"metric source 1: rejected: no JSON object"}, {}},
      {"a list", {good, "[1]"}, {"metric source 2: rejected: no JSON object"}, {}},
      {"no name",
       {R"({"namespace":"hub"})"},
       {"metric source 1: rejected: no namespace and name of a MetricSource"},
       {}},
      {"no name of one",
       {R"({"namespace":"hub","name":"a/b"})"},
       {"metric source 1: rejected: no namespace and name of a MetricSource"},
       {}},
      {"twice", {good, good}, {"metric source hub/maps: rejected: it is there twice"}, {}},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Fixture f;
      const auto applied = f.set.Apply(c.texts);
      CHECK(applied.problems == c.problems);
      CHECK(applied.in_force == c.texts.size() - 1);
      CHECK(f.Told() == c.told);
    }
  }
  Fixture f;
  const auto applied = f.set.Apply({R"({"namespace":"hub","name":"empty","hash":"33"})"});
  CHECK(applied.problems.size() == 1);
  CHECK(applied.in_force == 0);
  CHECK_FALSE(f.set.due().has_value());
  CHECK(f.set.definitions().empty());
  const auto told = f.Take();
  REQUIRE(told.size() == 1);
  CHECK(told[0].failure == "Rejected");
  CHECK(told[0].definition_hash == "33");
}

TEST_CASE("the same definitions again restart nothing, nor do those made at another time") {
  Fixture f;
  f.set.Apply({Definition().Text()});
  const auto run = f.set.Begin();
  REQUIRE(run.has_value());
  SECTION("equal") { CHECK_FALSE(f.set.Apply({Definition().Text()}).is_changed); }
  SECTION("another time") { CHECK(f.set.Apply({Definition{.compiled_at = "2031-05-05T06:07:08Z"}.Text()}).is_changed); }
  CHECK_FALSE(run->stop.stop_requested());
  CHECK(f.set.End(*run, Fixture::Rows(*run->source, 2)).is_used);
  CHECK(f.Told() == Strings{"hub/maps 2 rows"});
  // Its hub names it otherwise: the rows are told under the name it waits for.
  const auto applied = f.set.Apply({Definition{.hash = "4444"}.Text()});
  CHECK(applied.has_news);
  const auto told = f.Take();
  REQUIRE(told.size() == 1);
  CHECK(told[0].definition_hash == "4444");
  CHECK(f.DueIn() > 0);
}

TEST_CASE("another version begins at once, and what the old one gave is gone") {
  Fixture f;
  f.set.Apply({Definition().Text()});
  f.RunOnce(1);
  f.clock.AdvanceBy(60s);
  const auto old = f.set.Begin();
  const auto applied = f.set.Apply({Definition{.hash = "5555", .path = ".data.bytes"}.Text()});
  CHECK(applied.is_changed);
  CHECK(applied.gone.empty());
  CHECK(old->stop.stop_requested());
  CHECK(f.DueIn() == 0);
  CHECK(f.Told(true).empty());
  CHECK_FALSE(f.set.End(*old, Fixture::Rows(*old->source, 9)).is_used);
  CHECK(f.Told(true).empty());
  const auto run = f.set.Begin();
  REQUIRE(run.has_value());
  CHECK_FALSE(run->stop.stop_requested());
  CHECK(f.set.End(*run, Fixture::Rows(*run->source, 2)).is_news);
  const auto told = f.Take();
  REQUIRE(told.size() == 1);
  CHECK(told[0].definition_hash == "5555");
}

TEST_CASE("a source that is removed vanishes, the last one too") {
  Fixture f;
  f.set.Apply({Definition{.name = "a"}.Text(), Definition{.name = "b"}.Text()});
  f.RunOnce(1);
  const auto run = f.set.Begin();
  auto applied = f.set.Apply({Definition{.name = "a"}.Text()});
  CHECK(applied.gone == Strings{"hub/b"});
  CHECK(run->stop.stop_requested());
  CHECK_FALSE(f.set.End(*run, Fixture::Rows(*run->source, 1)).is_used);
  CHECK(f.Told(true) == Strings{"hub/a 1 rows"});
  applied = f.set.Apply({});
  CHECK(applied.gone == Strings{"hub/a"});
  CHECK(applied.is_changed);
  CHECK(f.set.definitions().empty());
  CHECK(f.Told(true).empty());
  CHECK_FALSE(f.set.due().has_value());
}

// Of what a batch says, to the millisecond: when the run began.
base::SystemTime BeganAt(base::SystemTime collected_at, const model::SourceResult& result) {
  return base::SystemTime(std::chrono::floor<std::chrono::milliseconds>(collected_at.time_since_epoch())) - result.age;
}

TEST_CASE("a result that is told again has the same time, whatever the clock does") {
  struct Case {
    std::string name;
    std::chrono::nanoseconds step;
  };
  const std::vector<Case> cases = {{"none", 0s}, {"forward", 3600s}, {"a little", 300us}, {"back a bit", -5s}};
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Fixture f;
      f.clock.AdvanceBy(123456789ns);
      const base::SystemTime began = f.clock.Now();
      f.set.Apply({Definition().Text()});
      f.RunOnce(1, 1234ms);
      f.clock.AdvanceBy(10s + 7654321ns);
      const auto first = f.Take();
      const base::SystemTime told = BeganAt(f.clock.Now(), first.at(0));
      CHECK(std::chrono::abs(told - began) <= 1ms);
      for (int i = 0; i < 20; ++i) {
        f.clock.AdvanceBy(1100100us);
        if (i == 10) f.clock.SetSystem(f.clock.Now() + std::chrono::duration_cast<base::SystemTime::duration>(c.step));
        const auto again = f.Take(true);
        CHECK(BeganAt(f.clock.Now(), again.at(0)) == told);
      }
    }
  }
}

TEST_CASE("no age is negative, also when the clock is set to before the run") {
  Fixture f;
  f.set.Apply({Definition().Text()});
  f.RunOnce(1);
  SECTION("before anybody was told") {}
  SECTION("after") {
    f.clock.AdvanceBy(1s);
    CHECK(f.Take().at(0).age == 1s);
    f.clock.AdvanceBy(-1s);
  }
  f.clock.AdvanceBy(2s);
  f.clock.SetSystem(f.clock.Now() - 24h);
  const auto told = f.Take(true);
  CHECK(told.at(0).age == 2s);
  const auto began = BeganAt(f.clock.Now(), told[0]);
  f.clock.AdvanceBy(33s);
  CHECK(BeganAt(f.clock.Now(), f.Take(true).at(0)) == began);
}

TEST_CASE("texts from outside fit on the wire") {
  Fixture f;
  f.set.Apply({Definition().Text()});
  const auto run = f.set.Begin();
  auto failed = Fixture::Failed(*run->source, "Refused");
  std::string expected;
  SECTION("no UTF-8") {
    failed.message = "bad \xff byte";
    expected = "bad ? byte";
  }
  SECTION("long") {
    for (int i = 0; i < 3000; ++i) failed.message += "ä";
    failed.message.insert(0, "x");
    expected = failed.message.substr(0, 2047);
  }
  f.set.End(*run, std::move(failed));
  CHECK(f.Take().at(0).message == expected);
}

TEST_CASE("a stop reaches all runs, and what they then give is not used") {
  Fixture f;
  f.set.Apply({Definition{.name = "a"}.Text(), Definition{.name = "b"}.Text()});
  const auto a = f.set.Begin(), b = f.set.Begin();
  f.set.StopRuns();
  CHECK(a->stop.stop_requested());
  CHECK(b->stop.stop_requested());
  CHECK_FALSE(f.set.End(*a, Fixture::Failed(*a->source, "Stopped")).is_used);
  CHECK(f.Told().empty());
}

}  // namespace
}  // namespace clusterpulse::sources
