#include "collector/link/link_machine.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "common/base/printable.h"
#include "common/base/status.h"

namespace clusterpulse::link {
namespace {

constexpr std::chrono::milliseconds kFirstWait = std::chrono::seconds(1);
constexpr std::chrono::milliseconds kLongestWait = std::chrono::seconds(60);
constexpr std::chrono::milliseconds kLongestSlowWait = std::chrono::minutes(5);
constexpr std::chrono::milliseconds kLongestHold = std::chrono::minutes(5);  // whatever retry_after says
constexpr std::chrono::seconds kLeastRefill{30};
// Of texts of clusters and configurations: a hub refuses longer ones, and ends a stream over bytes that are no UTF-8.
constexpr std::size_t kLongestText = 4096;
constexpr std::size_t kMostProblems = 100;
constexpr int kLastingFailures = 3;  // before, a failed attempt is nothing a person must see
constexpr model::Capabilities kCapabilities{.delivery = true, .parts = true, .config_report = true};

bool IsRefusal(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnauthenticated || status.code() == absl::StatusCode::kPermissionDenied;
}

}  // namespace

std::string_view ToString(LinkState state) {
  switch (state) {
    case LinkState::kIdle:
      return "idle";
    case LinkState::kConnecting:
      return "connecting";
    case LinkState::kRegistering:
      return "registering";
    case LinkState::kWaiting:
      return "waiting for an answer";
    case LinkState::kStreaming:
      return "streaming";
    case LinkState::kLeaving:
      return "leaving";
    case LinkState::kBackingOff:
      return "backing off";
    case LinkState::kStopped:
      return "stopped";
  }
  return "";
}

LinkMachine::LinkMachine(LinkOptions options, LinkCallbacks callbacks, Outbox& outbox, HubTransport& transport,
                         HubTransport::Events& events, const base::Clock& clock, base::Random& random, log::Logger log,
                         telemetry::Registry* registry, std::function<void(const LinkStatus&)> publish)
    : options_(std::move(options)),
      callbacks_(std::move(callbacks)),
      outbox_(outbox),
      transport_(transport),
      events_(events),
      clock_(clock),
      log_(log.With({{"peer", options_.address}})),
      publish_(std::move(publish)),
      backoff_({.initial = kFirstWait, .max = kLongestWait, .full_jitter = true}, random),
      deadline_(clock.Steady()) {
  status_.since = clock_.Now();
  status_.last_turn = clock_.Steady();
  if (registry == nullptr) return;
  connected_ = registry->Gauges("clusterpulse_collector_connected", "1 while there is a stream to a hub that answered.")
                   .With({});
  backoff_seconds_ =
      registry->Gauges("clusterpulse_collector_backoff_seconds", "The wait before the next attempt; 0 while none.")
          .With({});
  connects_ =
      registry->Counters("clusterpulse_collector_connects_total", "Streams to a hub that were established.").With({});
  failures_total_ = registry
                        ->Counters("clusterpulse_collector_connection_failures_total",
                                   "Streams to a hub, and attempts to get one, that failed.")
                        .With({});
}

void LinkMachine::SetState(LinkState state) {
  status_.state = state;
  status_.since = clock_.Now();
  connected_.Set(state == LinkState::kStreaming ? 1 : 0);
  if (state != LinkState::kBackingOff) backoff_seconds_.Set(0);
  Publish();
}

void LinkMachine::Publish() const {
  if (publish_) publish_(status_);
}

base::SteadyTime LinkMachine::Step() {
  const bool is_due = clock_.Steady() >= deadline_;
  const bool is_stopping = drain_until_.has_value();
  if (!break_reason_.has_value()) status_.last_turn = clock_.Steady();
  switch (status_.state) {
    case LinkState::kIdle:
    case LinkState::kBackingOff:
      if (is_stopping) {
        SetState(LinkState::kStopped);
      } else if (is_due) {
        Connect();
      }
      break;
    case LinkState::kConnecting:
    case LinkState::kRegistering:
      if (break_reason_.has_value()) break;
      if (is_stopping) {
        Break(absl::CancelledError("stopped"));
      } else if (is_due && status_.state == LinkState::kConnecting) {
        Break(absl::DeadlineExceededError("no connection in time"));
      } else if (is_due) {
        outbox_.SetPeer({.upstream = true});
        BeginSending(LinkState::kWaiting);
        Pump();
      }
      break;
    case LinkState::kWaiting:
    case LinkState::kStreaming:
      if (!break_reason_.has_value()) Pump();
      break;
    case LinkState::kLeaving:
      if (!break_reason_.has_value() && clock_.Steady() >= std::min(deadline_, stop_until_)) {
        Break(absl::CancelledError("stopped"));
      }
      break;
    case LinkState::kStopped:
      break;
  }
  Publish();
  return NextStep();
}

base::SteadyTime LinkMachine::NextStep() const {
  constexpr base::SteadyTime kNever = base::SteadyTime::max();
  if (break_reason_.has_value()) return kNever;
  switch (status_.state) {
    case LinkState::kStopped:
      return kNever;
    case LinkState::kIdle:
    case LinkState::kConnecting:
    case LinkState::kRegistering:
    case LinkState::kBackingOff:
      return deadline_;
    case LinkState::kLeaving:
      return std::min(deadline_, stop_until_);
    case LinkState::kWaiting:
    case LinkState::kStreaming:
      break;
  }
  base::SteadyTime next = kNever;
  if (drain_until_.has_value()) next = clock_.Steady() < *drain_until_ ? *drain_until_ : stop_until_;
  if (write_began_.has_value()) return std::min(next, *write_began_ + options_.write_limit);
  next = std::min(next, next_heartbeat_);
  for (const base::SteadyTime until : {full_batch_until_, hold_until_, pace_until_}) {
    if (until > clock_.Steady()) next = std::min(next, until);
  }
  return next;
}

void LinkMachine::Connect() {
  SetState(LinkState::kConnecting);
  deadline_ = clock_.Steady() + options_.connect_limit;
  is_ours_ = false;
  status_.hub.clear();
  status_.upstream = false;
  capabilities_ = {};
  const absl::StatusOr<std::string> token = options_.token ? options_.token() : std::string();
  if (!token.ok()) return Ended(base::Annotate(token.status(), "reading the token"));

  interval_ = callbacks_.heartbeat().interval;
  model::Registration registration;
  registration.cluster = options_.cluster;
  registration.token = *token;
  registration.version = options_.version;
  registration.capabilities = kCapabilities;
  registration.config_hash = config_hash_;
  registration.interval = interval_;
  outbox_.Describe(registration);
  transport_.Open(*token, events_);
  Write(wire::Encode(registration));
  transport_.Receive();
}

void LinkMachine::Write(std::string message) {
  write_began_ = clock_.Steady();
  transport_.Write(std::move(message));
}

void LinkMachine::Pump() {
  const base::SteadyTime now = clock_.Steady();
  if (drain_until_.has_value() && Leave()) return;
  if (outbox_.WantsNewStream()) return Break(absl::AbortedError("batches are numbered anew: the spool can be used"));
  if (now >= refill_from_ && !drain_until_.has_value() && outbox_.TakeStateLost()) {
    refill_from_ = now + std::max(interval_, kLeastRefill);
    callbacks_.on_full_batch();
  }
  if (write_began_.has_value()) {
    if (now >= *write_began_ + options_.write_limit) {
      Break(absl::DeadlineExceededError("the hub took no message in time"));
    }
    return;
  }
  if (report_.has_value()) {
    Write(wire::Encode(*std::exchange(report_, std::nullopt)));
  } else if (now >= next_heartbeat_) {
    next_heartbeat_ = std::max(next_heartbeat_ + options_.heartbeat, now + options_.heartbeat / 2);
    Write(wire::Encode(Heartbeat()));
  } else if (now < pace_until_) {
    return;
  } else if (auto message = outbox_.Next(!MaySendNew())) {
    if (max_bytes_per_second_ > 0) {
      const double seconds = static_cast<double>(message->size()) / static_cast<double>(max_bytes_per_second_);
      pace_until_ = now + std::min<std::chrono::nanoseconds>(
                              kLongestHold, std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9)));
    }
    Write(*std::move(message));
  }
}

bool LinkMachine::MaySendNew() {
  const base::SteadyTime now = clock_.Steady();
  if (now < full_batch_until_ && outbox_.stats().full_batches > full_batches_before_) full_batch_until_ = now;
  return now >= hold_until_ && (now >= full_batch_until_ || drain_until_.has_value());
}

bool LinkMachine::IsDrained() const {
  return outbox_.stats().in_flight == 0 && (hold_until_ >= *drain_until_ || !outbox_.HasWaiting());
}

bool LinkMachine::Leave() {
  const base::SteadyTime now = clock_.Steady();
  if (now < *drain_until_ && !IsDrained()) return false;
  // Other hubs are left as upstream's collectors leave them.
  if (!capabilities_.delivery || now >= stop_until_) {
    Break(absl::CancelledError("stopped"));
  } else if (!write_began_.has_value()) {
    transport_.HalfClose();
    SetState(LinkState::kLeaving);
    deadline_ = now + options_.end_limit;
  }
  return true;
}

model::Heartbeat LinkMachine::Heartbeat() {
  model::Heartbeat heartbeat = callbacks_.heartbeat();
  interval_ = heartbeat.interval;
  const Outbox::Stats stats = outbox_.stats();
  heartbeat.degraded = base::Printable(std::move(heartbeat.degraded), kLongestText);
  heartbeat.cluster = options_.cluster;
  heartbeat.sent_at = clock_.Now();
  heartbeat.buffered_batches = static_cast<std::int32_t>(stats.batches);
  heartbeat.buffered_bytes = stats.bytes;
  heartbeat.oldest_buffered = stats.oldest;
  heartbeat.last_seq = stats.last_seq;
  heartbeat.gaps = outbox_.TellGaps();
  return heartbeat;
}

void LinkMachine::OnWritten() {
  write_began_.reset();
  if (status_.state != LinkState::kConnecting || break_reason_.has_value()) return;
  SetState(LinkState::kRegistering);
  deadline_ = clock_.Steady() + options_.welcome_limit;
}

void LinkMachine::OnMessage(std::string_view bytes) {
  if (break_reason_.has_value()) return;
  if (status_.state == LinkState::kConnecting) {
    // An answer can overtake the news that the registration was written.
    SetState(LinkState::kRegistering);
    deadline_ = clock_.Steady() + options_.welcome_limit;
  }
  const absl::StatusOr<wire::FromHub> message = wire::DecodeFromHub(bytes);
  if (message.ok()) {
    std::visit([this](const auto& m) { On(m); }, *message);
  } else if (is_ours_ || status_.state == LinkState::kRegistering ||
             message.status().code() != absl::StatusCode::kInvalidArgument) {
    // An upstream hub may send a value we do not allow; from ours it may have been the Welcome or an acknowledgement,
    // without which nothing goes on.
    Break(base::Annotate(message.status(), "message from the hub"));
  }
  if (!break_reason_.has_value()) transport_.Receive();
}

void LinkMachine::On(const model::Welcome& welcome) {
  const bool is_news = !std::exchange(is_ours_, true);
  capabilities_ = Common(kCapabilities, welcome.capabilities);
  status_.hub = welcome.hub;
  status_.upstream = false;
  const std::uint64_t last_durable =
      welcome.durable.ranges.empty() ? welcome.durable.low : welcome.durable.ranges.back().last;
  outbox_.Welcomed(std::max(welcome.last_seq, last_durable));
  outbox_.Durable(welcome.durable);
  Peer peer{.parts = capabilities_.parts, .credits = welcome.credits};
  if (welcome.max_message_bytes != 0) peer.max_message = welcome.max_message_bytes;
  if (welcome.max_batch_bytes != 0) peer.max_batch = welcome.max_batch_bytes;
  outbox_.SetPeer(peer);
  if (!welcome.config.hash.empty()) Apply(welcome.config);
  if (is_news) Established();
}

void LinkMachine::On(const model::DeliveryAck& ack) {
  if (!is_ours_) return;
  if (outbox_.Applied(ack.applied) > 0) Progress();
  outbox_.Durable(ack.durable);
  outbox_.Rejected(ack.rejected);
  if (ack.credits.has_value()) outbox_.SetCredits(*ack.credits);
  hold_until_ = clock_.Steady() + std::min(ack.retry_after, kLongestHold);
}

void LinkMachine::On(const model::Replay& replay) {
  if (is_ours_ && outbox_.Replay(replay)) callbacks_.on_full_batch();
}

void LinkMachine::On(const model::CollectorConfig& config) {
  ProveUpstream();
  Apply(config);
}

void LinkMachine::On(const model::UpstreamAck& ack) {
  ProveUpstream();
  if (is_ours_) return;
  if (outbox_.UpstreamAcked(ack)) Progress();
}

void LinkMachine::ProveUpstream() {
  if (is_ours_ || status_.upstream) return;
  status_.upstream = true;
  if (status_.state == LinkState::kRegistering) outbox_.SetPeer({.upstream = true});
  Established();
}

void LinkMachine::BeginSending(LinkState state) {
  const base::SteadyTime now = clock_.Steady();
  SetState(state);
  next_heartbeat_ = now + options_.heartbeat;
  refill_from_ = now + std::max(interval_, kLeastRefill);
  full_batch_until_ = now + options_.full_batch_limit;
  hold_until_ = pace_until_ = now;
  full_batches_before_ = outbox_.stats().full_batches;
  callbacks_.on_full_batch();
}

void LinkMachine::Established() {
  log_.Info("link established", {{"hub", status_.hub}, {"upstream", status_.upstream}});
  if (status_.state == LinkState::kStreaming) return;  // a late Welcome
  connects_.Add();
  if (status_.state == LinkState::kWaiting) {
    SetState(LinkState::kStreaming);
  } else {
    BeginSending(LinkState::kStreaming);
  }
}

void LinkMachine::Apply(const model::CollectorConfig& config) {
  std::vector<std::string> problems = callbacks_.on_config(config);
  config_hash_ = config.hash;
  max_bytes_per_second_ = config.max_bytes_per_second;
  if (!capabilities_.config_report) return;
  problems.resize(std::min(problems.size(), kMostProblems));
  for (std::string& problem : problems) problem = base::Printable(std::move(problem), kLongestText);
  report_ = model::ConfigReport{config.hash, std::move(problems)};
}

void LinkMachine::Progress() {
  backoff_.Reset();
  failures_ = 0;
}

void LinkMachine::Stop(std::chrono::milliseconds limit) {
  outbox_.Drain();
  const base::SteadyTime until = clock_.Steady() + limit;
  const base::SteadyTime drain_until = until - std::min(options_.end_limit, limit / 2);
  stop_until_ = drain_until_.has_value() ? std::min(stop_until_, until) : until;
  drain_until_ = std::min(drain_until_.value_or(drain_until), drain_until);
}

void LinkMachine::Break(absl::Status why) {
  break_reason_ = std::move(why);
  transport_.Cancel();
}

void LinkMachine::OnClosed(const absl::Status& status) {
  absl::Status why = std::exchange(break_reason_, std::nullopt).value_or(status);
  transport_.Release();
  if (why.ok()) why = absl::UnavailableError("the hub ended the stream");
  Ended(why);
}

std::chrono::milliseconds LinkMachine::LongestWait(const absl::Status& why) const {
  if (IsRefusal(why) || status_.upstream) return kLongestSlowWait;
  if (interval_ < std::chrono::seconds(1)) return kLongestWait;
  return std::min<std::chrono::milliseconds>(kLongestWait, interval_);
}

void LinkMachine::Ended(const absl::Status& why) {
  write_began_.reset();
  report_.reset();
  outbox_.Disconnected();
  if (drain_until_.has_value()) {
    SetState(LinkState::kStopped);
    return;
  }
  status_.last_error = why;
  failures_total_.Add();
  ++failures_;
  const std::chrono::milliseconds wait = backoff_.Next(LongestWait(why));
  const bool is_lasting = failures_ >= kLastingFailures || IsRefusal(why);
  const bool was_up = status_.state == LinkState::kStreaming;
  const auto level = is_lasting && warnings_.TryTake(clock_.Steady()) ? log::Level::kWarn
                     : was_up                                         ? log::Level::kInfo
                                                                      : log::Level::kDebug;
  log_.Write(level, was_up ? "link lost" : "no link",
             {{"error", log::ToText(why)}, {"failures", failures_}, {"retry_ms", wait.count()}});
  deadline_ = clock_.Steady() + wait;
  SetState(LinkState::kBackingOff);
  backoff_seconds_.Set(std::chrono::duration<double>(wait).count());
}

}  // namespace clusterpulse::link
