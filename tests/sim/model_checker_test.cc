#include "tests/sim/model_checker.h"

#include <functional>

#include <catch2/catch.hpp>

namespace clusterpulse::sim {
namespace {

// A run in which all went well: a collector that died, whose last batch is a known gap, and one that lives. Of its five
// batches the fourth was lost by its disk, which everybody knows.
struct Run {
  DeliveryLog log;
  Contents contents;
  CheckOptions options;

  Run() {
    for (std::uint64_t seq = 1; seq <= 2; ++seq) AddBatch("old", seq, seq);
    log.AddDurable("old", {1, {}});
    log.AddSeen("old", 2);
    for (std::uint64_t seq = 1; seq <= 5; ++seq) AddBatch("new", seq, 10 + seq);
    log.AddGap("new", {.seqs = {4, 4}, .cause = model::GapCause::kCollectorLost});
    log.AddDurable("new", {5, {}});
    Stored& stored = contents.clusters["c"];
    stored.state = "state 15";
    stored.instance = "new";
    stored.durable = {5, {}};
    stored.ledger = {{"old", {2, 2}}, {"new", {4, 4}}};
    stored.history.emplace();
    for (const int value : {1, 11, 12, 13, 15}) Store(value);
    contents.kept["new"] = {};
  }

  void AddBatch(const std::string& instance, std::uint64_t seq, std::uint64_t value, bool sent = true) {
    log.AddMade("c", instance,
                Made{.seq = seq,
                     .collected_ms = static_cast<std::int64_t>(1000 * value),
                     .samples = {{"cpu", static_cast<double>(value)}, {"pods", 7}},
                     .state = "state " + std::to_string(value)});
    if (sent) log.AddSent("c", static_cast<std::int64_t>(1000 * value), instance, seq);
  }
  void Store(std::int64_t value) {
    history().push_back({"cpu", 1000 * value, static_cast<double>(value)});
    history().push_back({"pods", 1000 * value, 7});
  }
  Stored& stored() { return contents.clusters["c"]; }
  std::vector<Sample>& history() { return *stored().history; }
  void Drop(double value) {
    std::erase_if(history(), [value](const Sample& sample) { return sample.value == value; });
  }
  std::vector<Violation> Check() const { return sim::Check(log, contents, options); }
};

std::string Text(const std::vector<Violation>& violations) {
  std::string text;
  for (const Violation& violation : violations)
    text += std::string(ToString(violation.breach)) + ": " + violation.text + "; ";
  return text;
}

}  // namespace

TEST_CASE("a run in which all went well is proved") {
  Run run;
  INFO(Text(run.Check()));
  CHECK(run.Check().empty());

  SECTION("with history off") {
    run.stored().history.reset();
    CHECK(run.Check().empty());
  }
  SECTION("in its middle") {
    run.options.is_settled = false;
    run.AddBatch("new", 6, 16);
    run.contents.kept["new"].seqs = {6};
    CHECK(run.Check().empty());
  }
  SECTION("stored, and not known to be durable") {
    run.Store(2);
    CHECK(run.Check().empty());
  }
}

TEST_CASE("each breach of the promise is found") {
  struct Case {
    const char* name;
    std::function<void(Run&)> harm;
    Breach breach;
  };
  const std::vector<Case> cases{
      {"a durable sample is missing", [](Run& run) { run.Drop(13); }, Breach::kLost},
      {"durable to the hub alone, and missing",
       [](Run& run) {
         run.AddBatch("new", 6, 16);
         run.stored().durable = {6, {}};
         run.stored().state = "state 16";
         run.options.is_settled = false;
         run.contents.kept["new"].seqs = {6};
       },
       Breach::kLost},
      {"durable of a collector that is gone, and missing", [](Run& run) { run.Drop(1); }, Breach::kLost},
      {"a sample comes twice",
       [](Run& run) {
         run.history().push_back({"cpu", 12000, 12});
       },
       Breach::kDoubled},
      {"a sample comes again at another time",
       [](Run& run) {
         run.history().push_back({"cpu", 12001, 12});
       },
       Breach::kMisstamped},
      {"a value stands at another batch's time",
       [](Run& run) {
         run.Drop(12);
         run.history().push_back({"cpu", 12000, 13});
       },
       Breach::kMisstamped},
      {"a series that is always the same gets a time of its own",
       [](Run& run) {
         run.history().push_back({"pods", 12001, 7});
       },
       Breach::kMisstamped},
      {"a value that nobody made",
       [](Run& run) {
         run.history().push_back({"cpu", 12001, 99});
       },
       Breach::kForeign},
      {"an old state", [](Run& run) { run.stored().state = "state 13"; }, Breach::kStale},
      {"no state", [](Run& run) { run.stored().state.clear(); }, Breach::kStale},
      {"a number that is nowhere",
       [](Run& run) {
         run.options.is_settled = false;
         run.AddBatch("new", 6, 16);
       },
       Breach::kUnaccounted},
      {"a number of a collector that is gone, which the hub knew",
       [](Run& run) { run.stored().ledger.erase(run.stored().ledger.begin()); }, Breach::kUnaccounted},
      {"kept and lost",
       [](Run& run) {
         run.options.is_settled = false;
         run.AddBatch("new", 6, 16);
         run.contents.kept["new"] = {.seqs = {6}, .gaps = {{.seqs = {6, 6}}}};
       },
       Breach::kBothWays},
      {"durable, and never made",
       [](Run& run) {
         run.log.AddDurable("new", {6, {}});
       },
       Breach::kNeverMade},
      {"durable in a range, and never made",
       [](Run& run) {
         run.log.AddDurable("new", {5, {{8, 9}}});
       },
       Breach::kNeverMade},
      {"still kept after all had time",
       [](Run& run) {
         run.AddBatch("new", 6, 16);
         run.stored().state = "state 16";
         run.contents.kept["new"].seqs = {6};
       },
       Breach::kUnsettled},
      {"a gap nobody told the hub",
       [](Run& run) {
         run.AddBatch("new", 6, 16);
         run.stored().state = "state 16";
         run.contents.kept["new"].gaps = {{.seqs = {6, 6}}};
       },
       Breach::kUnsettled},
      {"a gap that was told and is not in the ledger",
       [](Run& run) {
         run.AddBatch("new", 6, 16);
         run.stored().state = "state 16";
         run.log.AddGap("new", {.seqs = {6, 6}});
       },
       Breach::kHiddenGap},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Run run;
      c.harm(run);
      const std::vector<Violation> violations = run.Check();
      INFO(Text(violations));
      CHECK(std::any_of(violations.begin(), violations.end(),
                        [&](const Violation& violation) { return violation.breach == c.breach; }));
    }
  }
}

TEST_CASE("what was offered under a number that the hub knows of another batch is not meant by it") {
  Run run;
  run.options.is_settled = false;
  run.AddBatch("new", 5, 16, false);
  run.log.AddSent("c", 16000, "new", 5, true);
  const bool is_told = GENERATE(false, true);
  if (is_told) run.log.AddKnown("new", 5);
  run.log.AddDurable("new", {5, {}});
  run.contents.kept["new"].collected_ms = {16000};
  INFO(Text(run.Check()));
  CHECK(run.Check().empty() == is_told);
}

TEST_CASE("a gap of a collector that is gone need not be known to a hub whose store forgot that one") {
  Run forgot;
  forgot.log.AddGap("old", {.seqs = {2, 2}});
  forgot.stored().ledger = {{"new", {4, 4}}};
  CHECK_FALSE(forgot.Check().empty());
  forgot.options.remembers_all = false;
  INFO(Text(forgot.Check()));
  CHECK(forgot.Check().empty());
}

TEST_CASE("a batch that got another number is judged by that one") {
  Run run;
  run.options.is_settled = false;
  run.AddBatch("new", 5, 16, false);  // the disk had forgotten that 5 was given
  run.contents.kept["new"].seqs = {7};
  INFO(Text(run.Check()));
  CHECK_FALSE(run.Check().empty());
  run.log.AddSent("c", 16000, "new", 7);
  INFO(Text(run.Check()));
  CHECK(run.Check().empty());
  run.log.AddDurable("new", {5, {{7, 7}}});
  CHECK(run.Check().front().breach == Breach::kLost);
}

TEST_CASE("of one kind only the first few are named") {
  Run run;
  run.history().clear();
  CHECK(run.Check().size() < 8);
}

}  // namespace clusterpulse::sim
