#include "hub/ingest/testing/fakes.h"

#include <algorithm>
#include <functional>
#include <new>
#include <utility>

#include "common/base/status.h"
#include "common/base/time_format.h"

namespace clusterpulse::ingest {

using base::MutexLock;
using store::ApplyResult;

std::optional<ClusterPolicy> FakeClusters::Find(const std::string& cluster) const {
  MutexLock lock(mu_);
  if (std::exchange(throws_, false)) throw std::bad_alloc();
  const auto found = policies_.find(cluster);
  if (found == policies_.end()) return std::nullopt;
  return found->second;
}

void FakeClusters::ThrowNext() {
  MutexLock lock(mu_);
  throws_ = true;
}

void FakeClusters::Put(const std::string& cluster, ClusterPolicy policy) {
  MutexLock lock(mu_);
  policies_[cluster] = std::move(policy);
}

void FakeClusters::Erase(const std::string& cluster) {
  MutexLock lock(mu_);
  policies_.erase(cluster);
}

Credential FakeAuthenticator::ToCredential(std::string_view token) {
  Credential credential;
  std::copy_n(token.begin(), std::min(token.size(), credential.digest.size()), credential.digest.begin());
  return credential;
}

absl::StatusOr<Credential> FakeAuthenticator::Authenticate(const std::string& cluster, std::string_view token) {
  MutexLock lock(mu_);
  ++calls_;
  RETURN_IF_ERROR(failure_);
  const auto known = tokens_.find(cluster);
  if (known == tokens_.end() || known->second != token) return absl::UnauthenticatedError("wrong token");
  return ToCredential(token);
}

Validity FakeAuthenticator::Check(const std::string& cluster, const Credential& credential) const {
  MutexLock lock(mu_);
  if (!remembers_) return Validity::kUnknown;
  const auto known = tokens_.find(cluster);
  return known != tokens_.end() && ToCredential(known->second) == credential ? Validity::kValid : Validity::kRevoked;
}

absl::Status FakeAuthenticator::Verify(const std::string& cluster, const Credential& credential) {
  MutexLock lock(mu_);
  ++calls_;
  RETURN_IF_ERROR(failure_);
  const auto known = tokens_.find(cluster);
  if (known == tokens_.end() || ToCredential(known->second) != credential) {
    return absl::UnauthenticatedError("wrong token");
  }
  return absl::OkStatus();
}

void FakeAuthenticator::SetRemembers(bool remembers) {
  MutexLock lock(mu_);
  remembers_ = remembers;
}

void FakeAuthenticator::Put(const std::string& cluster, const std::string& token) {
  MutexLock lock(mu_);
  tokens_[cluster] = token;
}

void FakeAuthenticator::Fail(absl::Status status) {
  MutexLock lock(mu_);
  failure_ = std::move(status);
}

int FakeAuthenticator::calls() const {
  MutexLock lock(mu_);
  return calls_;
}

class FakeCollectorData::Writer final : public ClusterWriter {
 public:
  Writer(FakeCollectorData& data, std::string cluster, std::uint64_t epoch)
      : data_(data), cluster_(std::move(cluster)), epoch_(epoch) {}

  absl::StatusOr<ApplyResult> Apply(const store::WriterPosition& position, const model::Batch& batch,
                                    base::SystemTime data_at, const store::DurableBatches& durable) override {
    {
      MutexLock lock(data_.mu_);
      RETURN_IF_ERROR(data_.apply_failure_);
    }
    return data_.Write(cluster_, position.epoch, [&](Cluster& cluster) {
      if (cluster.instance == position.instance && position.seq <= cluster.state_seq) return ApplyResult::kRepeated;
      cluster.instance = position.instance;
      cluster.state_seq = position.seq;
      cluster.durable = durable.position;
      cluster.newest_durable = durable.newest;
      if (durable.held.has_value()) cluster.held = *durable.held;
      for (const model::Gap& gap : batch.gaps) cluster.gaps.Record(position.instance, gap);
      cluster.applied.push_back(batch);
      cluster.data_at.push_back(data_at);
      return ApplyResult::kApplied;
    });
  }

  absl::StatusOr<ApplyResult> PutDurable(const std::string& instance, const store::DurableBatches& durable) override {
    return data_.Write(cluster_, epoch_, [&](Cluster& cluster) {
      cluster.instance = instance;
      cluster.durable = durable.position;
      cluster.newest_durable = durable.newest;
      ++cluster.durable_writes;
      return ApplyResult::kApplied;
    });
  }

  absl::StatusOr<ApplyResult> PutGaps(const GapNews& news) override {
    {
      MutexLock lock(data_.mu_);
      RETURN_IF_ERROR(data_.gaps_failure_);
    }
    return data_.Write(cluster_, epoch_, [&](Cluster& cluster) {
      for (const model::Gap& gap : news.gaps) cluster.gaps.Record(news.instance, gap);
      if (news.link.has_value()) cluster.gaps.EndLink(*news.link, news.at);
      ++cluster.gap_writes;
      return ApplyResult::kApplied;
    });
  }

  absl::StatusOr<ApplyResult> PutPresence(const store::Presence& presence) override {
    std::function<void(const store::Presence&)> hook;
    {
      MutexLock lock(data_.mu_);
      hook = data_.on_presence_;
    }
    if (hook) hook(presence);
    return data_.Write(cluster_, presence.epoch, [&](Cluster& cluster) {
      cluster.presence = presence;
      ++cluster.presence_writes;
      return ApplyResult::kApplied;
    });
  }

 private:
  FakeCollectorData& data_;
  const std::string cluster_;
  const std::uint64_t epoch_;
};

absl::Status FakeCollectorData::Enter() {
  MutexLock lock(mu_);
  ++calls_;
  if (std::exchange(throws_, false)) throw std::bad_alloc();
  ++waiting_;
  while (hanging_) resumed_.Wait(mu_);
  --waiting_;
  return failure_;
}

absl::StatusOr<ApplyResult> FakeCollectorData::Write(const std::string& cluster, std::uint64_t epoch,
                                                     const std::function<ApplyResult(Cluster&)>& write) {
  RETURN_IF_ERROR(Enter());
  MutexLock lock(mu_);
  Cluster& at = clusters_[cluster];
  if (at.epoch != epoch) return ApplyResult::kFenced;
  return write(at);
}

absl::StatusOr<Position> FakeCollectorData::ReadPosition(const std::string& cluster) {
  RETURN_IF_ERROR(Enter());
  MutexLock lock(mu_);
  const Cluster& at = clusters_[cluster];
  Position position{at.epoch, at.instance, at.state_seq, {at.durable, at.newest_durable}};
  if (at.held.batches > 0) position.durable.held = at.held;
  return position;
}

absl::StatusOr<std::unique_ptr<ClusterWriter>> FakeCollectorData::TakeOver(const std::string& cluster,
                                                                           std::uint64_t& epoch) {
  RETURN_IF_ERROR(Enter());
  MutexLock lock(mu_);
  Cluster& at = clusters_[cluster];
  at.epoch = std::max(at.epoch + 1, static_cast<std::uint64_t>(base::UnixMillis(clock_.Now())));
  epoch = at.epoch;
  return std::make_unique<Writer>(*this, cluster, epoch);
}

absl::StatusOr<std::optional<store::Presence>> FakeCollectorData::ReadPresence(const std::string& cluster) {
  RETURN_IF_ERROR(Enter());
  MutexLock lock(mu_);
  return clusters_[cluster].presence;
}

absl::Status FakeCollectorData::NoteRefused(const std::string& cluster, const store::Presence::Rival& rival) {
  RETURN_IF_ERROR(Enter());
  MutexLock lock(mu_);
  clusters_[cluster].refused = rival;
  return absl::OkStatus();
}

std::chrono::milliseconds FakeCollectorData::DurableAfter() const {
  MutexLock lock(mu_);
  return durable_after_;
}

model::DurableMark FakeCollectorData::Durable() const {
  MutexLock lock(mu_);
  ++durable_calls_;
  return {continuity_, silent_since_.value_or(clock_.Steady()) - durable_after_};
}

void FakeCollectorData::SetSilent(bool silent) {
  MutexLock lock(mu_);
  silent_since_ = silent ? std::optional(clock_.Steady()) : std::nullopt;
}

FakeCollectorData::Cluster FakeCollectorData::Get(const std::string& cluster) const {
  MutexLock lock(mu_);
  const auto found = clusters_.find(cluster);
  return found == clusters_.end() ? Cluster() : found->second;
}

void FakeCollectorData::SetPresence(const std::string& cluster, store::Presence presence) {
  MutexLock lock(mu_);
  Cluster& at = clusters_[cluster];
  at.epoch = std::max(at.epoch, presence.epoch);
  at.presence = std::move(presence);
}

void FakeCollectorData::Fail(absl::Status status) {
  MutexLock lock(mu_);
  failure_ = std::move(status);
}

void FakeCollectorData::FailApply(absl::Status status) {
  MutexLock lock(mu_);
  apply_failure_ = std::move(status);
}

void FakeCollectorData::FailGaps(absl::Status status) {
  MutexLock lock(mu_);
  gaps_failure_ = std::move(status);
}

void FakeCollectorData::OpenLink(const std::string& cluster, base::SystemTime from) {
  MutexLock lock(mu_);
  clusters_[cluster].gaps.OpenLink(from, true);
}

void FakeCollectorData::ThrowNext() {
  MutexLock lock(mu_);
  throws_ = true;
}

void FakeCollectorData::OnPresence(std::function<void(const store::Presence&)> hook) {
  MutexLock lock(mu_);
  on_presence_ = std::move(hook);
}

int FakeCollectorData::durable_calls() const {
  MutexLock lock(mu_);
  return durable_calls_;
}

void FakeCollectorData::Hang() {
  MutexLock lock(mu_);
  hanging_ = true;
}

void FakeCollectorData::Resume() {
  MutexLock lock(mu_);
  hanging_ = false;
  resumed_.NotifyAll();
}

int FakeCollectorData::waiting() const {
  MutexLock lock(mu_);
  return hanging_ ? waiting_ : 0;
}

void FakeCollectorData::Lose(const std::string& cluster) {
  MutexLock lock(mu_);
  clusters_.erase(cluster);
}

void FakeCollectorData::SetDurableAfter(std::chrono::milliseconds after) {
  MutexLock lock(mu_);
  durable_after_ = after;
}

void FakeCollectorData::BreakContinuity() {
  MutexLock lock(mu_);
  ++continuity_;
}

int FakeCollectorData::calls() const {
  MutexLock lock(mu_);
  return calls_;
}

void FakePeer::ReadNext() {
  MutexLock lock(mu_);
  if (reading_) faults_.emplace_back("two reads at once");
  if (finished_) faults_.emplace_back("a read after Finish");
  reading_ = true;
}

void FakePeer::Send(std::string bytes) {
  MutexLock lock(mu_);
  if (sending_) faults_.emplace_back("two writes at once");
  if (finished_) faults_.emplace_back("a write after Finish");
  sending_ = true;
  sent_.push_back(std::move(bytes));
}

void FakePeer::Finish(const absl::Status& status) {
  MutexLock lock(mu_);
  if (finished_) faults_.emplace_back("Finish twice");
  finished_ = status;
}

void FakePeer::Abort() {
  MutexLock lock(mu_);
  aborted_ = true;
}

std::optional<wire::FromHub> FakePeer::Take() {
  MutexLock lock(mu_);
  if (sent_.empty()) return std::nullopt;
  absl::StatusOr<wire::FromHub> message = wire::DecodeFromHub(sent_.front());
  sent_.pop_front();
  if (!message.ok()) {
    faults_.push_back("a message that is none: " + message.status().ToString());
    return std::nullopt;
  }
  return *std::move(message);
}

std::optional<absl::Status> FakePeer::finished() const {
  MutexLock lock(mu_);
  return finished_;
}

int FakePeer::reads() const {
  MutexLock lock(mu_);
  return reading_ ? 1 : 0;
}

bool FakePeer::aborted() const {
  MutexLock lock(mu_);
  return aborted_;
}

bool FakePeer::sending() const {
  MutexLock lock(mu_);
  return sending_;
}

bool FakePeer::TakeRead() {
  MutexLock lock(mu_);
  return std::exchange(reading_, false);
}

bool FakePeer::TakeWritten() {
  MutexLock lock(mu_);
  return std::exchange(sending_, false);
}

std::vector<std::string> FakePeer::faults() const {
  MutexLock lock(mu_);
  return faults_;
}

}  // namespace clusterpulse::ingest
