#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/model/delivery.h"

namespace clusterpulse::store {

// A hole in the history of a cluster, as it is kept.
struct KnownGap {
  base::SystemTime from{};
  std::optional<base::SystemTime> to;  // absent: open
  model::GapCause cause = model::GapCause::kCollectorDown;
  model::SeqRange seqs{};   // of the batches that are lost; 0, 0: none was made, or no longer told
  std::string instance;     // whose numbers they are
  bool fillable = false;    // what is missing may still come
  std::uint64_t holes = 1;  // it stands for so many
  bool operator==(const KnownGap&) const = default;
};

struct GapSummary {
  std::uint64_t count = 0, open = 0;       // holes; of them those that are open
  std::optional<base::SystemTime> oldest;  // when the oldest begins
  bool operator==(const GapSummary&) const = default;
};

// All holes in the history of one cluster (document cluster:C:gaps, ours). delivery.md 8. A plain value.
//
// The same hole told twice, or in pieces, is one: by its numbers, or by cause and time when it has none. Of more than
// kMostEntries the two oldest are joined, which the count does not forget. What ended longer than kKept ago goes.
class GapLedger {
 public:
  static constexpr std::size_t kMostEntries = 256;
  static constexpr std::chrono::hours kKept{30 * 24};

  // What of a hole that is told was not known: nothing, a part of it, or that there is one.
  enum class Told { kKnown, kGrown, kNew };
  // `instance`: whose numbers the gap has, if any.
  Told Record(std::string_view instance, const model::Gap& gap);
  // The link to the collector is lost, or (`fillable` is false) the cluster cannot be read. Once: while a hole is open,
  // nothing is new.
  bool OpenLink(base::SystemTime from, bool fillable, model::GapCause cause = model::GapCause::kLinkDown);
  // It is back: everything that was made meanwhile has come (a hole that can be filled is gone), or cannot come any
  // more.
  enum class LinkEnd { kFilled, kLost };
  bool EndLink(LinkEnd end, base::SystemTime to);
  // True when anything went.
  bool Prune(base::SystemTime now);

  const KnownGap* open_link() const;
  const std::vector<KnownGap>& gaps() const { return gaps_; }  // by `from`
  std::uint64_t total() const { return total_; }               // ever, without those that were filled
  GapSummary Summary() const;

  // Counts the writes of the document: WriterPosition::gaps_revision.
  std::uint64_t revision() const { return revision_; }
  // The document of the next revision.
  std::string Next();
  // Lenient; what cannot be read is left out.
  static GapLedger Read(std::string_view json);
  bool operator==(const GapLedger&) const = default;

 private:
  Told RecordNumbers(std::string_view instance, const model::Gap& gap);
  Told RecordTimes(const model::Gap& gap);
  void Add(KnownGap gap);
  void JoinOldest();

  std::vector<KnownGap> gaps_;
  std::uint64_t total_ = 0, revision_ = 0;
};

}  // namespace clusterpulse::store
