#include "hub/store/gap_ledger.h"

#include <random>
#include <set>

#include <catch2/catch.hpp>

namespace clusterpulse::store {
namespace {

using namespace std::chrono_literals;
using base::SystemTime;
using model::Gap;
using model::GapCause;
using Told = GapLedger::Told;

constexpr SystemTime kStart{std::chrono::seconds(1933135000)};
SystemTime At(int seconds) { return kStart + std::chrono::seconds(seconds); }
Gap Numbered(std::uint64_t first, std::uint64_t last, GapCause cause = GapCause::kSpoolOverflow) {
  return {{first, last}, At(static_cast<int>(first) * 10), At(static_cast<int>(last) * 10), cause};
}
Gap Timed(int from, int to, GapCause cause = GapCause::kStoreDown) { return {{}, At(from), At(to), cause}; }

// "5-9 i overflow", "100..200 link_down", as a person would write an entry.
std::string Text(const KnownGap& gap) {
  const auto seconds = [](SystemTime t) {
    return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(t - kStart).count());
  };
  std::string text = seconds(gap.from) + ".." + (gap.to ? seconds(*gap.to) : "") + " ";
  if (gap.seqs.first != 0) {
    text += gap.instance + ":" + std::to_string(gap.seqs.first) + "-" + std::to_string(gap.seqs.last) + " ";
  }
  text += model::ToString(gap.cause);
  if (gap.fillable) text += " fillable";
  if (gap.holes > 1) text += " x" + std::to_string(gap.holes);
  return text;
}
std::vector<std::string> Texts(const GapLedger& ledger) {
  std::vector<std::string> texts;
  for (const KnownGap& gap : ledger.gaps()) texts.push_back(Text(gap));
  return texts;
}
using Strings = std::vector<std::string>;

TEST_CASE("a hole told twice, or in pieces, is one") {
  struct Case {
    std::string name;
    std::vector<Gap> told;
    std::vector<Told> is_new;
    Strings kept;
    std::uint64_t total;
  };
  const std::vector<Case> cases = {
      {"one", {Numbered(5, 9)}, {Told::kNew}, {"50..90 i:5-9 spool_overflow"}, 1},
      {"the same again",
       {Numbered(5, 9), Numbered(5, 9)},
       {Told::kNew, Told::kKnown},
       {"50..90 i:5-9 spool_overflow"},
       1},
      {"a part of it",
       {Numbered(5, 9), Numbered(6, 7)},
       {Told::kNew, Told::kKnown},
       {"50..90 i:5-9 spool_overflow"},
       1},
      {"it grew", {Numbered(5, 9), Numbered(5, 12)}, {Told::kNew, Told::kGrown}, {"50..120 i:5-12 spool_overflow"}, 1},
      {"it grew on both sides",
       {Numbered(5, 9), Numbered(2, 12)},
       {Told::kNew, Told::kGrown},
       {"20..120 i:2-12 spool_overflow"},
       1},
      {"the next numbers",
       {Numbered(5, 9), Numbered(10, 12)},
       {Told::kNew, Told::kGrown},
       {"50..120 i:5-12 spool_overflow"},
       1},
      {"apart",
       {Numbered(5, 9), Numbered(11, 12)},
       {Told::kNew, Told::kNew},
       {"50..90 i:5-9 spool_overflow", "110..120 i:11-12 spool_overflow"},
       2},
      {"one between two",
       {Numbered(1, 2), Numbered(4, 5), Numbered(3, 3)},
       {Told::kNew, Told::kNew, Told::kGrown},
       {"10..50 i:1-5 spool_overflow"},
       2},
      {"numbers that have another cause keep it",
       {Numbered(5, 5, GapCause::kRejected), Numbered(4, 6)},
       {Told::kNew, Told::kNew},
       {"40..40 i:4-4 spool_overflow", "50..50 i:5-5 rejected", "60..60 i:6-6 spool_overflow"},
       3},
      {"times that touch",
       {Timed(0, 10), Timed(10, 20), Timed(12, 15)},
       {Told::kNew, Told::kGrown, Told::kKnown},
       {"0..20 store_down"},
       1},
      {"times of another cause",
       {Timed(0, 10), Timed(5, 15, GapCause::kListFailed)},
       {Told::kNew, Told::kNew},
       {"0..10 store_down", "5..15 list_failed"},
       2},
      {"times do not touch numbers",
       {Numbered(1, 2, GapCause::kStoreDown), Timed(10, 20)},
       {Told::kNew, Told::kNew},
       {"10..20 i:1-2 store_down", "10..20 store_down"},
       2},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      GapLedger ledger;
      for (std::size_t i = 0; i < c.told.size(); ++i) {
        CAPTURE(i);
        CHECK(ledger.Record("i", c.told[i]) == c.is_new[i]);
      }
      CHECK(Texts(ledger) == c.kept);
      CHECK(ledger.total() == c.total);
      const GapLedger before = ledger;
      for (const Gap& gap : c.told) CHECK(ledger.Record("i", gap) == Told::kKnown);
      CHECK(ledger == before);
    }
  }
}

TEST_CASE("numbers are of their instance") {
  GapLedger ledger;
  CHECK(ledger.Record("i", Numbered(5, 9)) == Told::kNew);
  CHECK(ledger.Record("j", Numbered(5, 9)) == Told::kNew);
  CHECK(ledger.Record("j", Numbered(10, 10)) == Told::kGrown);
  CHECK(Texts(ledger) == Strings{"50..90 i:5-9 spool_overflow", "50..100 j:5-10 spool_overflow"});
}

TEST_CASE("a link is lost once, and comes back filled or not") {
  GapLedger ledger;
  CHECK(!ledger.EndLink(GapLedger::LinkEnd::kFilled, At(5)));
  CHECK(ledger.OpenLink(At(10), true));
  CHECK(!ledger.OpenLink(At(20), true));
  CHECK(Texts(ledger) == Strings{"10.. link_down fillable"});
  CHECK(ledger.Summary() == GapSummary{1, 1, At(10)});
  REQUIRE(ledger.open_link() != nullptr);
  SECTION("filled: there is no hole") {
    CHECK(ledger.EndLink(GapLedger::LinkEnd::kFilled, At(60)));
    CHECK(ledger.gaps().empty());
    CHECK(ledger.Summary() == GapSummary{});
    CHECK(ledger.total() == 0);
  }
  SECTION("lost: there is one") {
    CHECK(ledger.EndLink(GapLedger::LinkEnd::kLost, At(60)));
    CHECK(Texts(ledger) == Strings{"10..60 link_down"});
    CHECK(ledger.Summary() == GapSummary{1, 0, At(10)});
    CHECK(ledger.total() == 1);
  }
  SECTION("before it began, by another clock") {
    CHECK(ledger.EndLink(GapLedger::LinkEnd::kLost, At(3)));
    CHECK(Texts(ledger) == Strings{"10..10 link_down"});
  }
  CHECK(ledger.open_link() == nullptr);
  CHECK(!ledger.EndLink(GapLedger::LinkEnd::kLost, At(70)));
}

TEST_CASE("a cluster that cannot be read is open, and nothing can fill it") {
  GapLedger ledger;
  CHECK(ledger.OpenLink(At(10), false, GapCause::kListFailed));
  CHECK(!ledger.OpenLink(At(20), true));
  CHECK(Texts(ledger) == Strings{"10.. list_failed"});
  CHECK(GapLedger::Read(ledger.Next()) == ledger);
  // A collector came that brought what it had.
  CHECK(ledger.EndLink(GapLedger::LinkEnd::kFilled, At(60)));
  CHECK(Texts(ledger) == Strings{"10..60 list_failed"});
  CHECK(ledger.total() == 1);
}

TEST_CASE("of too many the oldest are joined, and the count stays true") {
  GapLedger ledger;
  ledger.OpenLink(At(-100), true);
  constexpr int kHoles = 1000;
  for (int i = 0; i < kHoles; ++i) {
    const auto seq = static_cast<std::uint64_t>(2 * i + 1);
    REQUIRE(ledger.Record("i", Numbered(seq, seq)) == Told::kNew);
    REQUIRE(ledger.gaps().size() <= GapLedger::kMostEntries);
  }
  CHECK(ledger.Summary() == GapSummary{kHoles + 1, 1, At(-100)});
  CHECK(ledger.total() == kHoles + 1);
  CHECK(Text(ledger.gaps()[0]) == "-100.. link_down fillable");
  CHECK(Text(ledger.gaps()[1]) == "10..14910 spool_overflow x746");
  CHECK(Text(ledger.gaps().back()) == "19990..19990 i:1999-1999 spool_overflow");
}

TEST_CASE("what ended long ago goes, what is open stays") {
  GapLedger ledger;
  ledger.Record("i", Timed(0, 10));
  ledger.Record("i", Timed(100, 200, GapCause::kListFailed));
  ledger.OpenLink(At(1), true);
  CHECK(!ledger.Prune(At(10) + GapLedger::kKept));
  CHECK(ledger.Prune(At(11) + GapLedger::kKept));
  CHECK(Texts(ledger) == Strings{"1.. link_down fillable", "100..200 list_failed"});
  CHECK(ledger.total() == 3);
}

TEST_CASE("the document") {
  GapLedger ledger;
  ledger.Record("inst", Numbered(5, 9));
  ledger.Record("", Timed(7, 8));
  ledger.OpenLink(At(200), true);
  const std::string text = ledger.Next();
  CHECK(
      text ==
      R"({"revision":1,"total":3,"gaps":[)"
      R"({"from":"2031-04-05T05:56:47Z","to":"2031-04-05T05:56:48Z","cause":"store_down","fillable":false},)"
      R"({"from":"2031-04-05T05:57:30Z","to":"2031-04-05T05:58:10Z","cause":"spool_overflow","firstSeq":5,"lastSeq":9,)"
      R"("instance":"inst","fillable":false},)"
      R"({"from":"2031-04-05T06:00:00Z","cause":"link_down","fillable":true}]})");
  CHECK(GapLedger::Read(text) == ledger);
  CHECK(ledger.revision() == 1);
  ledger.Next();
  CHECK(ledger.revision() == 2);
}

TEST_CASE("a document is read leniently") {
  CHECK(GapLedger::Read("") == GapLedger());
  CHECK(GapLedger::Read("[]") == GapLedger());
  CHECK(GapLedger::Read(R"({"gaps":[{"cause":"link_down"},7,{"from":"soon"}]})").gaps().empty());
  const GapLedger ledger = GapLedger::Read(
      R"({"total":-3,"gaps":[{"from":"2031-04-05T05:58:00Z","to":"2031-04-05T05:58:00Z","cause":"moon","holes":-2},)"
      R"({"from":"2031-04-05T05:57:00Z","to":"2031-04-05T05:57:00Z","cause":"rejected","firstSeq":9,"lastSeq":3}]})");
  CHECK(Texts(ledger) == Strings{"20..20 rejected", "80..80 collector_lost"});
}

TEST_CASE("told in any order and any number of times, the numbers are those that were told") {
  std::mt19937 random(9);
  for (int round = 0; round < 200; ++round) {
    GapLedger ledger;
    std::set<std::uint64_t> told;
    for (int i = 0; i < 30; ++i) {
      const std::uint64_t first = 1 + random() % 60, last = first + random() % 6;
      const GapCause cause = random() % 3 == 0 ? GapCause::kRejected : GapCause::kSpoolOverflow;
      bool is_new = false;
      for (std::uint64_t seq = first; seq <= last; ++seq) is_new |= told.insert(seq).second;
      REQUIRE((ledger.Record("i", Numbered(first, last, cause)) != Told::kKnown) == is_new);
      if (random() % 5 == 0) ledger = GapLedger::Read(ledger.Next());
    }
    std::set<std::uint64_t> kept;
    SystemTime before{};
    for (const KnownGap& gap : ledger.gaps()) {
      CHECK(gap.from >= before);
      before = gap.from;
      CHECK(gap.from == At(static_cast<int>(gap.seqs.first) * 10));
      CHECK(gap.to == At(static_cast<int>(gap.seqs.last) * 10));
      for (std::uint64_t seq = gap.seqs.first; seq <= gap.seqs.last; ++seq) CHECK(kept.insert(seq).second);
    }
    CHECK(kept == told);
  }
}

}  // namespace
}  // namespace clusterpulse::store
