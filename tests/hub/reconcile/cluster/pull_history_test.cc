// Samples of what the hub reads itself, and the holes in them.
#include "common/base/time_format.h"
#include "tests/hub/reconcile/cluster/cluster_fixture.h"

namespace clusterpulse::reconcile {
namespace {

using Mode = history::FakeHistoryWriter::Mode;

struct HistoryFleet : Fleet {
  HistoryFleet() {
    with_history = true;
    RestartHub();
    Start("a");
  }
  // Passes, one an interval; the first is now.
  void Pass(int count) {
    for (int i = 0; i < count; ++i) {
      Reconcile("a");
      clock.AdvanceBy(30s);
    }
  }
  std::vector<store::KnownGap> Gaps() {
    const auto ledger = state().ReadGaps("a");
    REQUIRE(ledger.ok());
    return ledger->gaps();
  }
  double Counted(model::GapCause cause) {
    return metrics.Counters("clusterpulse_hub_gaps_total", "", {"cause"}).With({model::ToString(cause)}).Value();
  }
};

TEST_CASE("each pass writes what it read, stamped with when it was read") {
  HistoryFleet f;
  const base::SystemTime first = f.clock.Now();
  f.Pass(3);
  REQUIRE(f.history.written().size() == 3);
  CHECK(f.history.written()[0].cluster == "a");
  CHECK(f.history.written()[0].collected_at == first);
  CHECK(f.history.written()[2].collected_at == first + 60s);
  // Numbered, so that a list that a pass does not read is none that is empty (series.h).
  for (std::uint64_t i = 0; i < 3; ++i) CHECK(f.history.written()[i].seq == i + 1);
  CHECK(f.history.written()[0].snapshot.nodes->size() == 2);
  CHECK(f.history.written()[0].snapshot.counts->nodes == 2);
  CHECK(f.Status("a")["nodes"].IntOr() == 2);  // it is still there for the status
  CHECK(f.Gaps().empty());
}

TEST_CASE("without history nothing is written, and nothing can be missing") {
  Fleet f;
  f.Start("a");
  f.Reconcile("a");
  f.Cut("a");
  f.Reconcile("a");
  CHECK(f.history.written().empty());
  CHECK(f.state().ReadGaps("a")->gaps().empty());
}

TEST_CASE("a history store that hangs delays no pass") {
  HistoryFleet f;
  f.history.SetMode(Mode::kHang);
  f.Pass(5);
  CHECK(f.Phase("a") == "Connected");
  CHECK(f.history.waiting() == 5);
  CHECK(f.Gaps().empty());
}

TEST_CASE("what the state store does not take is written all the same") {
  HistoryFleet f;
  f.store().down = true;
  f.Pass(1);
  CHECK(f.history.written().size() == 1);
}

TEST_CASE("samples that are lost are one hole") {
  struct Case {
    std::string name;
    Mode mode;
    model::GapCause cause;
  };
  const Case c = GENERATE(values<Case>(
      {{"dropped", Mode::kDrop, model::GapCause::kStoreDown}, {"refused", Mode::kRefuse, model::GapCause::kRejected}}));
  DYNAMIC_SECTION(c.name) {
    HistoryFleet f;
    const base::SystemTime first = f.clock.Now();
    f.Pass(2);
    f.history.SetMode(c.mode);
    f.Pass(10);
    f.history.SetMode(Mode::kAccept);
    f.Pass(3);
    REQUIRE(f.Gaps().size() == 1);
    CHECK(f.Gaps()[0].cause == c.cause);
    CHECK(f.Gaps()[0].from == first + 30s);  // what is known before
    CHECK(f.Gaps()[0].to == first + 11 * 30s);
    CHECK_FALSE(f.Gaps()[0].fillable);
    CHECK(f.Counted(c.cause) >= 1);
  }
}

TEST_CASE("what others read of the cluster may be lost, too") {
  HistoryFleet f;
  f.Pass(2);
  const base::SystemTime last = f.clock.Now() - 30s;
  // 10 s after the last pass; the passes themselves have no trouble.
  const auto add = [&](Mode mode) {
    f.history.SetMode(mode);
    model::Batch samples{.cluster = "a", .collected_at = last + 10s};
    samples.sources.push_back({.source = "hub/pods", .aggregations = {{"total", 1}}});
    f.reached.AddSamples("a", {samples.collected_at, f.history.Write(samples)});
    f.history.SetMode(Mode::kAccept);
  };
  SECTION("stored") {
    add(Mode::kAccept);
    f.Pass(3);
    CHECK(f.Gaps().empty());
  }
  SECTION("dropped") {
    add(Mode::kDrop);
    f.Pass(3);
    REQUIRE(f.Gaps().size() == 1);
    CHECK(f.Gaps()[0].cause == model::GapCause::kStoreDown);
    CHECK(f.Gaps()[0].from == last);
    CHECK(f.Gaps()[0].to == last + 10s);
  }
  SECTION("refused") {
    add(Mode::kRefuse);
    f.Pass(3);
    REQUIRE(f.Gaps().size() == 1);
    CHECK(f.Gaps()[0].cause == model::GapCause::kRejected);
  }
  SECTION("on their way: not held, for the history store is asked by batches") {
    add(Mode::kHang);
    f.Pass(1);
    CHECK(f.collectors().ReadPosition("a")->durable.held->batches <= 1);
    f.Pass(1);
    CHECK(f.Gaps().empty());
  }
}

TEST_CASE("samples that a crash of the history store took are a hole") {
  HistoryFleet f;
  f.history.SetDurableAfter(10s);
  const base::SystemTime first = f.clock.Now();
  f.Pass(2);
  f.Reconcile("a");
  f.history.Crash();
  f.clock.AdvanceBy(30s);
  f.Pass(2);
  REQUIRE(f.Gaps().size() == 1);
  CHECK(f.Gaps()[0].cause == model::GapCause::kStoreDown);
  CHECK(f.Gaps()[0].to == first + 60s);
}

TEST_CASE("a cluster that cannot be read is a hole until it can") {
  struct Case {
    std::string name, list;
    model::GapCause cause;
  };
  const Case c = GENERATE(values<Case>(
      {{"its nodes", "nodes", model::GapCause::kListFailed}, {"all of it", "", model::GapCause::kLinkDown}}));
  DYNAMIC_SECTION(c.name) {
    HistoryFleet f;
    f.Pass(2);
    const base::SystemTime last = f.clock.Now() - 30s;
    f.Cluster("a").FailNext(kube::Verb::kList, c.list, absl::UnavailableError("no"), kube::FakeKubeApi::kForever);
    f.Pass(3);
    REQUIRE(f.Gaps().size() == 1);
    CHECK(f.Gaps()[0].cause == c.cause);
    CHECK(f.Gaps()[0].from == last);
    CHECK_FALSE(f.Gaps()[0].to.has_value());
    CHECK_FALSE(f.Gaps()[0].fillable);
    CHECK(f.Counted(c.cause) == 1);  // however long it lasts
    f.Mend("a");
    f.clock.AdvanceBy(60s);  // the breaker lets it through
    f.Pass(1);
    const base::SystemTime read = f.clock.Now() - 30s;
    REQUIRE(f.Gaps().size() == 1);
    CHECK(f.Gaps()[0].to == read);
    f.Pass(2);
    REQUIRE(f.Gaps().size() == 1);
    CHECK(f.Gaps()[0].to == read);
  }
}

TEST_CASE("a cluster that cannot even be called is a hole") {
  HistoryFleet f;
  f.Pass(2);
  const base::SystemTime last = f.clock.Now() - 30s;
  REQUIRE(f.hub.store().Delete(kube::kSecrets, {"hub", "a-creds"}).ok());
  f.Pass(4);
  CHECK(f.Phase("a") == "Error");
  f.CreateSecret("a-creds", "a-token");
  f.Pass(2);
  CHECK(f.Phase("a") == "Connected");
  REQUIRE(f.Gaps().size() == 1);
  CHECK(f.Gaps()[0].cause == model::GapCause::kLinkDown);
  CHECK(f.Gaps()[0].from == last);
  CHECK(f.Gaps()[0].to == f.clock.Now() - 60s);
  CHECK(f.Counted(model::GapCause::kLinkDown) == 1);
}

TEST_CASE("an outage of a cluster outlives the hub, and is one hole") {
  HistoryFleet f;
  f.Pass(2);
  const base::SystemTime last = f.clock.Now() - 30s;
  f.Cut("a");
  f.Pass(2);
  f.RestartHub();
  SECTION("it can be read again") {
    f.clock.AdvanceBy(10min);
    f.Mend("a");
    f.Pass(2);
    REQUIRE(f.Gaps().size() == 1);
    CHECK(f.Gaps()[0].cause == model::GapCause::kLinkDown);
    CHECK(f.Gaps()[0].from == last);
    CHECK(f.Gaps()[0].to == f.clock.Now() - 60s);
  }
  SECTION("it cannot") {
    f.Pass(3);
    REQUIRE(f.Gaps().size() == 1);
    CHECK(f.Gaps()[0].from == last);
    CHECK_FALSE(f.Gaps()[0].to.has_value());
  }
  CHECK(f.Counted(model::GapCause::kLinkDown) == 1);
}

TEST_CASE("an outage that the state store did not hear of is a hole all the same") {
  HistoryFleet f;
  f.Pass(2);
  const base::SystemTime last = f.clock.Now() - 30s;
  f.Cut("a");
  f.store().down = true;
  f.Pass(3);
  f.Mend("a");
  f.clock.AdvanceBy(60s);
  f.Pass(1);
  f.store().down = false;
  const base::SystemTime read = f.clock.Now() - 30s;
  f.Pass(2);
  REQUIRE(f.Gaps().size() == 1);
  CHECK(f.Gaps()[0].from == last);
  CHECK(f.Gaps()[0].to == read);
}

TEST_CASE("a cluster that was never reached has no history to have a hole in") {
  HistoryFleet f;
  f.Cut("a");
  f.Pass(3);
  CHECK(f.Gaps().empty());
  CHECK(f.Status("a")["gaps"].IsNull());
}

TEST_CASE("status and Events tell of the holes of a cluster that the hub reads") {
  HistoryFleet f;
  const auto said = [&f](const std::string& reason) {
    std::vector<std::string> messages;
    for (const auto& event : f.events.events()) {
      if (event.reason == reason) messages.push_back(event.message);
    }
    return messages;
  };
  f.Pass(2);
  CHECK(f.Status("a")["gaps"].IsNull());
  CHECK(f.Status("a")["collectorStatus"].IsNull());
  const std::string last = base::FormatSeconds(f.clock.Now() - 30s);
  f.Cut("a");
  f.Pass(2);
  CHECK(f.Status("a")["gaps"]["count"].IntOr() == 1);
  CHECK(f.Status("a")["gaps"]["open"].IntOr() == 1);
  CHECK(f.Status("a")["gaps"]["oldest"].StringOr() == last);
  CHECK(said("GapOpened") ==
        std::vector<std::string>{"the cluster cannot be read: the history has a hole since " + last});
  CHECK(said("GapClosed").empty());
  f.RestartHub();  // another leader says nothing again
  f.Pass(1);
  f.Mend("a");
  f.clock.AdvanceBy(60s);
  f.Pass(3);
  CHECK(f.Status("a")["gaps"]["count"].IntOr() == 1);
  CHECK(f.Status("a")["gaps"]["open"].IntOr(7) == 0);
  CHECK(said("GapOpened").size() == 1);
  REQUIRE(said("GapClosed").size() == 1);
  CHECK(said("GapClosed")[0].starts_with("the cluster can be read again; the history has a hole: link_down from " +
                                         last));
  // One that is over when it is told.
  f.history.SetMode(Mode::kDrop);
  f.Pass(1);
  f.history.SetMode(Mode::kAccept);
  f.Pass(2);
  CHECK(f.Status("a")["gaps"]["count"].IntOr() == 2);
  REQUIRE(said("GapClosed").size() == 2);
  CHECK(said("GapClosed")[1].starts_with("the history has a hole: store_down"));
}

TEST_CASE("in push mode holes are the collector's") {
  HistoryFleet f;
  f.Pass(2);
  f.Cut("a");
  f.Pass(1);
  CHECK(f.Status("a")["gaps"]["count"].IntOr() == 1);
  f.Patch("a", R"({"spec":{"collectionMode":"push"}})");
  f.Pass(1);
  CHECK(f.Status("a")["gaps"].IsNull());
  CHECK(f.Status("a")["collectorStatus"]["gaps"]["count"].IntOr() == 1);
}

TEST_CASE("what only the hub has when it dies is looked for, and a hole if it is not there") {
  HistoryFleet f;
  f.history.SetDurableAfter(10s);
  const base::SystemTime first = f.clock.Now();
  f.Pass(2);
  struct Case {
    std::string name;
    bool vm_is_away;
    bool is_hole;
  };
  const Case c = GENERATE(values<Case>({{"the history store has it", false, false}, {"it was away", true, true}}));
  DYNAMIC_SECTION(c.name) {
    if (c.vm_is_away) f.history.SetMode(Mode::kHang);
    f.Pass(3);
    f.history.ForgetWaiting();
    f.RestartHub();
    f.Pass(2);  // with the hub away for less than anybody would notice
    f.history.SetMode(Mode::kAccept);
    f.history.Settle(Mode::kAccept);
    f.Pass(3);
    if (!c.is_hole) {
      CHECK(f.Gaps().empty());
    } else {
      REQUIRE(f.Gaps().size() == 1);
      CHECK(f.Gaps()[0].cause == model::GapCause::kStoreDown);
      CHECK(f.Gaps()[0].from == first + 30s);
      CHECK(f.Gaps()[0].to == first + 4 * 30s);
      CHECK_FALSE(f.Gaps()[0].fillable);
      CHECK(f.Counted(model::GapCause::kStoreDown) == 1);
    }
    // Settled for good: another process asks for its own last ones only.
    f.Pass(1);
    const std::size_t asked = f.history.sought().size();
    f.RestartHub();
    f.Pass(2);
    REQUIRE(f.history.sought().size() == asked + 1);
    CHECK(f.history.sought().back().batches == 1);
    CHECK(f.Gaps().size() == (c.is_hole ? 1 : 0));
  }
}

TEST_CASE("what two processes held is looked for together") {
  HistoryFleet f;
  const base::SystemTime first = f.clock.Now();
  f.Pass(2);
  f.history.SetMode(Mode::kHang);
  for (int process = 0; process < 2; ++process) {
    f.Pass(2);
    f.history.ForgetWaiting();
    f.RestartHub();
  }
  f.Pass(1);
  REQUIRE(f.history.sought().size() == 2);
  CHECK(f.history.sought()[1].after == first + 30s);
  CHECK(f.history.sought()[1].until == first + 5 * 30s);
  CHECK(f.history.sought()[1].batches == 4);
  f.history.Settle(Mode::kAccept);
  f.Pass(2);
  REQUIRE(f.Gaps().size() == 1);
  CHECK(f.Gaps()[0].from == first + 30s);
  CHECK(f.Gaps()[0].to == first + 5 * 30s);
}

TEST_CASE("a position that cannot be read is read later") {
  HistoryFleet f;
  f.history.SetMode(Mode::kHang);
  f.Pass(2);
  f.history.ForgetWaiting();
  f.RestartHub();
  f.store().down = true;
  f.Pass(1);
  CHECK(f.history.sought().empty());
  f.store().down = false;
  f.Pass(1);
  CHECK(f.history.sought().size() == 1);
}

TEST_CASE("while no hub ran nobody read the cluster") {
  HistoryFleet f;
  f.Pass(2);
  const base::SystemTime last = f.clock.Now() - 30s;
  f.RestartHub();
  SECTION("a restart is no hole") {
    f.Pass(2);
    CHECK(f.Gaps().empty());
  }
  SECTION("an hour is one") {
    f.clock.AdvanceBy(1h);
    f.Pass(2);
    REQUIRE(f.Gaps().size() == 1);
    CHECK(f.Gaps()[0].cause == model::GapCause::kCollectorDown);
    // The status that tells when the last data came lags by at most an interval.
    CHECK(f.Gaps()[0].from >= last - 30s);
    CHECK(f.Gaps()[0].from <= last);
  }
}

}  // namespace
}  // namespace clusterpulse::reconcile
