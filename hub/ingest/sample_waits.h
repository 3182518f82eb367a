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

namespace clusterpulse::ingest {

// The samples of a cluster's batches on their way to the history store: which are durable there, which are lost and
// which were refused. A plain value, confined to one thread; time is an argument. Bounded by the writer's queue, as far
// as tickets wait in it; what was taken and is not durable yet is kept as ranges.
class SampleWaits {
 public:
  enum class Fate { kDurable, kLost, kRefused };
  struct News {
    Fate fate = Fate::kDurable;
    model::SeqRange seqs;
    base::SystemTime from{}, to{};  // when the first and the last of them were collected
    std::string why;                // refused: for a person
  };

  // `writer`: null: nothing is ever added. Borrowed.
  explicit SampleWaits(const history::HistoryWriter* writer) : writer_(writer) {}

  // `from` is `to`, when it was collected, or what its loss is known from.
  void Add(std::uint64_t seq, base::SystemTime from, base::SystemTime to, std::shared_ptr<const history::Ticket> ticket,
           base::SteadyTime now);
  bool empty() const { return waits_.empty(); }
  std::size_t size() const { return waits_.size(); }
  // When Step may have news; max(): nothing waits.
  base::SteadyTime next_look() const { return next_look_; }
  // What came of them since the last Step, in the order they were added.
  std::vector<News> Step(base::SteadyTime now);

 private:
  struct Wait {
    model::SeqRange seqs;
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
