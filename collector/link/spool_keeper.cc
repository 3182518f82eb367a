#include "collector/link/spool_keeper.h"

#include <algorithm>
#include <utility>

namespace clusterpulse::link {
namespace {

// Each failed write may take the disk a while, and the next batch waits for it.
constexpr std::chrono::seconds kFirstWait{1}, kLongestWait{30};

// Of this one record: the disk is as it was.
bool IsOfRecord(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status);
}

}  // namespace

bool SpoolKeeper::Open() {
  if (open_ == nullptr || spool_ != nullptr || !IsDue()) return false;
  absl::StatusOr<std::unique_ptr<spool::Spool>> spool = open_();
  if (!spool.ok()) {
    Failed(spool.status());
    return false;
  }
  spool_ = *std::move(spool);
  Worked();
  return true;
}

absl::Status SpoolKeeper::Append(std::uint64_t seq, base::SystemTime collected_at, std::string_view payload) {
  absl::Status status = spool_->Append(seq, collected_at, payload);
  if (status.ok()) {
    Worked();
  } else if (IsOfRecord(status)) {
    ++errors_;
    log_.Debug("a batch does not go into the spool", {{"seq", seq}, {"error", log::ToText(status)}});
  } else {
    Failed(status);
  }
  return status;
}

void SpoolKeeper::NoteGiven(std::uint64_t seq, base::SystemTime collected_at) {
  // What fails is tried again with the next batch.
  (void)spool_->NoteGiven(seq, collected_at, IsDue() || spool_->is_head_written());
}

absl::StatusOr<std::string> SpoolKeeper::Read(std::uint64_t seq) {
  absl::StatusOr<std::string> payload = spool_->Read(seq);
  if (!payload.ok() && !absl::IsNotFound(payload.status())) ++errors_;
  return payload;
}

void SpoolKeeper::Failed(const absl::Status& why) {
  ++errors_;
  if (trouble_.ok()) {
    wait_ = kFirstWait;
    log_.Warn("the spool does not work: batches are kept in memory only", {{"error", log::ToText(why)}});
  }
  trouble_ = why;
  retry_at_ = clock_.Steady() + wait_;
  wait_ = std::min(wait_ * 2, kLongestWait);
}

void SpoolKeeper::Worked() {
  if (!trouble_.ok()) log_.Info("the spool works again: batches are kept on disk");
  trouble_ = absl::OkStatus();
}

}  // namespace clusterpulse::link
