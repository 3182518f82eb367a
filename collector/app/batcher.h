#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "collector/observe/cluster_observer.h"
#include "collector/sources/source_set.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/model/batch.h"
#include "common/model/row_stream.h"

namespace clusterpulse::collector {

// Decides when a batch is made:
//   - one each interval, connected or not, on ticks that do not drift (those missed are skipped);
//   - a full one at once when the hub was connected or needs state anew (Connected);
//   - an early one at once when there is news, then at most one per early_gap. Not while disconnected: it would only
//     push older ones out of the buffer, and the next connect brings a full one, with the news. Nor while the hub has
//     not taken the last one: for the same reason the news waits.
// The first waits until the cluster has been read, or for first_limit; when the rest is read after that, or can be read
// again, it is news. A batch without any content is not handed on; one that holds nothing but results of sources is.
// The first with nodes and counts after some without tells of the hole between (Batch::gaps).
//
// Connected, News and SetInterval only take note and wake the thread; they come from any. Start and Stop run Step on a
// thread of its own; without Start the owner calls Step, as tests do.
class Batcher {
 public:
  struct Options {
    std::string cluster;
    std::chrono::seconds interval{60};
    std::chrono::milliseconds early_gap{2000};
    std::chrono::milliseconds first_limit{60000};
  };
  struct Ports {
    // All of the cluster is known as it is now; asked at every turn.
    std::function<bool()> is_current;
    // There is a stream to the hub; the last batch still waits to be taken by it.
    std::function<bool()> is_connected, is_pending;
    std::function<observe::Observation(bool full)> observe;
    // What metric sources gave, for a batch collected at that time; null: nothing. What it has more is news.
    std::function<sources::SourceSet::Taken(bool full, base::SystemTime collected_at)> sources = nullptr;
    // `full`: it carries every scope that is known.
    // `streams`: results of it whose rows are still to be made.
    std::function<void(model::Batch batch, std::vector<model::RowStream> streams, bool full)> deliver;
  };
  // Clock and generator are borrowed and must outlive this. The interval begins with the first Step.
  Batcher(Options options, Ports ports, const base::Clock& clock, base::Random& random);
  ~Batcher();
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  void Start();
  // Returns when the thread has ended: at once, or after the batch it is making. May be called again.
  void Stop();

  void Connected();
  void News();
  // In force at once: the next batch comes one such interval after the last tick. REQUIRES: positive.
  void SetInterval(std::chrono::seconds interval);

  // For heartbeats and probes.
  struct Status {
    std::chrono::seconds interval{0};
    std::chrono::milliseconds last_collection{0};  // it took
    base::SteadyTime last_turn{};                  // of the loop; at least one in 10 s while it runs
    base::SteadyTime next_tick{};                  // the batch that comes without news; before the first: last_turn
  };
  Status status() const;

  // Makes the batch that is due, if any; returns when the next call is due, unless woken before. Confined to one
  // thread.
  base::SteadyTime Step();

 private:
  void Run();
  // True when the next batch should come soon.
  bool Collect(bool full);
  void TellHole(model::Batch& batch);

  // Constant after construction.
  const Options options_;
  const Ports ports_;
  const base::Clock& clock_;
  base::Random& random_;

  // Confined to the thread of Step.
  std::optional<base::SteadyTime> began_;
  std::optional<base::SteadyTime> last_tick_;
  base::SteadyTime early_from_{};
  bool wants_full_ = true, has_news_ = false, was_current_ = true;
  base::SystemTime last_collected_at_{};
  std::optional<base::SystemTime> last_whole_;  // collection of the last batch with nodes and counts
  std::optional<base::SystemTime> hole_from_;   // those after it had none since then

  mutable base::Mutex mu_;
  base::CondVar woken_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false, wake_ ABSL_GUARDED_BY(mu_) = false;
  bool connected_ ABSL_GUARDED_BY(mu_) = false, news_ ABSL_GUARDED_BY(mu_) = false;
  Status status_ ABSL_GUARDED_BY(mu_);

  base::Mutex lifecycle_mu_;  // held while joining
  std::jthread thread_ ABSL_GUARDED_BY(lifecycle_mu_);
};

// A random UUID, version 4.
std::string RandomUuid(base::Random& random);

}  // namespace clusterpulse::collector
