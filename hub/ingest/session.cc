#include "hub/ingest/session.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "common/base/status.h"

namespace clusterpulse::ingest {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr seconds kRegisterLimit{10};
// Of a message of somebody who is not known yet: more is not even decoded.
constexpr std::size_t kMostUnregistered = std::size_t{64} << 10;
// A collector of ours takes a hub that is silent for long for an upstream one, and does better to come back; an
// upstream one comes back at once, every time.
constexpr seconds kAdmissionLimit{10};
constexpr minutes kUpstreamAdmissionLimit{5};
// A step after the first looks at the policy again, by the way; none within the second brings one about.
constexpr seconds kRecheckAfter{20}, kRecheckInterval{40};
constexpr minutes kLimitShown{5};
constexpr milliseconds kHeldPoll{250};
// The queue towards the history store is full: no history is taken. Not less, or the credits would go up and down.
constexpr milliseconds kPressed{1000};
constexpr seconds kAbortAfter{5};  // a peer that does not take the status
// The end of a stream is written within that time, or given up; when the hub stops it has less.
constexpr seconds kEndWriteLimit{30}, kLastWriteLimit{5};

constexpr base::Backoff::Options kStoreBackoff{.initial = milliseconds(250), .max = milliseconds(4000), .jitter = 0.25};
constexpr model::Capabilities kOurs{.delivery = true, .parts = true, .config_report = true};

std::string_view ToLabel(Session::Kind kind) {
  switch (kind) {
    case Session::Kind::kUnregistered:
      return "unregistered";
    case Session::Kind::kDelivery:
      return "delivery";
    case Session::Kind::kUpstream:
      return "upstream";
  }
  return "";
}

}  // namespace

Session::Session(Info info, StreamPeer& peer, const Services& services, Now now)
    : info_(std::move(info)),
      peer_(peer),
      services_(services),
      opened_(now.steady),
      backoff_(kStoreBackoff, services.random),
      end_write_limit_(kEndWriteLimit) {
  services_.metrics.streams.With({ToLabel(kind())}).Add(1);
}

Session::~Session() {
  services_.metrics.streams.With({ToLabel(kind())}).Add(-1);
  CountBacklog(0, 0);
}

Session::Kind Session::kind() const {
  if (!receipts_) return Kind::kUnregistered;
  return receipts_->upstream() ? Kind::kUpstream : Kind::kDelivery;
}

Session::Next Session::Step(Events events, Now now) {
  Next next;
  try {
    Advance(events, now, next);
  } catch (const std::exception& e) {
    closed_ |= events.closed;
    Failed(e.what(), now);
  }
  next.over = IsOver(now);
  if (!next.over) next.at = NextTime(now);
  return next;
}

void Session::Advance(Events& events, Now now, Next& next) {
  if (failed_) End(absl::InternalError("the hub failed"), now);  // if even that failed before
  if (events.result) TakeResult(*std::move(events.result), now);
  TakeEvents(events, now);
  CheckLimits(now);
  if (state_ == State::kLive) CheckLive(now);

  next.job = NextJob(now, next.is_history);
  job_running_ |= next.job != nullptr;
  if (state_ == State::kLive) Write(now);
  if (reading_) return;
  if (MayRead(now)) {
    ReadOn(now);
  } else if (!held_since_) {
    held_since_ = now.steady;
  }
}

void Session::Failed(std::string_view what, Now now) {
  failed_ = true;
  End(absl::InternalError("the hub failed"), now);
  services_.log.Write(log::Level::kError, "a stream failed", {{"cluster", registration_.cluster}, {"error", what}});
}

void Session::ReadOn(Now now) {
  if (held_since_ && lane_) lane_->WasHeld(now.steady - *held_since_);
  held_since_.reset();
  reading_ = true;
  peer_.ReadNext();
}

void Session::TakeEvents(Events& events, Now now) {
  if (events.written) writing_since_.reset();
  closed_ |= events.closed;
  if (events.superseded) superseded_ = std::move(events.superseded);
  if (events.stopping) end_write_limit_ = kLastWriteLimit;
  if (state_ == State::kEnding) return;

  if (events.stopping) return End(base::Unavailable("hub is stopping"), now);
  if (superseded_ && state_ == State::kLive) {
    fenced_ = true;
    return End(base::MakeStatus(absl::StatusCode::kAborted, "superseded by {}", *superseded_), now);
  }
  if (events.message) {
    reading_ = false;
    TakeMessage(*std::move(events.message), now);
  }
  if (events.half_closed && capabilities_.delivery) End(absl::OkStatus(), store::kCollectorEnded, now);
  if (events.half_closed) End(absl::UnknownError("EOF"), now);  // upstream's words
  if (events.gone || events.closed) End(absl::CancelledError("the connection was lost"), now);
  if (events.recheck && state_ == State::kLive) Recheck(now);
}

void Session::TakeMessage(Message message, Now now) {
  services_.metrics.bytes.Add(static_cast<double>(message.bytes.size()));
  if (state_ != State::kLive && message.bytes.size() > kMostUnregistered) {
    return End(
        absl::ResourceExhaustedError(fmt::format("more than {} bytes received before registration", kMostUnregistered)),
        now);
  }
  absl::StatusOr<wire::EnvelopeFromCollector> decoded = wire::DecodeEnvelope(message.bytes);
  if (!decoded.ok() && (decoded.status().code() == absl::StatusCode::kDataLoss || state_ != State::kLive)) {
    return End(absl::InvalidArgumentError(base::Message(decoded.status())), now);
  }
  if (state_ == State::kLive) {
    presence_->OnMessage(message.at.wall);
    const auto wait = pace_.Take(message.bytes.size(), now.steady);
    if (wait > std::chrono::nanoseconds::zero()) {
      read_after_ = now.steady + wait;
      lane_->NoteLimit("more bytes a second than allowed", now.steady);
    }
  }
  if (!decoded.ok()) {
    services_.metrics.malformed_messages.Add();
    return;
  }
  Dispatch(*std::move(decoded), std::move(message), now);
}

void Session::Dispatch(wire::EnvelopeFromCollector decoded, Message message, Now now) {
  const bool live = state_ == State::kLive;
  const auto too_early = [&](std::string_view what) {
    End(absl::FailedPreconditionError(fmt::format("{} received before registration", what)), now);
  };
  const auto taken = [&](const absl::Status& status) {
    if (!status.ok()) End(status, now);
  };
  std::visit(
      [&](auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, model::Registration>) {
          Register(std::move(value), now);
        } else if constexpr (std::is_same_v<T, wire::BatchHead>) {
          if (!live) return too_early("metrics");
          presence_->SetInterval(value.batch.interval);
          last_seq_ = std::max(last_seq_, value.batch.seq);
          taken(lane_->Take(value, std::move(message.bytes), {now.steady, message.at.wall}));
        } else if constexpr (std::is_same_v<T, wire::BadBatch>) {
          if (!live) return too_early("metrics");
          taken(lane_->Take(value, message.bytes.size()));
        } else if constexpr (std::is_same_v<T, model::Heartbeat>) {
          if (!live) return too_early("health");
          presence_->OnHeartbeat(value);
          last_seq_ = std::max(last_seq_, value.last_seq);
          CountBacklog(value.buffered_batches, value.buffered_bytes);
          for (const model::Gap& gap : value.gaps) NoteGap(gap);
        } else if constexpr (std::is_same_v<T, model::ConfigReport>) {
          if (!live) return too_early("config report");
          presence_->OnConfigReport(value);
        } else {
          static_assert(std::is_same_v<T, wire::Unknown>);  // of a later version: skipped
        }
      },
      decoded);
}

void Session::Register(model::Registration registration, Now now) {
  if (state_ == State::kLive) {
    if (registration.cluster != registration_.cluster || registration.instance != registration_.instance) {
      return End(absl::InvalidArgumentError("register: another cluster or collector than before"), now);
    }
    config_due_ = true;
    return;
  }
  if (registration.capabilities.delivery && registration.instance.empty()) {
    return End(absl::InvalidArgumentError("register: instance is required"), now);
  }
  if (!registration.capabilities.delivery) registration.instance.clear();
  registration_ = std::move(registration);
  capabilities_ = model::Common(registration_.capabilities, kOurs);
  registered_ = now.steady;
  state_ = State::kAdmitting;
}

void Session::GoLive(Admission admission, Now now) {
  registration_.token.clear();
  info_.bearer.clear();
  services_.metrics.streams.With({ToLabel(kind())}).Add(-1);
  if (capabilities_.delivery) {
    services_.budget.Join();
    receipts_.emplace(admission.instance, admission.durable.position, CreditsNow(now), services_.history,
                      services_.metrics);
  } else {
    receipts_.emplace(services_.history, services_.metrics);
  }
  services_.metrics.streams.With({ToLabel(kind())}).Add(1);
  writer_ = std::move(admission.writer);
  credential_ = admission.credential;
  lane_.emplace(BatchLane::Options{.cluster = registration_.cluster,
                                   .instance = admission.instance,
                                   .epoch = admission.presence.epoch,
                                   .state_seq = admission.state_seq,
                                   .parts = capabilities_.parts},
                writer_, *receipts_, services_);
  presence_.emplace(std::move(admission.presence), now.steady);
  receipts_->SetNewestDurable(admission.durable.newest);
  if (const auto& held = admission.durable.held; held.has_value() && services_.history != nullptr) {
    receipts_->AddHeld(*held, services_.history->Find({registration_.cluster, held->since, held->until, held->batches}),
                       now.steady);
  }
  durable_written_ = std::move(admission.durable_stored);
  durable_written_at_ = now.steady;
  gaps_.emplace(admission.instance);
  for (const model::Gap& gap : registration_.gaps) NoteGap(gap);
  registration_.gaps.clear();
  awaited_ = registration_.held;
  last_seq_ = registration_.held.last;
  stored_at_ = now.steady;
  welcome_due_ = capabilities_.delivery;
  config_due_ = !welcome_due_;
  state_ = State::kLive;
  Recheck(now);  // what changed while the registration was decided
}

void Session::Recheck(Now now) {
  rechecked_ = now.steady;
  const std::optional<ClusterPolicy> policy = services_.clusters.Find(registration_.cluster);
  if (const absl::Status status = CheckPolicy(registration_.cluster, policy); !status.ok()) return End(status, now);
  const Validity validity = services_.authenticator.Check(registration_.cluster, credential_);
  if (validity == Validity::kRevoked) return End(NotAccepted(), now);
  verify_due_ = validity == Validity::kUnknown;
  if (uid_.empty()) uid_ = policy->uid;
  if (uid_ != policy->uid) {
    return End(absl::AbortedError(fmt::format("cluster {} was made anew, connect again", registration_.cluster)), now);
  }
  lane_->SetLimits(policy->limits);
  pace_.SetRate(policy->limits.max_bytes_per_second);
  if (!welcome_due_) config_due_ |= policy->config.hash != config_hash_;
}

void Session::CheckLimits(Now now) {
  switch (state_) {
    case State::kRegistering:
      if (now.steady - opened_ >= kRegisterLimit) {
        End(absl::DeadlineExceededError(fmt::format("no registration within {} s", kRegisterLimit.count())), now);
      }
      break;
    case State::kAdmitting: {
      const seconds limit = capabilities_.delivery ? kAdmissionLimit : kUpstreamAdmissionLimit;
      if (now.steady - registered_ >= limit) End(base::Unavailable("the hub is busy, try again"), now);
      break;
    }
    case State::kLive:
      if (writing_since_ && now.steady - *writing_since_ >= services_.write_limit) {
        End(base::Unavailable("the peer does not take what it is sent"), now);
      }
      break;
    case State::kEnding:
      if (!closed_ && !aborted_ && now.steady - ended_ >= kAbortAfter) {
        aborted_ = true;
        peer_.Abort();
      }
      break;
  }
}

void Session::CheckLive(Now now) {
  if (now.steady - rechecked_ >= kRecheckAfter) Recheck(now);
  if (state_ != State::kLive) return;
  if (reading_) lane_->Step(now.steady);  // otherwise what is missing cannot come
  if (!lane_->limited().what.empty()) {
    const seconds shown = std::max<seconds>(kLimitShown, 3 * presence_->presence().interval);
    if (now.steady - lane_->limited().at >= shown) lane_->ForgetLimit();
  }
  presence_->SetLimited(lane_->limited().what);
  receipts_->SetCredits(CreditsNow(now));
  if (receipts_->has_ended_wait(now.steady) || gaps_->next_look() <= now.steady) {
    const model::DurableMark durable = services_.data.Durable();
    NoteLostSamples(receipts_->Step(now.steady, durable));
    for (const model::SeqRange& seqs : gaps_->Step(now.steady, durable)) receipts_->AddDurable(seqs);
  }
  CheckGaps(now);
}

void Session::CountBacklog(std::int64_t batches, std::uint64_t bytes) {
  services_.metrics.backlog_batches.Add(static_cast<double>(batches) - static_cast<double>(backlog_batches_));
  services_.metrics.backlog_bytes.Add(static_cast<double>(bytes) - static_cast<double>(backlog_bytes_));
  backlog_batches_ = batches;
  backlog_bytes_ = bytes;
}

void Session::NoteGap(const model::Gap& gap) {
  if (gap.seqs.first != 0 && receipts_->AreDurable(gap.seqs)) return;
  gaps_->Add(gap);
}

void Session::NoteLostSamples(const std::vector<SampleWaits::News>& news) {
  for (const SampleWaits::News& lost : news) {
    model::Gap gap{.from = lost.from, .to = lost.to, .cause = model::GapCause::kStoreDown};
    if (lost.fate == SampleWaits::Fate::kRefused) {
      gap.cause = model::GapCause::kRejected;
      services_.metrics.rejected.Add({"history"}, static_cast<double>(lost.seqs.last - lost.seqs.first + 1));
      services_.log.Write(log::Level::kWarn, "the history store refused a batch's samples",
                          {{"cluster", registration_.cluster}, {"seq", lost.seqs.first}, {"reason", lost.why}});
    }
    if (!receipts_->upstream()) gap.seqs = lost.seqs;  // none of what was held before
    NoteGap(gap);
  }
}

void Session::CheckGaps(Now now) {
  // Before, the position goes on saying that they are held.
  if (gaps_->all_written()) receipts_->LossesKept();
  for (const BatchRef& batch : lane_->TakeRejected()) {
    const base::SystemTime at = batch.collected_at != base::SystemTime{} ? batch.collected_at : now.wall;
    model::Gap gap{.from = at, .to = at, .cause = model::GapCause::kRejected};
    if (receipts_->upstream()) {
      const base::SystemTime before = std::max(receipts_->last_collected(), rejected_until_);
      if (before != base::SystemTime{}) gap.from = std::min(before, at);
      rejected_until_ = at;
    } else {
      gap.seqs = {batch.seq, batch.seq};
    }
    NoteGap(gap);
  }
  if (gaps_->link_ended()) return;
  if (receipts_->upstream()) {
    // It made nothing while it was away.
    if (receipts_->has_applied()) gaps_->EndLink(store::GapLedger::LinkEnd::kLost, now.wall);
  } else if (awaited_.last == 0 || receipts_->AreDurable(awaited_)) {
    gaps_->EndLink(store::GapLedger::LinkEnd::kFilled, now.wall);
  }
}

model::Credits Session::CreditsNow(Now now) {
  model::Credits credits = services_.budget.Share();
  if (services_.history == nullptr) return credits;
  if (!services_.history->HasRoom()) pressed_until_ = now.steady + kPressed;
  if (now.steady < pressed_until_) credits.batches = 0;
  return credits;
}

void Session::End(const absl::Status& status, std::string_view reason, Now now) {
  if (state_ == State::kEnding) return;
  services_.metrics.ended.Add({absl::StatusCodeToString(status.code())});
  services_.log.Write(log::Level::kInfo, "collector stream ended",
                      {{"cluster", registration_.cluster}, {"peer", info_.peer}, {"reason", reason}});
  if (state_ == State::kLive) {
    services_.local.Release(registration_.cluster, info_.id);
    if (capabilities_.delivery) services_.budget.Leave();
    if (!fenced_) presence_->End(reason, now.wall);
    CountBacklog(0, 0);
    lane_.reset();
  }
  state_ = State::kEnding;
  ended_ = now.steady;
  *withdrawn_ = true;
  peer_.Finish(status);
}

model::CollectorConfig Session::CurrentConfig() {
  std::optional<ClusterPolicy> policy = services_.clusters.Find(registration_.cluster);
  if (!policy) return {};  // Recheck ends the stream
  config_hash_ = policy->config.hash;
  config_due_ = false;
  return std::move(policy->config);
}

std::string Session::MakeWelcome() {
  model::Welcome welcome;
  welcome.hub = services_.hub;
  welcome.version = services_.version;
  welcome.epoch = presence_->presence().epoch;
  welcome.durable = receipts_->durable();
  welcome.credits = receipts_->credits();
  welcome.capabilities = capabilities_;
  welcome.max_message_bytes = wire::kMaxUpstreamMessage;
  welcome.max_batch_bytes = kMostBatchBytes;
  welcome.config = CurrentConfig();
  welcome.last_seq = lane_->state_seq();
  return wire::Encode(welcome);
}

void Session::Write(Now now) {
  if (writing_since_) return;
  std::optional<std::string> bytes;
  if (std::exchange(welcome_due_, false)) {
    bytes = MakeWelcome();
  } else if (std::exchange(config_due_, false)) {
    bytes = wire::Encode(CurrentConfig());
  } else {
    bytes = receipts_->NextMessage(now.steady);
  }
  if (!bytes) return;
  writing_since_ = now.steady;
  peer_.Send(*std::move(bytes));
}

bool Session::MayRead(Now now) const {
  switch (state_) {
    case State::kRegistering:
      return true;
    case State::kLive:
      if (now.steady < read_after_) return false;
      // One batch of an upstream collector at a time: it knows no credits.
      if (receipts_->upstream()) return lane_->empty() && receipts_->all_told();
      // With credits always.
      return lane_->bytes() <= receipts_->credits().bytes || !services_.budget.full();
    case State::kAdmitting:
    case State::kEnding:
      return false;
  }
  return false;
}

std::optional<base::SteadyTime> Session::NextTime(Now now) const {
  base::SteadyTime next = base::SteadyTime::max();
  const auto at = [&next](std::optional<base::SteadyTime> time) {
    if (time) next = std::min(next, *time);
  };
  const auto after_retry = [this](base::SteadyTime time) { return std::max(time, retry_at_); };
  switch (state_) {
    case State::kRegistering:
      at(opened_ + kRegisterLimit);
      break;
    case State::kAdmitting:
      at(registered_ + (capabilities_.delivery ? kAdmissionLimit : seconds(kUpstreamAdmissionLimit)));
      if (!job_running_) at(retry_at_);
      break;
    case State::kLive:
      at(rechecked_ + kRecheckInterval);
      at(receipts_->next_due(!writing_since_, now.steady));
      at(gaps_->next_look());
      if (now.steady < pressed_until_) at(pressed_until_);
      if (reading_) at(lane_->next_due());
      if (writing_since_) at(*writing_since_ + services_.write_limit);
      if (!reading_ && now.steady < read_after_) at(read_after_);
      if (!reading_ && now.steady >= read_after_ && !receipts_->upstream()) at(now.steady + kHeldPoll);
      if (!job_running_) {
        at(after_retry(std::min({presence_due(), durable_due(), gaps_due()})));
        if (!lane_->empty() || fenced_) at(retry_at_);
      }
      break;
    case State::kEnding:
      if (!closed_ && !aborted_) at(ended_ + kAbortAfter);
      // What it waits for otherwise comes as an event.
      if (closed_ && !job_running_) at(ended_ + end_write_limit_);
      if (!job_running_) at(after_retry(std::min(presence_due(), durable_due())));
      break;
  }
  if (next == base::SteadyTime::max()) return std::nullopt;
  return next;
}

bool Session::IsOver(Now now) const {
  if (state_ != State::kEnding || !closed_ || job_running_) return false;
  const bool is_written = std::min(presence_due(), durable_due()) == base::SteadyTime::max();
  return is_written || now.steady - ended_ >= end_write_limit_;
}

}  // namespace clusterpulse::ingest
