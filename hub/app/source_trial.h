#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <thread>

#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "common/json/writer.h"
#include "common/metricsource/collect.h"
#include "common/metricsource/source.h"

namespace clusterpulse::app {

// What `metricsource try` shows of a run, for a person: at most `most_rows` rows, aggregations, how the fields fit the
// objects, what the run cost. Long texts are cut, and what would disturb a terminal is replaced. REQUIRES: the run did
// not fail.
std::string TrialTable(const metricsource::Source& source, const metricsource::Collection& run, std::size_t most_rows);

// Everything of a run, as members of the JSON object that is being written; of a failed one why, and what it cost.
void WriteTrial(const metricsource::Source& source, const metricsource::Collection& run, json::Writer& writer);

// Says how far a run is, once that takes long: one thread, from the constructor to the destructor. While no objects
// come only every tenth line is said: a server that does not answer has its own line in the end.
class TrialProgress {
 public:
  struct Options {
    std::chrono::milliseconds first{2000}, every{1000};  // times of the first line, and between two
    std::function<void(const std::string& line)> print;  // from the thread; never after the destructor
  };
  TrialProgress(std::string what, Options options);
  ~TrialProgress();
  TrialProgress(const TrialProgress&) = delete;
  TrialProgress& operator=(const TrialProgress&) = delete;

  // Thread-safe.
  void Update(const metricsource::CollectOptions::Progress& work);

 private:
  void Run();

  const std::string what_;
  const Options options_;
  base::Mutex mu_;
  metricsource::CollectOptions::Progress work_ ABSL_GUARDED_BY(mu_);
  base::StopSignal stop_;
  std::jthread thread_;  // last: uses the others
};

}  // namespace clusterpulse::app
