#include "collector/app/batcher.h"

#include <atomic>
#include <set>

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"

namespace clusterpulse::collector {
namespace {

using namespace std::chrono_literals;

struct Made {
  std::chrono::milliseconds at;  // since the start
  bool full;
  bool operator==(const Made&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Made& made) {
  return out << made.at.count() << (made.full ? " full" : "");
}

struct Fixture {
  base::ManualClock clock;
  base::SeededRandom random{1};
  bool current = true, connected = true, pending = false;
  observe::Observation observation;
  std::chrono::milliseconds observing{0};        // it takes
  std::vector<sources::SourceSet::Taken> taken;  // by the next batches
  std::vector<bool> asked_full;
  std::size_t streamed = 0;
  std::vector<model::Batch> batches;
  std::vector<Made> made;
  const base::SteadyTime start = clock.Steady();
  Batcher batcher{
      {.cluster = "edge-1", .interval = 30s},
      {.is_current = [this] { return current; },
       .is_connected = [this] { return connected; },
       .is_pending = [this] { return pending; },
       .observe =
           [this](bool full) {
             asked_full.push_back(full);
             clock.AdvanceBy(observing);
             return observation;
           },
       .sources =
           [this](bool full, base::SystemTime) {
             CHECK(full == asked_full.back());
             if (taken.empty()) return sources::SourceSet::Taken();
             sources::SourceSet::Taken first = std::move(taken.front());
             taken.erase(taken.begin());
             return first;
           },
       .deliver =
           [this](model::Batch batch, std::vector<model::RowStream> streams, bool full) {
             streamed += streams.size();
             made.push_back({std::chrono::duration_cast<std::chrono::milliseconds>(clock.Steady() - start), full});
             batches.push_back(std::move(batch));
           }},
      clock,
      random};

  Fixture() { observation.snapshot.namespaces = {"default"}; }
  // Steps when the batcher asks to, for so long.
  void RunFor(std::chrono::milliseconds time) {
    const base::SteadyTime end = clock.Steady() + time;
    while (true) {
      const base::SteadyTime next = batcher.Step();
      if (next > end) break;
      clock.AdvanceBy(next - clock.Steady());
    }
    clock.AdvanceBy(end - clock.Steady());
  }
  std::vector<Made> Take() { return std::exchange(made, {}); }
};

TEST_CASE("a batch each interval: the first at once and full") {
  Fixture f;
  f.RunFor(65s);
  CHECK(f.Take() == std::vector<Made>{{0ms, true}, {30s, false}, {60s, false}});
  std::set<std::string> ids;
  for (const model::Batch& batch : f.batches) {
    CHECK(batch.cluster == "edge-1");
    CHECK(batch.interval == 30s);
    CHECK(batch.snapshot.namespaces == std::vector<std::string>{"default"});
    ids.insert(batch.id);
  }
  CHECK(ids.size() == 3);
  CHECK(f.batches[1].collected_at - f.batches[0].collected_at == 30s);
  CHECK(f.asked_full == std::vector<bool>{true, false, false});
}

TEST_CASE("ticks neither drift nor pile up") {
  Fixture f;
  f.observing = 700ms;  // late by the work and by the scheduler
  f.batcher.Step();
  for (int i = 1; i <= 3; ++i) {
    f.clock.AdvanceBy(30s * i + 3ms * i - (f.clock.Steady() - f.start));
    f.batcher.Step();
  }
  CHECK(f.Take() == std::vector<Made>{{700ms, true}, {30703ms, false}, {60706ms, false}, {90709ms, false}});
  // The machine slept: one batch, then on with the old grid.
  f.clock.AdvanceBy(170s - (f.clock.Steady() - f.start));
  f.observing = 0ms;
  f.RunFor(15s);
  CHECK(f.Take() == std::vector<Made>{{170s, false}, {180s, false}});
}

TEST_CASE("a connect brings a full batch at once, and the ticks go on") {
  Fixture f;
  f.RunFor(10s);
  f.Take();
  f.batcher.Connected();
  f.RunFor(25s);
  CHECK(f.Take() == std::vector<Made>{{10s, true}, {30s, false}});
  f.batcher.Connected();
  f.batcher.Connected();  // two before it came around: one batch
  f.RunFor(1s);
  CHECK(f.Take() == std::vector<Made>{{35s, true}});
}

TEST_CASE("news brings an early batch at once, then at most one in two seconds") {
  Fixture f;
  f.RunFor(5s);
  f.Take();
  f.batcher.News();
  CHECK(f.batcher.Step() == f.start + 30s);
  CHECK(f.Take() == std::vector<Made>{{5s, false}});
  f.clock.AdvanceBy(500ms);
  f.batcher.News();
  CHECK(f.batcher.Step() == f.start + 7s);
  f.batcher.News();
  f.RunFor(5s);
  CHECK(f.Take() == std::vector<Made>{{7s, false}});
  // Constant news.
  for (int i = 0; i < 99; ++i) {
    f.batcher.News();
    f.RunFor(100ms);
  }
  CHECK(f.Take() ==
        std::vector<Made>{{10500ms, false}, {12500ms, false}, {14500ms, false}, {16500ms, false}, {18500ms, false}});
}

TEST_CASE("news that another batch carries makes no batch of its own") {
  Fixture f;
  f.RunFor(1s);
  f.batcher.News();
  f.RunFor(500ms);
  f.Take();
  f.batcher.News();  // held back until 3 s
  f.batcher.Connected();
  f.RunFor(10s);
  CHECK(f.Take() == std::vector<Made>{{1500ms, true}});
}

TEST_CASE("right after a tick news is still told at once") {
  Fixture f;
  f.RunFor(30s);
  f.Take();
  f.RunFor(100ms);
  f.Take();
  f.batcher.News();
  f.RunFor(1s);
  CHECK(f.Take() == std::vector<Made>{{30100ms, false}});
}

TEST_CASE("while disconnected there is a batch each interval and none early") {
  Fixture f;
  f.connected = false;
  f.RunFor(1s);
  f.Take();
  for (int i = 0; i < 60; ++i) {
    f.batcher.News();
    f.RunFor(1s);
  }
  CHECK(f.Take() == std::vector<Made>{{30s, false}, {60s, false}});
  f.connected = true;
  f.batcher.Connected();
  f.RunFor(5s);
  CHECK(f.Take() == std::vector<Made>{{61s, true}});
}

TEST_CASE("news that comes before the link says that it is connected is not lost") {
  Fixture f;
  f.batcher.Connected();
  f.RunFor(1s);
  f.Take();
  f.connected = false;
  f.batcher.News();
  f.RunFor(1s);
  CHECK(f.Take().empty());
  f.connected = true;
  f.RunFor(2s);
  CHECK(f.Take().size() == 1);
}

TEST_CASE("another interval is in force at once and counts from the last tick") {
  struct Case {
    std::string name;
    std::chrono::seconds interval;
    std::vector<Made> made;
  };
  const std::vector<Case> cases = {
      {"shorter, already past", 5s, {{10s, false}, {15s, false}, {20s, false}}},
      {"shorter, still to come", 12s, {{12s, false}}},
      {"longer", 120s, {}},
      {"the same", 30s, {}},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Fixture f;
      f.RunFor(10s);
      f.Take();
      f.batcher.SetInterval(c.interval);
      CHECK(f.batcher.status().interval == c.interval);
      f.RunFor(11s);
      CHECK(f.Take() == c.made);
      if (!c.made.empty()) CHECK(f.batches.back().interval == c.interval);
    }
  }
}

TEST_CASE("the first batch waits for the first sync, but not for ever") {
  Fixture f;
  f.current = false;
  f.batcher.Connected();
  f.batcher.News();
  f.RunFor(59s);
  CHECK(f.Take().empty());
  SECTION("it comes") {
    f.current = true;
    f.RunFor(29s);
    CHECK(f.Take() == std::vector<Made>{{59s, true}});
  }
  SECTION("it does not come: what is there is sent") {
    f.RunFor(40s);
    CHECK(f.Take() == std::vector<Made>{{60s, true}, {90s, false}});
    f.current = true;  // and the rest soon after it was read
    f.RunFor(10s);
    CHECK(f.Take() == std::vector<Made>{{99s, false}});
  }
}

TEST_CASE("that the cluster can be read again is news") {
  Fixture f;
  f.RunFor(10s);
  f.Take();
  f.current = false;
  f.RunFor(25s);
  CHECK(f.Take() == std::vector<Made>{{30s, false}});
  f.current = true;
  f.RunFor(10s);
  CHECK(f.Take() == std::vector<Made>{{35s, false}});
  f.RunFor(10s);
  CHECK(f.Take().empty());
}

TEST_CASE("news waits while the hub has not taken the last batch; the interval does not") {
  Fixture f;
  f.RunFor(1s);
  f.Take();
  f.pending = true;
  for (int i = 0; i < 50; ++i) {
    f.batcher.News();
    f.RunFor(1s);
  }
  CHECK(f.Take() == std::vector<Made>{{30s, false}});
  f.pending = false;
  f.RunFor(1s);
  CHECK(f.Take() == std::vector<Made>{{51s, false}});
  f.pending = true;
  f.batcher.News();
  f.batcher.Connected();  // a full one is not held back, and carries the news
  f.RunFor(1s);
  f.pending = false;
  f.RunFor(5s);
  CHECK(f.Take() == std::vector<Made>{{52s, true}});
}

TEST_CASE("nothing known is no batch") {
  Fixture f;
  f.observation = {};
  f.RunFor(70s);
  CHECK(f.Take().empty());
  CHECK(f.asked_full.size() == 3);
}

TEST_CASE("two batches of one moment have two times") {
  Fixture f;
  f.batcher.Step();
  f.batcher.Connected();
  f.clock.AdvanceBy(200us);
  f.batcher.Step();
  f.batcher.Connected();
  f.batcher.Step();
  REQUIRE(f.batches.size() == 3);
  CHECK(f.batches[1].collected_at == f.batches[0].collected_at + 1ms);
  CHECK(f.batches[2].collected_at == f.batches[0].collected_at + 2ms);
  f.clock.SetSystem(f.clock.Now() - 1h);
  f.batcher.Connected();
  f.batcher.Step();
  CHECK(f.batches[3].collected_at == f.clock.Now());
}

TEST_CASE("the first batch with nodes and counts after some without tells of the hole") {
  Fixture f;
  const auto read = [&](bool nodes, bool counts) {
    f.observation.snapshot.nodes.reset();
    f.observation.snapshot.counts.reset();
    if (nodes) f.observation.snapshot.nodes.emplace();
    if (counts) f.observation.snapshot.counts.emplace();
  };
  const auto gap = [&](std::size_t from, std::size_t to) {
    return std::vector<model::Gap>{
        {{}, f.batches[from].collected_at, f.batches[to].collected_at, model::GapCause::kListFailed}};
  };
  SECTION("since the last that had them") {
    read(true, true);
    f.RunFor(31s);
    const bool nodes = GENERATE(false, true);
    read(nodes, !nodes);
    f.RunFor(60s);
    read(true, true);
    f.RunFor(60s);
    REQUIRE(f.batches.size() == 6);
    CHECK(f.batches[4].gaps == gap(1, 4));
    for (const std::size_t other : {0, 1, 2, 3, 5}) CHECK(f.batches[other].gaps.empty());
  }
  SECTION("since the first, when none had") {
    f.RunFor(31s);
    read(true, true);
    f.RunFor(30s);
    REQUIRE(f.batches.size() == 3);
    CHECK(f.batches[2].gaps == gap(0, 2));
  }
  SECTION("when nothing at all could be read") {
    read(true, true);
    f.RunFor(1s);
    const observe::Observation good = std::exchange(f.observation, {});
    f.RunFor(60s);
    f.observation = good;
    f.RunFor(30s);
    REQUIRE(f.batches.size() == 2);
    CHECK(f.batches[1].gaps == gap(0, 1));
  }
}

TEST_CASE("a batch that had to leave something out is not called full") {
  Fixture f;
  f.observation.is_complete = false;
  f.batcher.Step();
  CHECK(f.Take() == std::vector<Made>{{0ms, false}});
}

TEST_CASE("a batch carries what sources gave, also when it holds nothing else") {
  Fixture f;
  f.taken = {{.results = {{.source = "hub/a", .resource_count = 1}}}, {}, {.results = {{.source = "hub/b"}}}};
  f.RunFor(29s);
  REQUIRE(f.batches.size() == 1);
  REQUIRE(f.batches[0].sources.size() == 1);
  CHECK(f.batches[0].sources[0].source == "hub/a");
  f.observation.snapshot = {};
  f.RunFor(30s);  // neither
  CHECK(f.batches.size() == 1);
  CHECK(f.streamed == 0);
  f.RunFor(30s);
  REQUIRE(f.batches.size() == 2);
  CHECK(f.batches[1].sources.at(0).source == "hub/b");
  f.taken.emplace_back().streams.emplace_back().count = 3;
  f.RunFor(30s);
  CHECK(f.batches.size() == 3);
  CHECK(f.streamed == 1);
}

TEST_CASE("sources that have more to tell than one batch holds bring another one soon") {
  Fixture f;
  f.taken = {{.results = {{.source = "hub/a"}}, .has_more = true}, {.results = {{.source = "hub/a"}}}};
  SECTION("at once, when the hub took the first") {
    f.RunFor(20s);
    CHECK(f.Take() == std::vector<Made>{{0ms, true}, {0ms, false}});
  }
  SECTION("not before it did") {
    f.pending = true;
    f.RunFor(20s);
    CHECK(f.Take() == std::vector<Made>{{0ms, true}});
    f.pending = false;
    f.RunFor(1s);
    CHECK(f.Take() == std::vector<Made>{{20000ms, false}});
  }
  SECTION("with the next tick, while there is no hub") {
    f.connected = false;
    f.RunFor(31s);
    CHECK(f.Take() == std::vector<Made>{{0ms, true}, {30s, false}});
  }
}

TEST_CASE("the status tells when the next batch comes anyway") {
  Fixture f;
  CHECK(f.batcher.status().next_tick == f.start);
  f.batcher.Step();
  CHECK(f.batcher.status().next_tick == f.start + 30s);
  f.clock.AdvanceBy(10s);
  f.batcher.News();
  f.batcher.Step();
  CHECK(f.batcher.status().next_tick == f.start + 30s);
  f.batcher.SetInterval(45s);
  f.batcher.Step();
  CHECK(f.batcher.status().next_tick == f.start + 45s);
  f.clock.AdvanceBy(50s);
  f.batcher.Step();
  CHECK(f.batcher.status().next_tick == f.start + 90s);
}

TEST_CASE("the status tells the last collection and that the loop turns") {
  Fixture f;
  f.observing = 42ms;
  f.batcher.Step();
  CHECK(f.batcher.status().last_collection == 42ms);
  CHECK(f.batcher.status().last_turn == f.start);
  f.clock.AdvanceBy(30s);
  f.batcher.Step();
  CHECK(f.batcher.status().last_turn == f.start + 30042ms);
}

TEST_CASE("the thread wakes for a connect and ends at once") {
  base::SeededRandom random(2);
  std::atomic<int> delivered = 0;
  Batcher batcher({.cluster = "c", .interval = 3600s},
                  {.is_current = [] { return true; },
                   .is_connected = [] { return true; },
                   .is_pending = [] { return false; },
                   .observe =
                       [](bool) {
                         observe::Observation observation;
                         observation.snapshot.namespaces.emplace();
                         return observation;
                       },
                   .deliver =
                       [&](model::Batch, std::vector<model::RowStream>, bool) {
                         ++delivered;
                         delivered.notify_all();
                       }},
                  base::SystemClock(), random);
  batcher.Start();
  batcher.Start();
  delivered.wait(0);
  batcher.Connected();
  delivered.wait(1);
  batcher.News();
  delivered.wait(2);
  batcher.Stop();
  batcher.Stop();
  CHECK(delivered == 3);
}

TEST_CASE("ids are version 4 UUIDs") {
  base::SeededRandom random(3);
  for (int i = 0; i < 100; ++i) {
    const std::string id = RandomUuid(random);
    CAPTURE(id);
    REQUIRE(id.size() == 36);
    CHECK(id[14] == '4');
    CHECK(std::string("89ab").find(id[19]) != std::string::npos);
    CHECK(id.find_first_not_of("0123456789abcdef-") == std::string::npos);
    for (const std::size_t dash : {8, 13, 18, 23}) CHECK(id[dash] == '-');
  }
}

}  // namespace
}  // namespace clusterpulse::collector
