#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/model/delivery.h"
#include "hub/history/history_writer.h"
#include "hub/store/durable_batches.h"

namespace clusterpulse::ingest {

// The samples of a cluster's batches on their way to the history store: which are durable there, which are lost and
// which were refused. A plain value, confined to one thread; time is an argument. Bounded by the writer's queue, as far
// as tickets wait in it; what was taken and is not durable yet is kept as ranges.
class SampleWaits {
 public:
  enum class Fate { kDurable, kLost, kRefused };
  struct News {
    Fate fate = Fate::kDurable;
    model::SeqRange seqs;           // 0, 0: of somebody before, or of no batch
    base::SystemTime from{}, to{};  // when the first and the last of them were collected
    std::string why;                // refused: for a person
  };

  // `writer`: null: nothing is ever added. Borrowed.
  explicit SampleWaits(const history::HistoryWriter* writer) : writer_(writer) {}

  // `from` is `to`, when it was collected, or what its loss is known from.
  void Add(std::uint64_t seq, base::SystemTime from, base::SystemTime to, std::shared_ptr<const history::Ticket> ticket,
           base::SteadyTime now);
  // Samples of the cluster that are of no batch: they do not count as held. Their news have no numbers.
  void AddBeside(base::SystemTime from, base::SystemTime to, std::shared_ptr<const history::Ticket> ticket,
                 base::SteadyTime now);
  // What somebody before held, and `ticket` (HistoryWriter::Find) says the fate of. Its news have no numbers.
  void AddHeld(const store::HeldSamples& held, std::shared_ptr<const history::Ticket> ticket, base::SteadyTime now);
  // All that waits; of that what AddHeld added.
  store::HeldSamples Held() const;
  store::HeldSamples HeldBefore() const;
  bool empty() const { return waits_.empty(); }
  std::size_t size() const { return waits_.size(); }
  // When Step may have news; max(): nothing waits.
  base::SteadyTime next_look() const { return next_look_; }
  // What came of them since the last Step, in the order they were added.
  std::vector<News> Step(base::SteadyTime now);

 private:
  struct Wait {
    model::SeqRange seqs;
    std::uint64_t batches = 1;
    base::SystemTime from{}, to{};
    std::shared_ptr<const history::Ticket> ticket;  // until it is accepted
    base::SteadyTime since{};                       // added, then accepted
    base::SteadyTime first_since{};                 // of the first that was joined
    std::uint64_t continuity = 0;
  };

  const history::HistoryWriter* writer_;
  std::vector<Wait> waits_;
  base::SteadyTime next_look_ = base::SteadyTime::max();
};

}  // namespace clusterpulse::ingest
