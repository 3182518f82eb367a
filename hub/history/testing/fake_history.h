#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/model/batch.h"
#include "hub/history/history_writer.h"

namespace clusterpulse::history {

// A store of samples in memory, and the queue towards it, with the real one's rules for what is durable. Can be told to
// hang, to drop, to refuse, to be full, to crash and to fall silent. Thread-safe. Does not imitate: series (it keeps
// batches), bytes, threads, retries.
class FakeHistoryWriter final : public HistoryWriter {
 public:
  enum class Mode {
    kAccept,
    kHang,  // what comes waits until Settle
    kDrop,
    kRefuse,
  };
  // What a batch is known by: its cluster and when it was collected.
  using Key = std::pair<std::string, base::SystemTime>;

  // `clock` is borrowed.
  explicit FakeHistoryWriter(const base::Clock& clock) : clock_(clock) {}

  std::shared_ptr<const Ticket> Write(const model::Batch& batch) override;
  // Answered at once, but in mode kHang: then with the next SetMode or Settle.
  std::shared_ptr<const Ticket> Find(const Sought& sought) override;
  std::chrono::milliseconds DurableAfter() const override;
  model::DurableMark Durable() const override;
  bool HasRoom() const override;

  // `why` is what a refusal says.
  void SetMode(Mode mode, std::string why = "no");
  // Settles the first `count` of those that wait.
  void Settle(Mode mode, std::size_t count = SIZE_MAX);
  void SetRoom(bool room);
  void SetDurableAfter(std::chrono::milliseconds after);
  // The store says nothing any more, and so nothing becomes durable; and again.
  void SetSilent(bool silent);
  // The store is killed and comes back: what it took within the last DurableAfter is gone.
  void Crash();
  // The hub is killed: what waits is gone.
  void ForgetWaiting();

  std::vector<model::Batch> written() const;  // each call of Write, in order
  std::vector<Sought> sought() const;         // and of Find
  std::size_t waiting() const;
  // How often the store took what is in it now.
  std::map<Key, int> stored() const;
  bool Has(const model::Batch& batch) const { return stored().contains({batch.cluster, batch.collected_at}); }

 private:
  struct Waiting {
    Key key;
    std::shared_ptr<Ticket> ticket;
  };
  struct Kept {
    int times = 0;
    base::SteadyTime first_at{};  // taken and not lost since
  };
  struct Finding {
    Sought sought;
    std::shared_ptr<Ticket> ticket;
  };
  void SettleLocked(const Waiting& waiting, Mode mode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AnswerLocked(const Finding& finding) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const base::Clock& clock_;
  mutable base::Mutex mu_;
  Mode mode_ ABSL_GUARDED_BY(mu_) = Mode::kAccept;
  std::string why_ ABSL_GUARDED_BY(mu_) = "no";
  bool room_ ABSL_GUARDED_BY(mu_) = true;
  std::chrono::milliseconds durable_after_ ABSL_GUARDED_BY(mu_){0};
  std::uint64_t continuity_ ABSL_GUARDED_BY(mu_) = 1;
  std::optional<base::SteadyTime> silent_since_ ABSL_GUARDED_BY(mu_);
  std::vector<model::Batch> written_ ABSL_GUARDED_BY(mu_);
  std::vector<Sought> sought_ ABSL_GUARDED_BY(mu_);
  std::vector<Waiting> waiting_ ABSL_GUARDED_BY(mu_);
  std::vector<Finding> findings_ ABSL_GUARDED_BY(mu_);  // not answered
  std::map<Key, Kept> stored_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::history
