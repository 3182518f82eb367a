#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/wire/messages.h"
#include "hub/ingest/ports.h"
#include "hub/ingest/stream_peer.h"

// Fakes of the ports of hub/ingest. All are thread-safe.
namespace clusterpulse::ingest {

class FakeClusters final : public ClusterDirectory {
 public:
  std::optional<ClusterPolicy> Find(const std::string& cluster) const override;
  // The next Find throws.
  void ThrowNext();
  void Put(const std::string& cluster, ClusterPolicy policy);
  void Erase(const std::string& cluster);

 private:
  mutable base::Mutex mu_;
  std::map<std::string, ClusterPolicy> policies_ ABSL_GUARDED_BY(mu_);
  mutable bool throws_ ABSL_GUARDED_BY(mu_) = false;
};

// One token a cluster. Verify fails as Authenticate. Does not imitate: hashing, bootstrap tokens.
class FakeAuthenticator final : public Authenticator {
 public:
  absl::StatusOr<Credential> Authenticate(const std::string& cluster, std::string_view token) override;
  Validity Check(const std::string& cluster, const Credential& credential) const override;
  absl::Status Verify(const std::string& cluster, const Credential& credential) override;
  void Put(const std::string& cluster, const std::string& token);
  // Whether memory can tell, as at first, or only Verify.
  void SetRemembers(bool remembers);
  // What Authenticate answers from now on; ok: as it finds.
  void Fail(absl::Status status);
  int calls() const;

 private:
  static Credential ToCredential(std::string_view token);

  mutable base::Mutex mu_;
  std::map<std::string, std::string> tokens_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  bool remembers_ ABSL_GUARDED_BY(mu_) = true;
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
};

// Keeps everything in memory, with the store's rules for epochs and repeats. Can be told to fail, to hang and to lose
// all. Does not imitate: documents, time limits of calls.
class FakeCollectorData final : public CollectorData {
 public:
  struct Cluster {
    std::uint64_t epoch = 0;
    std::string instance;
    std::uint64_t state_seq = 0;
    model::DurablePosition durable;
    base::SystemTime newest_durable{};
    store::HeldSamples held;
    store::GapLedger gaps;
    std::optional<store::Presence> presence;
    std::optional<store::Presence::Rival> refused;
    std::vector<model::Batch> applied;      // in order
    std::vector<base::SystemTime> data_at;  // of each
    int presence_writes = 0, durable_writes = 0, gap_writes = 0;
  };

  // `clock` is borrowed.
  explicit FakeCollectorData(const base::Clock& clock) : clock_(clock) {}

  absl::StatusOr<Position> ReadPosition(const std::string& cluster) override;
  absl::StatusOr<std::unique_ptr<ClusterWriter>> TakeOver(const std::string& cluster, std::uint64_t& epoch) override;
  absl::StatusOr<std::optional<store::Presence>> ReadPresence(const std::string& cluster) override;
  absl::Status NoteRefused(const std::string& cluster, const store::Presence::Rival& rival) override;
  std::chrono::milliseconds DurableAfter() const override;
  model::DurableMark Durable() const override;

  Cluster Get(const std::string& cluster) const;
  void SetPresence(const std::string& cluster, store::Presence presence);
  // As the leader does for a collector that is lost.
  void OpenLink(const std::string& cluster, base::SystemTime from);
  // What every call answers from now on; ok: they work again.
  void Fail(absl::Status status);
  void FailApply(absl::Status status);
  void FailGaps(absl::Status status);
  // The next call throws.
  void ThrowNext();
  // Called before each presence is written; null: nothing.
  void OnPresence(std::function<void(const store::Presence&)> hook);
  // Calls block until Resume.
  void Hang();
  void Resume();
  int waiting() const;  // calls that hang now
  void Lose(const std::string& cluster);
  void SetDurableAfter(std::chrono::milliseconds after);
  void BreakContinuity();
  // The store says nothing any more, and so moves no write on to being durable; and again.
  void SetSilent(bool silent);
  int calls() const;
  int durable_calls() const;

 private:
  class Writer;

  // Counts a call, waits while hanging, and says what it must answer.
  absl::Status Enter();
  absl::StatusOr<store::ApplyResult> Write(const std::string& cluster, std::uint64_t epoch,
                                           const std::function<store::ApplyResult(Cluster&)>& write);

  const base::Clock& clock_;
  mutable base::Mutex mu_;
  base::CondVar resumed_;
  std::map<std::string, Cluster> clusters_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_), apply_failure_ ABSL_GUARDED_BY(mu_), gaps_failure_ ABSL_GUARDED_BY(mu_);
  std::function<void(const store::Presence&)> on_presence_ ABSL_GUARDED_BY(mu_);
  bool hanging_ ABSL_GUARDED_BY(mu_) = false, throws_ ABSL_GUARDED_BY(mu_) = false;
  mutable int durable_calls_ ABSL_GUARDED_BY(mu_) = 0;
  int waiting_ ABSL_GUARDED_BY(mu_) = 0, calls_ ABSL_GUARDED_BY(mu_) = 0;
  std::chrono::milliseconds durable_after_ ABSL_GUARDED_BY(mu_){0};
  std::uint64_t continuity_ ABSL_GUARDED_BY(mu_) = 1;
  std::optional<base::SteadyTime> silent_since_ ABSL_GUARDED_BY(mu_);
};

// Records what a session does to its peer.
class FakePeer final : public StreamPeer {
 public:
  void ReadNext() override;
  void Send(std::string bytes) override;
  void Finish(const absl::Status& status) override;
  void Abort() override;

  // The oldest message not taken yet, decoded.
  std::optional<wire::FromHub> Take();
  std::optional<absl::Status> finished() const;
  int reads() const;  // asked for and not yet answered: 0 or 1
  bool aborted() const;
  bool sending() const;  // Send was called and Written was not
  // The test answers the read, or says that what was sent last is written.
  bool TakeRead();
  bool TakeWritten();
  // What a session must never do: two reads or writes at once, anything after Finish.
  std::vector<std::string> faults() const;

 private:
  mutable base::Mutex mu_;
  std::deque<std::string> sent_ ABSL_GUARDED_BY(mu_);
  bool reading_ ABSL_GUARDED_BY(mu_) = false, sending_ ABSL_GUARDED_BY(mu_) = false;
  bool aborted_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> finished_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> faults_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::ingest
