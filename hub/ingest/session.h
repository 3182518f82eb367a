#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include <absl/status/statusor.h>

#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/model/delivery.h"
#include "common/wire/messages.h"
#include "hub/ingest/admission.h"
#include "hub/ingest/batch_lane.h"
#include "hub/ingest/byte_pace.h"
#include "hub/ingest/gap_notes.h"
#include "hub/ingest/ports.h"
#include "hub/ingest/presence_keeper.h"
#include "hub/ingest/receipts.h"
#include "hub/ingest/services.h"
#include "hub/ingest/stream_peer.h"

namespace clusterpulse::ingest {

struct Now {
  base::SteadyTime steady;
  base::SystemTime wall;
};

struct PresenceWritten {
  absl::StatusOr<store::ApplyResult> result;
};
struct DurableWritten {
  absl::StatusOr<store::ApplyResult> result;
  model::DurablePosition durable;
};
struct GapsWritten {
  absl::StatusOr<store::ApplyResult> result;
  std::uint64_t continuity = 0;  // of the store, before the write
};
struct CredentialVerified {
  absl::Status status;
};
// The job threw.
struct JobFailed {
  std::string what;
};
using JobResult = std::variant<AdmissionResult, Stored, PresenceWritten, DurableWritten, GapsWritten, FenceExplained,
                               CredentialVerified, JobFailed>;
// Work that blocks, on the store or the authenticator.
using Job = std::function<JobResult()>;

struct Message {
  std::string bytes;
  Now at;
};

// What happened to a stream since its last step. Later ones may be merged into earlier ones.
struct Events {
  std::optional<Message> message;         // answer to ReadNext
  bool written = false;                   // what was sent last is on its way
  bool half_closed = false;               // the peer will send nothing more
  bool gone = false;                      // the peer is gone
  bool closed = false;                    // Finish was carried out; the last event of the peer
  bool stopping = false;                  // the hub is
  bool recheck = false;                   // policy or credentials of the cluster changed
  std::optional<std::string> superseded;  // who has the stream's place
  std::optional<JobResult> result;        // of the job handed out last
};

// One stream of a collector, from its first message to its end: the protocol, without gRPC, threads or blocking calls.
//
//   registering -> admitting (a job decides) -> live -> ending -> over
//
// Step takes what happened, does everything that is due, and says when to come back. What blocks it hands out as a job,
// one at a time; the job runs anywhere and its result comes with a later Step. The session must live until then, or the
// job's result be dropped unseen. An exception, in a step or a job, ends this stream and no other.
//
// Confined to one thread at a time. `services` and `peer` are borrowed and must outlive this.
class Session {
 public:
  struct Info {
    std::uint64_t id = 0;
    std::string peer;    // address
    std::string bearer;  // token of the metadata; empty: none
  };
  struct Next {
    std::optional<base::SteadyTime> at;  // call Step again then at the latest
    Job job;                             // run it; empty: none
    bool is_history = false;             // of the job: nobody waits for it
    bool over = false;                   // nothing is left to do: drop the session
  };
  enum class Kind { kUnregistered, kDelivery, kUpstream };

  Session(Info info, StreamPeer& peer, const Services& services, Now now);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Next Step(Events events, Now now);

  // Known to Recheck by it; empty before the collector is registered.
  const std::string& cluster() const { return registration_.cluster; }
  Kind kind() const;

 private:
  enum class State { kRegistering, kAdmitting, kLive, kEnding };

  // session.cc: from registration to end; what is read and sent.
  void Advance(Events& events, Now now, Next& next);
  void Failed(std::string_view what, Now now);
  void TakeEvents(Events& events, Now now);
  void TakeMessage(Message message, Now now);
  void Dispatch(wire::EnvelopeFromCollector decoded, Message message, Now now);
  void Register(model::Registration registration, Now now);
  void GoLive(Admission admission, Now now);
  void Recheck(Now now);
  void CheckLimits(Now now);
  void CheckLive(Now now);
  // What is known of holes by now.
  void CheckGaps(Now now);
  void NoteGap(const model::Gap& gap);
  // As the collector said last.
  void CountBacklog(std::int64_t batches, std::uint64_t bytes);
  void NoteLostSamples(const std::vector<SampleWaits::News>& news);
  // What the collector may have in flight; no history while there is no room for it.
  model::Credits CreditsNow(Now now);
  void End(const absl::Status& status, Now now) { End(status, base::Message(status), now); }
  // `reason` is for people.
  void End(const absl::Status& status, std::string_view reason, Now now);
  void Write(Now now);
  std::string MakeWelcome();
  model::CollectorConfig CurrentConfig();
  bool MayRead(Now now) const;
  void ReadOn(Now now);
  std::optional<base::SteadyTime> NextTime(Now now) const;
  bool IsOver(Now now) const;

  // session_jobs.cc: what goes to the store, and what comes of it.
  Job NextJob(Now now, bool& is_history);
  void TakeResult(JobResult result, Now now);
  void Take(AdmissionResult result, Now now);
  void Take(const Stored& stored, Now now);
  void Take(const PresenceWritten& written, Now now);
  void Take(DurableWritten written, Now now);
  void Take(const GapsWritten& written, Now now);
  void Take(const FenceExplained& explained, Now now);
  void Take(const CredentialVerified& verified, Now now);
  void Take(const JobFailed& failed, Now now);
  // True when the write was done; otherwise it is to be done again, or the stream was fenced.
  bool Absorb(const absl::StatusOr<store::ApplyResult>& result, Now now);
  Job WritePresence(Now now);
  Job WriteDurable();
  Job WriteGaps();
  base::SteadyTime presence_due() const;
  base::SteadyTime gaps_due() const;
  base::SteadyTime durable_due() const;

  Info info_;
  StreamPeer& peer_;
  const Services& services_;
  const base::SteadyTime opened_;

  State state_ = State::kRegistering;
  model::Registration registration_;
  model::Capabilities capabilities_;  // common to both
  base::SteadyTime registered_;       // when the registration came
  std::optional<std::string> superseded_;
  // Of the admission job: set once the stream has ended.
  const std::shared_ptr<std::atomic<bool>> withdrawn_ = std::make_shared<std::atomic<bool>>(false);

  // From GoLive on.
  std::shared_ptr<ClusterWriter> writer_;
  Credential credential_;
  std::string uid_, config_hash_;  // of the policy; the hash as told to the collector
  std::optional<Receipts> receipts_;
  std::optional<BatchLane> lane_;
  std::optional<PresenceKeeper> presence_;
  std::optional<GapNotes> gaps_;
  base::SteadyTime gaps_retry_at_{};
  model::SeqRange awaited_{};          // once all are durable nothing is missing of what was made without a link
  std::uint64_t last_seq_ = 0;         // made by the collector, as far as known
  base::SteadyTime stored_at_{};       // the store took something last
  base::SystemTime rejected_until_{};  // upstream: the last batch of those that were rejected
  std::int64_t backlog_batches_ = 0;
  std::uint64_t backlog_bytes_ = 0;
  BytePace pace_;
  base::SteadyTime pressed_until_{};
  base::SteadyTime rechecked_;
  bool verify_due_ = false;
  model::DurablePosition durable_written_;
  base::SteadyTime durable_written_at_;

  // Reading and writing.
  bool reading_ = false;
  base::SteadyTime read_after_{};               // pace
  std::optional<base::SteadyTime> held_since_;  // the stream is not read by the hub's own decision
  std::optional<base::SteadyTime> writing_since_;
  bool welcome_due_ = false, config_due_ = false;

  // Jobs.
  bool job_running_ = false, batch_first_ = false;
  bool fenced_ = false;  // nothing more is written
  int fence_looks_ = 0;
  base::Backoff backoff_;
  base::SteadyTime retry_at_{};

  // Ending.
  base::SteadyTime ended_{};
  std::chrono::seconds end_write_limit_;
  bool closed_ = false, aborted_ = false, failed_ = false;
};

}  // namespace clusterpulse::ingest
