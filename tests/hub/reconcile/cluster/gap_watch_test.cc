#include "hub/reconcile/cluster/gap_watch.h"

#include <catch2/catch.hpp>

namespace clusterpulse::reconcile {
namespace {

using namespace std::chrono_literals;
using model::Gap;
using model::GapCause;
using store::GapLedger;
using Words = std::vector<std::string>;

constexpr base::SystemTime kNow{1'933'135'628s};

// What is announced: "Warning GapOpened", ...
Words Say(GapWatch& watch, const GapLedger& ledger, const json::Value& said = {}) {
  Words words;
  for (const Announcement& news : watch.Look(said, ledger, GapWatch::Reader::kCollector)) {
    words.push_back((news.type == runtime::EventType::kWarning ? "Warning " : "Normal ") + news.reason);
  }
  return words;
}

json::Value Status(std::int64_t count, std::int64_t open) {
  json::Value said;
  said.Mutable("count") = count;
  said.Mutable("open") = open;
  return said;
}

const Gap kOver{{4, 9}, kNow - 100s, kNow - 50s, GapCause::kSpoolOverflow};

TEST_CASE("a link that is lost and comes back is announced twice") {
  GapWatch watch;
  GapLedger ledger;
  CHECK(Say(watch, ledger).empty());
  ledger.OpenLink(kNow, true);
  CHECK(Say(watch, ledger) == Words{"Warning GapOpened"});
  CHECK(Say(watch, ledger).empty());
  SECTION("filled") {
    ledger.EndLink(GapLedger::LinkEnd::kFilled, kNow + 60s);
    CHECK(Say(watch, ledger) == Words{"Normal GapClosed"});
  }
  SECTION("filled but for some") {
    ledger.EndLink(GapLedger::LinkEnd::kFilled, kNow + 60s);
    ledger.Record("i", kOver);
    CHECK(Say(watch, ledger) == Words{"Normal GapClosed", "Warning GapClosed"});
  }
  SECTION("lost") {
    ledger.EndLink(GapLedger::LinkEnd::kLost, kNow + 60s);
    CHECK(Say(watch, ledger) == Words{"Warning GapClosed"});
  }
  CHECK(Say(watch, ledger).empty());
  ledger.OpenLink(kNow + 100s, true);
  CHECK(Say(watch, ledger) == Words{"Warning GapOpened"});
}

TEST_CASE("a cluster that the hub cannot read is announced as such") {
  GapWatch watch;
  GapLedger ledger;
  constexpr auto kHub = GapWatch::Reader::kHub;
  CHECK(watch.Look({}, ledger, kHub).empty());
  ledger.OpenLink(kNow, false, GapCause::kListFailed);
  auto news = watch.Look({}, ledger, kHub);
  REQUIRE(news.size() == 1);
  CHECK(news[0].message == "the cluster cannot be read: the history has a hole since 2031-04-05T06:07:08Z");
  SECTION("seen by one process") {}
  SECTION("a new one sees the end") { watch = GapWatch(); }
  ledger.EndLink(GapLedger::LinkEnd::kLost, kNow + 60s);
  news = watch.Look(Status(1, 1), ledger, kHub);
  REQUIRE(news.size() == 1);
  CHECK(news[0].reason == "GapClosed");
  CHECK(news[0].message ==
        "the cluster can be read again; the history has a hole: list_failed from 2031-04-05T06:07:08Z to "
        "2031-04-05T06:08:08Z");
  CHECK(watch.Look({}, ledger, kHub).empty());
}

TEST_CASE("holes that are over are announced when they are told, and not when they grow") {
  GapWatch watch;
  GapLedger ledger;
  CHECK(Say(watch, ledger).empty());
  ledger.Record("i", kOver);
  ledger.Record("i", {{20, 20}, kNow - 40s, kNow - 40s, GapCause::kRejected});
  CHECK(Say(watch, ledger) == Words{"Warning GapClosed"});  // in one
  ledger.Record("i", {{10, 12}, kNow - 50s, kNow - 45s, GapCause::kSpoolOverflow});
  CHECK(Say(watch, ledger).empty());
}

TEST_CASE("a message names a few and counts the rest") {
  GapWatch watch;
  GapLedger ledger;
  CHECK(Say(watch, ledger).empty());
  for (std::uint64_t i = 0; i < 5; ++i) {
    ledger.Record("i", {{10 * i + 1, 10 * i + 2}, kNow - 100s, kNow - 50s, GapCause::kSpoolOverflow});
  }
  const auto news = watch.Look({}, ledger, GapWatch::Reader::kCollector);
  REQUIRE(news.size() == 1);
  CHECK(news[0].message ==
        "the history has a hole: spool_overflow from 2031-04-05T06:05:28Z to 2031-04-05T06:06:18Z (batches 1 to 2); "
        "spool_overflow from 2031-04-05T06:05:28Z to 2031-04-05T06:06:18Z (batches 11 to 12); "
        "spool_overflow from 2031-04-05T06:05:28Z to 2031-04-05T06:06:18Z (batches 21 to 22); and 2 more");
}

TEST_CASE("a new leader announces what the status does not say yet, and nothing else") {
  GapLedger ledger;
  ledger.Record("i", kOver);
  GapLedger open = ledger;
  open.OpenLink(kNow, true);
  struct Case {
    std::string name;
    json::Value status;
    GapLedger ledger;
    Words said;
  };
  const std::vector<Case> cases = {
      {"all is said", Status(1, 0), ledger, {}},
      {"all is said, and the link is lost", Status(2, 1), open, {}},
      {"one is not", json::Value(), ledger, {"Warning GapClosed"}},
      {"the link was lost since", Status(1, 0), open, {"Warning GapOpened"}},
      {"the link is back since", Status(2, 1), ledger, {"Normal GapClosed"}},
      {"nothing was said", json::Value(), open, {"Warning GapOpened", "Warning GapClosed"}},
      {"the ledger forgot some", Status(7, 0), ledger, {}},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      GapWatch watch;
      CHECK(Say(watch, c.ledger, c.status) == c.said);
      CHECK(Say(watch, c.ledger, c.status).empty());
    }
  }
}

}  // namespace
}  // namespace clusterpulse::reconcile
