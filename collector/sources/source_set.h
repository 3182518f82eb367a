#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/metricsource/collect.h"
#include "common/metricsource/source.h"
#include "common/model/batch.h"
#include "common/model/row_stream.h"

namespace clusterpulse::sources {

// The MetricSources in force, when each is to run, and what it gave last. SourceRunner is the threads around it.
//
//   hub --definitions--> Apply     Begin --run--> Collect --collection--> End     Take --results--> batch
//
// A source runs at once when it is new or another one, then on ticks that do not drift: the first a quarter to five
// quarters of its interval later, at random, so that many collectors that got it at one moment do not go on in step;
// ticks missed are skipped. A run that failed, wholly or in part, is repeated half an interval after it ended, but at
// least 30 s.
//
// What a run gave is kept as the table it came in, until the next one has succeeded, and made into rows only for a
// batch. Plain bookkeeping without threads or I/O. Thread-safe.
class SourceSet {
 public:
  static constexpr std::chrono::seconds kShortestRetry{30};
  // About what fits into one message. As the wire's structures, rows take many times what they do here.
  static constexpr std::size_t kMostRows = 2000;

  // Both borrowed; must outlive this.
  SourceSet(const base::Clock& clock, base::Random& random) : clock_(clock), random_(random) {}

  struct Applied {
    // "metric source ns/name: rejected: ...": a line for each that is not in force as it was given, in order.
    std::vector<std::string> problems;
    std::vector<std::string> gone;  // ids of sources that were in force and are not any more
    std::size_t in_force = 0, rejected = 0;
    bool is_changed = false;  // definitions() gives something else
    bool has_news = false;    // a rejection that no batch has told yet
  };
  // From now on these are all. One that cannot be compiled changes nothing for the others, nor for the version of it
  // that is in force, if there is one. One that is in force already goes on undisturbed. Runs of what is gone or
  // replaced are asked to stop, and what they give is not used.
  Applied Apply(const std::vector<std::string>& definitions);
  // The version of a source that is in force; null: there is none.
  std::shared_ptr<const metricsource::Source> Find(std::string_view id) const;
  // Those in force, by id, as they were given.
  std::vector<std::string> definitions() const;

  struct Run {
    std::shared_ptr<const metricsource::Source> source;
    std::uint64_t number = 0;
    std::stop_token stop;
  };
  // The one that waits longest of those that are due; each source runs once at a time.
  std::optional<Run> Begin();
  // When Begin will have one; nullopt: unless something is applied, or ends, never.
  std::optional<base::SteadyTime> due() const;

  struct Ended {
    bool is_used = false;  // false: the source was replaced in between
    bool is_news = false;  // the first of this version, or it ended another way than the one before
    std::chrono::seconds interval{0};
  };
  // REQUIRES: `collection` is of run.source.
  Ended End(const Run& run, metricsource::Collection collection);
  // Asks all runs to stop.
  void StopRuns();

  struct Taken {
    // By id, at most one of a source in both.
    std::vector<model::SourceResult> results;
    std::vector<model::RowStream> streams;  // those that would make it more than kMostRows
    bool has_more = false;                  // the next batch should come soon
  };
  // What a batch is to carry that was collected just now, at `collected_at`: what is new since the last call, and with
  // `full` the newest rows of every source besides. Of a source that gave rows and then failed, or whose new definition
  // was rejected, the rows go first and the failure with the next batch: a batch has room for one of them. Without
  // `with_failures` failures stay: for a hub that would take them for no rows.
  //
  // However often a result is taken, collected_at - age is the same to the millisecond: when the run began, by the
  // clock of the first batch that carries it. (A clock that is set to before that moves it, once.) Never negative.
  Taken Take(bool full, bool with_failures, base::SystemTime collected_at);

  // Now while no run takes longer than it should; else since when. For liveness.
  base::SteadyTime last_turn() const;

 private:
  // When a run began.
  struct Moment {
    base::SteadyTime steady{};
    std::optional<base::SystemTime> system;  // as batches have it; whole milliseconds
  };
  struct Rows {
    std::shared_ptr<const metricsource::Collection> collection;
    Moment began;
  };
  struct Failure {
    model::SourceResult result;
    Moment began;
  };
  struct Entry {
    std::string text;                                    // in force
    std::string hash;                                    // as whoever made it names it
    std::shared_ptr<const metricsource::Source> source;  // null: no version of it ever compiled
    std::string rejected_text, problem;                  // of a newer one that does not compile; empty: there is none

    base::SteadyTime due{};
    std::optional<base::SteadyTime> tick;  // any one of its ticks
    std::uint64_t running = 0;             // number of the run; 0: none
    base::SteadyTime begun{};              // of it
    std::stop_source stop;                 // of runs of this version

    // All of the version in force.
    std::optional<Rows> rows;
    std::optional<Failure> failure;           // of the last run
    std::optional<std::string> last_outcome;  // of the last run; nullopt: there was none
    std::optional<Failure> rejection;         // of the newer one
    bool is_rows_new = false, is_failure_new = false;

    bool HasFailure() const { return rejection.has_value() || failure.has_value(); }
  };
  using Entries = std::map<std::string, Entry, std::less<>>;
  // One of the texts that Apply was given.
  struct Definition {
    std::string text, id, hash;
    std::shared_ptr<const metricsource::Source> source;
    bool is_known = false;  // as it was given before: not compiled anew
    std::string problem;
  };

  // Sets id and hash, or problem and no id.
  static Definition Read(const std::string& text, std::size_t index);
  static void Compile(Definition& definition);
  void TakeInLocked(Definition definition, Applied& applied, std::vector<std::stop_source>& stops)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static std::chrono::milliseconds AgeAt(Moment& moment, base::SystemTime collected_at, base::SteadyTime now);

  const base::Clock& clock_;
  base::Random& random_;  // synchronises itself

  base::Mutex apply_mu_;  // one Apply at a time; taken before mu_
  mutable base::Mutex mu_;
  Entries entries_ ABSL_GUARDED_BY(mu_);
  std::uint64_t last_run_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace clusterpulse::sources
