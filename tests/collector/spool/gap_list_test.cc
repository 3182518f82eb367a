#include "collector/spool/gap_list.h"

#include <chrono>

#include <catch2/catch.hpp>
#include <fmt/format.h>

namespace clusterpulse::spool {
namespace {

using namespace std::chrono_literals;
using model::GapCause;

constexpr base::SystemTime kBegan{1933135628s};
base::SystemTime At(std::uint64_t seq) { return kBegan + 30s * seq; }

model::Gap Gap(std::uint64_t first, std::uint64_t last, GapCause cause = GapCause::kSpoolOverflow) {
  return {{first, last}, At(first), At(last), cause};
}

// "1-3o 7-7r": overflow and rejected.
std::string Text(const GapList& list) {
  std::string text;
  for (const model::Gap& gap : list.all()) {
    CHECK(gap.from == At(gap.seqs.first));
    CHECK(gap.to == At(gap.seqs.last));
    text += fmt::format("{}{}-{}{}", text.empty() ? "" : " ", gap.seqs.first, gap.seqs.last,
                        gap.cause == GapCause::kSpoolOverflow ? "o" : "r");
  }
  return text;
}

TEST_CASE("gaps go in where there are none, in order, and join those of their cause") {
  struct Case {
    std::vector<model::Gap> gaps;
    std::string text;
  };
  const GapCause r = GapCause::kRejected;
  const auto c = GENERATE_COPY(values<Case>({
      {{Gap(5, 9)}, "5-9o"},
      {{Gap(5, 9), Gap(1, 2)}, "1-2o 5-9o"},
      {{Gap(5, 9), Gap(10, 12)}, "5-12o"},
      {{Gap(5, 9), Gap(3, 4)}, "3-9o"},
      {{Gap(5, 9), Gap(11, 12), Gap(10, 10)}, "5-12o"},
      {{Gap(5, 9), Gap(10, 12, r)}, "5-9o 10-12r"},
      {{Gap(5, 9), Gap(7, 12, r)}, "5-9o 10-12r"},
      {{Gap(5, 9), Gap(3, 12, r)}, "3-4r 5-9o 10-12r"},
      {{Gap(5, 6), Gap(8, 9), Gap(1, 20, r)}, "1-4r 5-6o 7-7r 8-9o 10-20r"},
      {{Gap(5, 9), Gap(6, 8, r)}, "5-9o"},
      {{Gap(5, 9), Gap(5, 9, r)}, "5-9o"},
      {{Gap(1, 1), Gap(3, 3), Gap(1, 3)}, "1-3o"},
  }));
  GapList list;
  for (const model::Gap& gap : c.gaps) list.Add(gap);
  CHECK(Text(list) == c.text);
  CHECK(list == *GapList::Decode(list.Encode()));
  for (std::uint64_t seq = 1; seq <= 20; ++seq) {
    bool is_in = false;
    for (const model::Gap& gap : c.gaps) is_in |= gap.seqs.first <= seq && seq <= gap.seqs.last;
    CHECK(list.Contains(seq) == is_in);
  }
}

TEST_CASE("adding says whether it was news") {
  GapList list;
  CHECK(list.Add(Gap(3, 5)));
  CHECK_FALSE(list.Add(Gap(4, 5, GapCause::kRejected)));
  CHECK(list.Add(Gap(4, 6, GapCause::kRejected)));
}

TEST_CASE("durable numbers are forgotten from the ends of gaps") {
  const auto [position, text] = GENERATE(table<model::DurablePosition, std::string>({
      {model::DurablePosition{}, "3-5o 8-12r"},
      {{.low = 2, .ranges = {}}, "3-5o 8-12r"},
      {{.low = 3, .ranges = {}}, "4-5o 8-12r"},
      {{.low = 5, .ranges = {}}, "8-12r"},
      {{.low = 9, .ranges = {}}, "10-12r"},
      {{.low = 99, .ranges = {}}, ""},
      {{.low = 0, .ranges = {{5, 8}}}, "3-4o 9-12r"},
      {{.low = 0, .ranges = {{9, 10}}}, "3-5o 8-12r"},  // in the middle: stays
      {{.low = 0, .ranges = {{3, 3}, {5, 5}, {8, 8}, {12, 12}}}, "4-4o 9-11r"},
      {{.low = 0, .ranges = {{3, 5}, {8, 12}}}, ""},
      {{.low = 3, .ranges = {{5, 20}}}, "4-4o"},
  }));
  GapList list;
  list.Add(Gap(3, 5));
  list.Add(Gap(8, 12, GapCause::kRejected));
  const std::string before = Text(list);
  CHECK(list.Forget(position) == (text != before));
  CHECK(Text(list) == text);
}

TEST_CASE("numbers above one move up, and a gap around it is two") {
  GapList list;
  REQUIRE(list.Add({{2, 3}, {}, {}, model::GapCause::kRejected}));
  REQUIRE(list.Add({{5, 9}, base::SystemTime(50s), base::SystemTime(90s), model::GapCause::kCollectorLost}));
  REQUIRE(list.Add({{12, 12}, {}, {}, model::GapCause::kRejected}));
  list.Shift(6, 100);
  REQUIRE(list.all().size() == 4);
  CHECK(list.all()[0].seqs == model::SeqRange{2, 3});
  CHECK(list.all()[1] ==
        model::Gap{{5, 6}, base::SystemTime(50s), base::SystemTime(60s), model::GapCause::kCollectorLost});
  CHECK(list.all()[2] ==
        model::Gap{{107, 109}, base::SystemTime(70s), base::SystemTime(90s), model::GapCause::kCollectorLost});
  CHECK(list.all()[3].seqs == model::SeqRange{112, 112});
}

TEST_CASE("gaps without numbers are joined with those of their cause, and none is lost") {
  const auto gap = [](int from, int to, GapCause cause) {
    return model::Gap{{}, kBegan + from * 1s, kBegan + to * 1s, cause};
  };
  std::vector<model::Gap> gaps = {gap(5, 6, GapCause::kRejected), gap(1, 2, GapCause::kSpoolOverflow),
                                  gap(7, 8, GapCause::kListFailed), gap(3, 9, GapCause::kSpoolOverflow),
                                  gap(2, 4, GapCause::kRejected)};
  std::vector<model::Gap> all = gaps;
  JoinSameCauses(5, all);
  CHECK(all == gaps);
  JoinSameCauses(4, gaps);
  CHECK(gaps == std::vector<model::Gap>{gap(2, 6, GapCause::kRejected), gap(1, 2, GapCause::kSpoolOverflow),
                                        gap(7, 8, GapCause::kListFailed), gap(3, 9, GapCause::kSpoolOverflow)});
  JoinSameCauses(3, gaps);
  CHECK(gaps == std::vector<model::Gap>{gap(2, 6, GapCause::kRejected), gap(1, 9, GapCause::kSpoolOverflow),
                                        gap(7, 8, GapCause::kListFailed)});
}

TEST_CASE("too many gaps are joined: of one cause first, around what is kept last") {
  GapList list;
  for (const auto& [seq, cause] : std::vector<std::pair<std::uint64_t, GapCause>>{{1, GapCause::kRejected},
                                                                                  {3, GapCause::kSpoolOverflow},
                                                                                  {5, GapCause::kSpoolOverflow},
                                                                                  {7, GapCause::kRejected},
                                                                                  {9, GapCause::kSpoolOverflow}}) {
    list.Add(Gap(seq, seq, cause));
  }
  const auto kept = [](model::SeqRange range) { return range.first <= 8 && 8 <= range.last; };
  CHECK(list.Merge(5, kept).empty());
  CHECK(list.Merge(4, kept).empty());
  CHECK(Text(list) == "1-1r 3-5o 7-7r 9-9o");
  CHECK(list.Merge(3, kept).empty());
  CHECK(Text(list) == "1-5r 7-7r 9-9o");
  CHECK(list.Merge(2, kept).empty());
  CHECK(Text(list) == "1-7r 9-9o");
  CHECK(list.Merge(1, kept) == std::vector<model::SeqRange>{{8, 8}});
  CHECK(Text(list) == "1-9r");
}

TEST_CASE("a list that is no list is not decoded") {
  GapList list;
  list.Add(Gap(3, 5));
  list.Add(Gap(8, 12, GapCause::kRejected));
  const std::string bytes = list.Encode();
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    CAPTURE(n);
    CHECK_FALSE(GapList::Decode(bytes.substr(0, n)));
  }
  CHECK_FALSE(GapList::Decode(bytes + "x"));
  CHECK(GapList::Decode(std::string(4, '\0')) == GapList());
  const auto with = [](model::Gap a, model::Gap b) {
    GapList one, two;
    one.Add(a);
    two.Add(b);
    return std::string("\2\0\0\0", 4) + one.Encode().substr(4) + two.Encode().substr(4);
  };
  CHECK(GapList::Decode(with(Gap(1, 2), Gap(4, 5))));
  CHECK_FALSE(GapList::Decode(with(Gap(4, 5), Gap(1, 2))));
  CHECK_FALSE(GapList::Decode(with(Gap(1, 4), Gap(4, 5))));
}

TEST_CASE("times between are on the line") {
  CHECK(Interpolate({1, At(1)}, {11, At(11)}, 5) == At(5));
  CHECK(Interpolate({1, At(1)}, {11, At(11)}, 1) == At(1));
  CHECK(Interpolate({1, At(1)}, {11, At(11)}, 12) == At(11));
  CHECK(Interpolate({3, At(3)}, {3, At(9)}, 3) == At(3));
  CHECK(Interpolate({1, At(11)}, {11, At(1)}, 6) == At(6));  // a clock that was put back
  const auto far = Interpolate({1, base::SystemTime::min()}, {3, base::SystemTime::max()}, 2);
  CHECK(far > base::SystemTime::min());
  CHECK(far < base::SystemTime::max());
}

}  // namespace
}  // namespace clusterpulse::spool
