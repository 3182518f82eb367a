#include "hub/history/victoria_metrics_writer.h"

#include <algorithm>
#include <utility>

#include "common/base/failpoint.h"
#include "common/base/printable.h"
#include "common/base/status.h"
#include "common/json/buffer.h"
#include "hub/history/retention.h"
#include "hub/history/sample_search.h"

namespace clusterpulse::history {
namespace {

using std::chrono::milliseconds;
using Look = DurabilityWatch::Look;
using State = Ticket::State;

constexpr std::string_view kImport = "/api/v1/import/prometheus";
// Large enough that compressing it pays, small enough that what one refusal costs is little.
constexpr std::size_t kPieceText = std::size_t{256} << 10;
// What a piece needs beside its bytes: itself, its parcel and ticket.
constexpr std::size_t kPieceOverhead = 256;
// Memory for lines that is kept between two batches.
constexpr std::size_t kKeptLines = std::size_t{1} << 20;
constexpr std::size_t kKeptWorkbenches = 8;
// After which time without a look one is needed before something is sent: the server may have been started anew.
constexpr milliseconds kFreshLook{10000};
// How often a server that tells no start is asked for it again.
constexpr milliseconds kIdleLook{60000};
// Shorter failures are nobody's business.
constexpr milliseconds kLasting{10000};
// How long cancelled requests need to end.
constexpr milliseconds kCancel{500};
constexpr std::size_t kReasonBytes = 300;
// What will be too old before it is there. Clocks may differ by as much.
constexpr milliseconds kRetentionMargin{60000};
// Looks must not wait long for searches.
constexpr milliseconds kSearchRound{1000};

class CountingSink final : public SampleSink {
 public:
  void Labels(std::string_view, std::string_view, std::string_view) override {}
  void Earlier(std::chrono::milliseconds) override {}
  void Sample(const MetricName&, Number) override { ++count_; }
  void Ambiguous(std::string_view) override {}
  std::size_t count() const { return count_; }

 private:
  std::size_t count_ = 0;
};

std::shared_ptr<const Ticket> Settled(Ticket::Outcome outcome) {
  auto ticket = std::make_shared<Ticket>();
  ticket->Settle(std::move(outcome));
  return ticket;
}

// The end of the lines that fit into `most` bytes: at least one.
std::size_t EndOfLines(std::string_view lines, std::size_t most) {
  if (lines.size() <= most) return lines.size();
  const std::size_t last = lines.rfind('\n', most - 1);
  return (last != std::string_view::npos ? last : lines.find('\n')) + 1;
}

bool IsWorse(State a, State b) {
  const auto rank = [](State state) { return state == State::kRefused ? 2 : state == State::kDropped ? 1 : 0; };
  return rank(a) > rank(b);
}

}  // namespace

absl::StatusOr<std::unique_ptr<VictoriaMetricsWriter>> VictoriaMetricsWriter::Create(Options options,
                                                                                     const base::Clock& clock,
                                                                                     base::Random& random,
                                                                                     log::Logger log) {
  ASSIGN_OR_RETURN(std::unique_ptr<VmClient> client, VmClient::Create(options.server, log));
  std::unique_ptr<VmClient> query_client;
  if (!options.query_endpoint.empty()) {
    VmOptions query = options.server;
    query.endpoint = options.query_endpoint;
    if (query.endpoint.starts_with("http:")) query.tls_ca_file.clear();
    ASSIGN_OR_RETURN(query_client, VmClient::Create(std::move(query), log));
  }
  return std::unique_ptr<VictoriaMetricsWriter>(new VictoriaMetricsWriter(
      std::move(options), std::move(client), std::move(query_client), clock, random, std::move(log)));
}

VictoriaMetricsWriter::VictoriaMetricsWriter(Options options, std::unique_ptr<VmClient> client,
                                             std::unique_ptr<VmClient> query_client, const base::Clock& clock,
                                             base::Random& random, log::Logger log)
    : options_(std::move(options)),
      client_(std::move(client)),
      query_client_(std::move(query_client)),
      clock_(clock),
      random_(random),
      log_(std::move(log)),
      metrics_(Metrics::Make(options_.registry)),
      retention_(options_.retention),
      watch_(options_.durable_after) {
  if (options_.registry != nullptr) {
    collector_ = options_.registry->AddCollector([this] { Collect(); });
  }
}

VictoriaMetricsWriter::~VictoriaMetricsWriter() {
  if (options_.registry != nullptr) options_.registry->RemoveCollector(collector_);
  GiveUp();
}

std::size_t VictoriaMetricsWriter::Piece::bytes() const { return gzip.capacity() + kPieceOverhead; }

// ---------------------------------------------------------------------------------------------------- the port

std::shared_ptr<const Ticket> VictoriaMetricsWriter::Write(const model::Batch& batch) {
  std::string_view reason;
  {
    base::MutexLock lock(mu_);
    if (stopping_) {
      reason = "stopped";
    } else if (held_bytes_ >= options_.queue_bytes) {
      reason = "full";
    }
  }
  if (!reason.empty()) {
    CountingSink samples;
    ForEachSample(batch, samples);
    metrics_.dropped.Add({reason}, static_cast<double>(samples.count()));
    return Settled({.state = State::kDropped});
  }

  std::unique_ptr<Workbench> workbench = TakeWorkbench();
  const auto now_ms = std::chrono::floor<milliseconds>(clock_.Now().time_since_epoch()).count();
  LineEncoder encoder(workbench->lines, StampOf(batch), now_ms);
  ForEachSample(batch, encoder);
  if (encoder.refused() > 0) CountRefused(encoder);
  if (encoder.written() == 0) {
    GiveBack(std::move(workbench));
    if (encoder.refused() > 0) return Settled({.state = State::kRefused, .why = Explain(encoder)});
    return Settled({.state = State::kAccepted, .continuity = Durable().continuity});
  }
  auto parcel = std::make_shared<Parcel>();
  parcel->ticket = std::make_shared<Ticket>();
  parcel->stamp_ms = StampOf(batch);
  Pieces pieces = Pack(workbench->lines.view(), encoder.written(), workbench->gzip, parcel);
  GiveBack(std::move(workbench));
  return Enqueue(std::move(pieces), *parcel);
}

std::shared_ptr<const Ticket> VictoriaMetricsWriter::Enqueue(Pieces pieces, Parcel& parcel) {
  std::size_t bytes = 0, samples = 0;
  for (const Piece& piece : pieces) {
    bytes += piece.bytes();
    samples += piece.samples;
  }
  const base::SteadyTime now = clock_.Steady();
  std::string_view reason;
  {
    base::MutexLock lock(mu_);
    parcel.open_pieces = pieces.size();
    if (stopping_) {
      reason = "stopped";
    } else if (held_bytes_ + bytes > options_.queue_bytes) {
      reason = "full";
    } else {
      held_bytes_ += bytes;
      const bool was_idle = queue_.empty(), was_body = queued_text_ >= options_.body_bytes;
      for (Piece& piece : pieces) {
        piece.queued_at = now;
        queued_text_ += piece.text_bytes;
        queue_.push_back(std::move(piece));
      }
      // Who is busy looks again by itself.
      if (was_idle || (!was_body && queued_text_ >= options_.body_bytes)) changed_.NotifyAll();
    }
  }
  if (!reason.empty()) {
    metrics_.dropped.Add({reason}, static_cast<double>(samples));
    parcel.ticket->Settle({.state = State::kDropped});
  }
  return parcel.ticket;
}

VictoriaMetricsWriter::Pieces VictoriaMetricsWriter::Pack(std::string_view lines, std::size_t samples, Gzip& gzip,
                                                          const std::shared_ptr<Parcel>& parcel) {
  Pieces pieces;
  while (!lines.empty()) {
    const std::string_view text = lines.substr(0, EndOfLines(lines, kPieceText));
    lines.remove_prefix(text.size());
    const bool is_last = lines.empty();
    const auto count = is_last ? samples : static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
    samples -= count;
    pieces.push_back({.gzip = gzip.Compress(text), .text_bytes = text.size(), .samples = count, .parcel = parcel});
  }
  return pieces;
}

std::shared_ptr<const Ticket> VictoriaMetricsWriter::Find(const Sought& sought) {
  auto ticket = std::make_shared<Ticket>();
  const base::SteadyTime now = clock_.Steady();
  base::MutexLock lock(mu_);
  searches_.push_back({.sought = sought, .ticket = ticket, .asked_at = now, .ready_at = std::nullopt});
  changed_.NotifyAll();
  return ticket;
}

bool VictoriaMetricsWriter::IsTooOldLocked(std::int64_t stamp_ms) const {
  if (retention_ == milliseconds::zero()) return false;
  const auto now = std::chrono::floor<milliseconds>(clock_.Now().time_since_epoch());
  return stamp_ms < (now - retention_ + kRetentionMargin).count();
}

std::string VictoriaMetricsWriter::ExplainTooOldLocked() const {
  return fmt::format("older than the {:.1f} days for which the history store keeps samples",
                     std::chrono::duration<double, std::ratio<86400>>(retention_).count());
}

model::DurableMark VictoriaMetricsWriter::Durable() const {
  base::MutexLock lock(mu_);
  return watch_.mark();
}

bool VictoriaMetricsWriter::HasRoom() const {
  base::MutexLock lock(mu_);
  return !stopping_ && status_.ok() && held_bytes_ < options_.queue_bytes / 2;
}

absl::Status VictoriaMetricsWriter::Status() const {
  base::MutexLock lock(mu_);
  return status_;
}

std::unique_ptr<VictoriaMetricsWriter::Workbench> VictoriaMetricsWriter::TakeWorkbench() {
  {
    base::MutexLock lock(mu_);
    if (!workbenches_.empty()) {
      auto workbench = std::move(workbenches_.back());
      workbenches_.pop_back();
      return workbench;
    }
  }
  return std::make_unique<Workbench>();
}

void VictoriaMetricsWriter::GiveBack(std::unique_ptr<Workbench> workbench) {
  workbench->lines.Clear(kKeptLines);
  base::MutexLock lock(mu_);
  if (workbenches_.size() < kKeptWorkbenches) workbenches_.push_back(std::move(workbench));
}

std::string VictoriaMetricsWriter::Explain(const LineEncoder& encoder) {
  for (const Refusal kind : kRefusals) {
    if (encoder.refused(kind) == 0) continue;
    return fmt::format("none of its {} samples can be stored: {} of {}", encoder.refused(), ToString(kind),
                       encoder.example(kind));
  }
  return "";
}

void VictoriaMetricsWriter::CountRefused(const LineEncoder& encoder) {
  for (const Refusal kind : kRefusals) {
    if (encoder.refused(kind) == 0) continue;
    metrics_.refused.Add({ToString(kind)}, static_cast<double>(encoder.refused(kind)));
    {
      base::MutexLock lock(mu_);
      if (std::exchange(warned_refused_[static_cast<std::size_t>(kind)], true)) continue;
    }
    log_.Warn("samples that can never be stored are left out; further ones are only counted",
              {{"kind", ToString(kind)}, {"example", encoder.example(kind)}});
  }
}

// ---------------------------------------------------------------------------------------------------- lifecycle

absl::Status VictoriaMetricsWriter::Start() {
  {
    base::MutexLock lock(mu_);
    started_ = true;
  }
  threads_.Start(options_.senders, "history-send", [this] { Send(); });
  threads_.Start(1, "history-watch", [this] { Watch(); });
  return absl::OkStatus();
}

bool VictoriaMetricsWriter::Stop(milliseconds limit) {
  {
    base::MutexLock lock(mu_);
    stopping_ = true;
    if (!started_) DropQueueLocked();
    changed_.NotifyAll();
  }
  if (limit <= limit.zero()) return threads_.Join(milliseconds::zero());
  const milliseconds cancel = std::min(kCancel, limit / 2);
  if (threads_.Join(limit - cancel)) return true;
  GiveUp();
  return threads_.Join(cancel);
}

void VictoriaMetricsWriter::GiveUp() {
  {
    base::MutexLock lock(mu_);
    stopping_ = gave_up_ = true;
    DropQueueLocked();
    changed_.NotifyAll();
  }
  give_up_.RequestStop();
}

void VictoriaMetricsWriter::DropQueueLocked() {
  for (const Piece& piece : queue_) {
    metrics_.dropped.Add({"stopped"}, static_cast<double>(piece.samples));
    SettleLocked(piece, {.state = State::kDropped});
  }
  queue_.clear();
  queued_text_ = 0;
}

// ---------------------------------------------------------------------------------------------------- sending

void VictoriaMetricsWriter::Send() {
  while (std::optional<Pieces> body = TakeBody()) {
    const base::SteadyTime oldest = body->front().queued_at;
    Deliver(*std::move(body));
    base::MutexLock lock(mu_);
    under_way_.erase(under_way_.find(oldest));
    changed_.NotifyAll();  // the thread that looks may be done
  }
}

std::optional<VictoriaMetricsWriter::Pieces> VictoriaMetricsWriter::TakeBody() {
  base::MutexLock lock(mu_);
  for (;;) {
    if (gave_up_ || (stopping_ && queue_.empty())) {
      changed_.NotifyAll();
      return std::nullopt;
    }
    if (queue_.empty()) {
      changed_.Wait(mu_);
      continue;
    }
    const auto left = queue_.front().queued_at + options_.linger - clock_.Steady();
    if (left <= left.zero() || stopping_ || queued_text_ >= options_.body_bytes) break;
    changed_.WaitFor(mu_, left);
  }
  Pieces pieces;
  std::size_t text = 0;
  while (!queue_.empty() && (pieces.empty() || text + queue_.front().text_bytes <= options_.body_bytes)) {
    text += queue_.front().text_bytes;
    pieces.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  queued_text_ -= text;
  under_way_.insert(pieces.front().queued_at);
  return pieces;
}

void VictoriaMetricsWriter::Deliver(Pieces pieces) {
  std::string body;
  for (const Piece& piece : pieces) body.append(piece.gzip);
  base::Backoff retry(options_.retry, random_), slow(options_.slow_retry, random_);
  for (bool is_first = true;; is_first = false) {
    const std::optional<std::uint64_t> continuity = WaitForTurn();
    if (!continuity) break;
    if (!is_first) metrics_.retries.Add();
    Answer answer = Post(body);
    if (answer.kind == Answer::Kind::kRefused) {
      if (pieces.size() > 1) {
        const auto middle = pieces.begin() + static_cast<std::ptrdiff_t>(pieces.size() / 2);
        Pieces second(std::make_move_iterator(middle), std::make_move_iterator(pieces.end()));
        pieces.erase(middle, pieces.end());
        Deliver(std::move(pieces));
        Deliver(std::move(second));
        return;
      }
      // Whoever refuses nothing, too, would refuse everything.
      if (const Answer empty = Post(empty_body_); empty.kind == Answer::Kind::kRefused) {
        answer.kind = Answer::Kind::kMisconfigured;
      } else if (empty.kind != Answer::Kind::kAccepted) {
        answer = empty;
      }
    }
    Note(answer);
    milliseconds wait{0};
    switch (answer.kind) {
      case Answer::Kind::kAccepted:
        base::FailPoint("history.accepted");
        Settle(pieces, {.state = State::kAccepted, .at = clock_.Steady(), .continuity = *continuity});
        return;
      case Answer::Kind::kRefused:
        Settle(pieces, {.state = State::kRefused, .why = base::Message(answer.why)});
        return;
      case Answer::Kind::kRetry:
        wait = retry.Next();
        break;
      case Answer::Kind::kMisconfigured:
        wait = slow.Next();
        break;
    }
    if (answer.retry_after) wait = *answer.retry_after;
    if (!WaitBefore(wait)) break;
  }
  Settle(pieces, {.state = State::kDropped});
}

bool VictoriaMetricsWriter::MaySendLocked(base::SteadyTime now) const {
  if (now < watch_.send_from()) return false;
  if (watch_.by_time()) return true;
  // Otherwise what a server started anew takes would seem to be of the one before, and be asked for again.
  return look_.has_value() && look_->sent >= look_after_ &&
         now - look_->answered <= std::max(kFreshLook, options_.durable_after);
}

std::optional<std::uint64_t> VictoriaMetricsWriter::WaitForTurn() {
  base::MutexLock lock(mu_);
  for (;;) {
    if (gave_up_) return std::nullopt;
    const base::SteadyTime now = clock_.Steady();
    if (MaySendLocked(now)) return watch_.continuity();
    if (now < watch_.send_from()) {
      changed_.WaitFor(mu_, watch_.send_from() - now);
      continue;
    }
    // Said once: the senders would wake one another for as long as the look takes.
    if (!std::exchange(look_asked_, true)) changed_.NotifyAll();
    changed_.Wait(mu_);
  }
}

bool VictoriaMetricsWriter::WaitBefore(milliseconds wait) {
  const auto until = std::chrono::steady_clock::now() + wait;
  base::MutexLock lock(mu_);
  // What fails while the hub stops is given up.
  while (!gave_up_ && !stopping_) {
    const auto left = until - std::chrono::steady_clock::now();
    if (left <= left.zero()) return true;
    changed_.WaitFor(mu_, left);
  }
  return false;
}

VictoriaMetricsWriter::Answer VictoriaMetricsWriter::Post(const std::string& body) {
  json::Buffer text;
  http::Limits limits;
  limits.timeout = options_.request_timeout;
  limits.stop = give_up_.token();
  const base::SteadyTime begin = clock_.Steady();
  const auto response = client_->Fetch({.method = "POST",
                                        .target = std::string(kImport),
                                        .headers = {{"Content-Type", "text/plain"}, {"Content-Encoding", "gzip"}},
                                        .body = body},
                                       text, limits);
  metrics_.request_seconds.Observe(std::chrono::duration<double>(clock_.Steady() - begin).count());
  metrics_.sent_bytes.Add(static_cast<double>(body.size()));
  Answer answer = Judge(response, text.view());
  const auto name = [&]() -> std::string_view {
    switch (answer.kind) {
      case Answer::Kind::kAccepted:
        return "ok";
      case Answer::Kind::kRetry:
        return "retry";
      case Answer::Kind::kMisconfigured:
        return "misconfigured";
      case Answer::Kind::kRefused:
        return "refused";
    }
    return "";
  };
  metrics_.requests.Add({name()});
  return answer;
}

VictoriaMetricsWriter::Answer VictoriaMetricsWriter::Judge(const absl::StatusOr<http::Response>& response,
                                                           std::string_view text) {
  using Kind = Answer::Kind;
  if (!response.ok()) {
    const absl::StatusCode code = response.status().code();
    const bool ours = code == absl::StatusCode::kUnauthenticated || code == absl::StatusCode::kInvalidArgument;
    return {ours ? Kind::kMisconfigured : Kind::kRetry, response.status(), std::nullopt};
  }
  const int code = response->code;
  if (code >= 200 && code < 300) return {};
  const std::string reason = base::Printable(std::string(text.substr(0, text.find('\n'))), kReasonBytes);
  const absl::Status why = base::Unavailable("HTTP {}{}{}", code, reason.empty() ? "" : ": ", reason);
  if (code == 408 || code == 429 || code >= 500) return {Kind::kRetry, why, response->retry_after};
  for (const int configuration : {401, 403, 404, 405, 407}) {
    if (code == configuration) return {Kind::kMisconfigured, why, std::nullopt};
  }
  return {code < 400 ? Kind::kMisconfigured : Kind::kRefused, why, std::nullopt};
}

void VictoriaMetricsWriter::Note(const Answer& answer) {
  using Kind = Answer::Kind;
  const base::SteadyTime now = clock_.Steady();
  enum class Line { kNone, kMisconfigured, kFails, kRefused, kWorks } line = Line::kNone;
  {
    base::MutexLock lock(mu_);
    switch (answer.kind) {
      case Kind::kAccepted:
      case Kind::kRefused:  // one of many: the server took the empty body that came after it
        failing_since_.reset();
        if (std::exchange(warned_failing_, false)) line = Line::kWorks;
        status_ = absl::OkStatus();
        if (answer.kind == Kind::kRefused && !std::exchange(warned_server_refused_, true)) line = Line::kRefused;
        break;
      case Kind::kMisconfigured:
        if (status_.code() != absl::StatusCode::kFailedPrecondition) line = Line::kMisconfigured;
        warned_failing_ = true;
        status_ = base::MakeStatus(absl::StatusCode::kFailedPrecondition, "{}", base::Message(answer.why));
        break;
      case Kind::kRetry:
        if (!failing_since_) failing_since_ = now;
        if (now - *failing_since_ >= kLasting && !std::exchange(warned_failing_, true)) line = Line::kFails;
        status_ = answer.why;
        look_after_ = now;  // it may be another process that answers next
        break;
    }
  }
  const std::string why = log::ToText(answer.why);
  switch (line) {
    case Line::kNone:
      break;
    case Line::kMisconfigured:
      log_.Error("the history store refuses samples: check its address and what it is accessed with",
                 {{"address", client_->endpoint()}, {"error", why}});
      break;
    case Line::kFails:
      log_.Warn("samples cannot be written to the history store, they are kept and sent later",
                {{"address", client_->endpoint()}, {"error", why}});
      break;
    case Line::kRefused:
      log_.Warn("the history store refuses the samples of a batch; further ones are only counted", {{"error", why}});
      break;
    case Line::kWorks:
      log_.Info("the history store takes samples again", {{"address", client_->endpoint()}});
      break;
  }
}

void VictoriaMetricsWriter::Settle(const Pieces& pieces, const Ticket::Outcome& outcome) {
  std::size_t samples = 0, too_old = 0;
  bool warn_by_time = false, warn_retention = false, warn_too_old = false;
  std::string too_old_why;
  {
    base::MutexLock lock(mu_);
    if (outcome.state == State::kAccepted) {
      last_accepted_ = std::max(last_accepted_, outcome.at);
      warn_by_time = watch_.by_time() && !std::exchange(warned_by_time_, true);
      warn_retention = retention_ == milliseconds::zero() && !std::exchange(warned_retention_, true);
    }
    for (const Piece& piece : pieces) {
      if (outcome.state == State::kAccepted && IsTooOldLocked(piece.parcel->stamp_ms)) {
        too_old += piece.samples;
        if (too_old_why.empty()) too_old_why = ExplainTooOldLocked();
        SettleLocked(piece, {.state = State::kRefused, .why = too_old_why});
      } else {
        samples += piece.samples;
        SettleLocked(piece, outcome);
      }
    }
    warn_too_old = too_old > 0 && !std::exchange(warned_too_old_, true);
  }
  const auto count = static_cast<double>(samples);
  if (outcome.state == State::kAccepted) metrics_.written.Add(count);
  if (outcome.state == State::kDropped) metrics_.dropped.Add({"stopped"}, count);
  if (outcome.state == State::kRefused) metrics_.refused.Add({"server"}, count);
  if (too_old > 0) metrics_.refused.Add({"retention"}, static_cast<double>(too_old));
  if (warn_too_old) {
    log_.Warn("samples came too late to be kept, which is a hole in the history; further ones are only counted",
              {{"reason", too_old_why}});
  }
  if (warn_retention) {
    log_.Warn(
        "the history store does not tell for how long it keeps samples, and ignores older ones without a word: set "
        "VM_RETENTION",
        {{"address", client_->endpoint()}});
  }
  if (warn_by_time) {
    log_.Warn(
        "the history store does not show when it was started (/metrics): samples count as durable by their age alone",
        {{"address", client_->endpoint()}});
  }
}

void VictoriaMetricsWriter::SettleLocked(const Piece& piece, const Ticket::Outcome& outcome) {
  held_bytes_ -= piece.bytes();
  Parcel& parcel = *piece.parcel;
  Ticket::Outcome& all = parcel.outcome;
  if (all.state == State::kWaiting || IsWorse(outcome.state, all.state)) {
    all = outcome;
  } else if (outcome.state == State::kAccepted && all.state == State::kAccepted) {
    all.at = std::max(all.at, outcome.at);
    all.continuity = std::min(all.continuity, outcome.continuity);
  }
  if (--parcel.open_pieces == 0) parcel.ticket->Settle(all);
}

// ---------------------------------------------------------------------------------------------------- watching

milliseconds VictoriaMetricsWriter::LookIntervalLocked() const {
  if (watch_.by_time() && searches_.empty()) return kIdleLook;
  return std::clamp(options_.durable_after / 4, milliseconds(50), milliseconds(2500));
}

bool VictoriaMetricsWriter::WaitsLocked() const {
  return !queue_.empty() || !under_way_.empty() || !searches_.empty() || watch_.mark().until < last_accepted_;
}

void VictoriaMetricsWriter::Watch() {
  for (;;) {
    {
      base::MutexLock lock(mu_);
      for (;;) {
        if (gave_up_ || (stopping_ && queue_.empty() && under_way_.empty())) return;
        if (!WaitsLocked()) {
          changed_.Wait(mu_);
          continue;
        }
        if (!look_ || look_->sent < look_after_) break;
        const auto left = look_->answered + LookIntervalLocked() - clock_.Steady();
        if (left <= left.zero()) break;
        changed_.WaitFor(mu_, left);
      }
    }
    const Look look = LookOnce();
    bool searches = false;
    {
      base::MutexLock lock(mu_);
      watch_.On(look);
      look_ = look;
      look_asked_ = false;
      searches = !searches_.empty() && look.seen != Look::Seen::kNoAnswer;
      changed_.NotifyAll();
    }
    if (searches) RunSearches();
  }
}

std::optional<base::SteadyTime> VictoriaMetricsWriter::OldestLocked() const {
  // Bodies under way are older than what waits.
  if (!under_way_.empty()) return *under_way_.begin();
  if (!queue_.empty()) return queue_.front().queued_at;
  return std::nullopt;
}

void VictoriaMetricsWriter::RunSearches() {
  const base::SteadyTime begin = clock_.Steady();
  std::vector<Search> due;
  std::uint64_t continuity = 0;
  {
    base::MutexLock lock(mu_);
    continuity = watch_.continuity();
    const std::optional<base::SteadyTime> oldest = OldestLocked();
    for (Search& search : searches_) {
      if (!search.ready_at && (!oldest || *oldest > search.asked_at)) search.ready_at = begin;
      if (search.ready_at) due.push_back(search);
    }
  }
  for (const Search& search : due) {
    if (clock_.Steady() - begin >= kSearchRound || give_up_.stop_requested()) break;
    std::optional<Ticket::Outcome> outcome = RunSearch(search, continuity);
    base::MutexLock lock(mu_);
    const auto at = std::find_if(searches_.begin(), searches_.end(),
                                 [&search](const Search& other) { return other.ticket == search.ticket; });
    Search answered = std::move(*at);
    searches_.erase(at);
    if (outcome) {
      if (outcome->state == State::kAccepted) last_accepted_ = std::max(last_accepted_, outcome->at);
      answered.ticket->Settle(*std::move(outcome));
    } else {
      searches_.push_back(std::move(answered));  // those that were not asked for come first
    }
  }
}

std::optional<Ticket::Outcome> VictoriaMetricsWriter::RunSearch(const Search& search, std::uint64_t continuity) {
  json::Buffer text;
  http::Limits limits;
  limits.timeout = options_.look_timeout;
  limits.stop = give_up_.token();
  VmClient& client = query_client_ ? *query_client_ : *client_;
  const auto response = client.Fetch({.target = SearchTarget(search.sought)}, text, limits);
  const Answer answer = Judge(response, text.view());
  // What is wrong for samples as well is not about searches.
  if (answer.kind == Answer::Kind::kRetry || (answer.kind == Answer::Kind::kMisconfigured && !Status().ok())) {
    return std::nullopt;
  }
  const absl::StatusOr<std::uint64_t> found =
      answer.kind == Answer::Kind::kAccepted ? CountTimes(text.view()) : absl::StatusOr<std::uint64_t>(answer.why);
  if (!found.ok()) {
    bool warn = false;
    {
      base::MutexLock lock(mu_);
      warn = !std::exchange(warned_search_, true);
    }
    if (warn) {
      log_.Warn(
          "the history store cannot be asked for samples: what was sent last before the hub ended counts as lost; of a "
          "VictoriaMetrics cluster VM_QUERY_ENDPOINT names who can",
          {{"address", client.endpoint()}, {"error", log::ToText(found.status())}});
    }
    return Ticket::Outcome{.state = State::kDropped};
  }
  const base::SteadyTime now = clock_.Steady();
  if (*found >= search.sought.batches) {
    return Ticket::Outcome{.state = State::kAccepted, .at = now, .continuity = continuity};
  }
  if (now - *search.ready_at < options_.search_patience) return std::nullopt;
  return Ticket::Outcome{.state = State::kDropped};
}

Look VictoriaMetricsWriter::LookOnce() {
  json::Buffer text;
  http::Limits limits;
  limits.timeout = options_.look_timeout;
  limits.stop = give_up_.token();
  Look look{.sent = clock_.Steady()};
  const auto response = client_->FetchMetrics(text, limits);
  look.answered = clock_.Steady();
  if (!response.ok() || response->code == 408 || response->code == 429 || response->code >= 500) return look;
  look.seen = Look::Seen::kNoStart;
  if (response->code != 200) return look;
  if (const auto start = ParseStart(text.view())) {
    look.seen = Look::Seen::kStart;
    look.start = *start;
  }
  if (options_.retention == milliseconds::zero()) {
    if (const auto retention = ParseRetention(text.view())) {
      base::MutexLock lock(mu_);
      retention_ = *retention;
    }
  }
  return look;
}

void VictoriaMetricsWriter::Collect() {
  base::MutexLock lock(mu_);
  const std::optional<base::SteadyTime> oldest = OldestLocked();
  metrics_.queue_bytes.Set(static_cast<double>(held_bytes_));
  metrics_.lag_seconds.Set(oldest ? std::chrono::duration<double>(clock_.Steady() - *oldest).count() : 0);
  metrics_.up.Set(status_.ok() ? 1 : 0);
  metrics_.by_time.Set(watch_.by_time() ? 1 : 0);
  metrics_.retention_seconds.Set(std::chrono::duration<double>(retention_).count());
}

}  // namespace clusterpulse::history
