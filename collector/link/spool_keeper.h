#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "collector/spool/spool.h"
#include "common/base/clock.h"
#include "common/log/logger.h"

namespace clusterpulse::link {

// The spool as Outbox uses it: opened as soon as it can be, written to while that works, and else tried again, after 1
// s to 30 s. It makes the log say when batches begin to be kept in memory only, and when that ends.
//
// Not thread-safe: Outbox sees to it that one thread at a time is in here. Calls block as long as the disk does.
class SpoolKeeper {
 public:
  using Opener = std::function<absl::StatusOr<std::unique_ptr<spool::Spool>>()>;

  // Without `open` there is to be none. `clock` is borrowed.
  SpoolKeeper(Opener open, const base::Clock& clock, log::Logger log)
      : open_(std::move(open)), clock_(clock), log_(std::move(log)) {}

  bool is_wanted() const { return open_ != nullptr; }
  spool::Spool* spool() const { return spool_.get(); }  // null: not open yet

  // Opens it if that is due. True when this made it open.
  bool Open();
  // It works, or may by now.
  bool IsDue() const { return trouble_.ok() || clock_.Steady() >= retry_at_; }
  // Spool::Append. An error of the disk makes trouble, success ends it.
  absl::Status Append(std::uint64_t seq, base::SystemTime collected_at, std::string_view payload);
  // Spool::NoteGiven. A disk that was not to be told is told when it is due again, and not before.
  void NoteGiven(std::uint64_t seq, base::SystemTime collected_at);
  // Spool::Read.
  absl::StatusOr<std::string> Read(std::uint64_t seq);

  // Why batches are kept in memory only; ok: they are not, or there is to be no spool.
  const absl::Status& trouble() const { return trouble_; }
  // Opens, writes and reads that failed, ever.
  std::uint64_t errors() const { return errors_; }

 private:
  void Failed(const absl::Status& why);
  void Worked();

  const Opener open_;
  const base::Clock& clock_;
  const log::Logger log_;
  std::unique_ptr<spool::Spool> spool_;
  absl::Status trouble_;
  base::SteadyTime retry_at_{};
  std::chrono::seconds wait_{0};  // the next one
  std::uint64_t errors_ = 0;
};

}  // namespace clusterpulse::link
