#include "collector/link/outbox.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "common/base/status.h"

namespace clusterpulse::link {
namespace {

// What a collector can have done since the last number that it remembers, or else the hub is mistaken.
constexpr std::uint64_t kMostForgotten = std::uint64_t{1} << 32;
constexpr std::size_t kMostReplays = 64;
constexpr std::size_t kMostPendingGaps = 256;
// For a hub that makes nothing durable, or slower than batches are made, nothing is ever quiet.
constexpr std::chrono::seconds kLongestQuietWait{30};

}  // namespace

class Outbox::DiskTurn {
 public:
  explicit DiskTurn(Outbox& outbox) : outbox_(outbox) {
    base::MutexLock lock(outbox_.mu_);
    while (outbox_.disk_busy_) outbox_.disk_free_.Wait(outbox_.mu_);
    outbox_.disk_busy_ = true;
  }
  ~DiskTurn() {
    base::MutexLock lock(outbox_.mu_);
    outbox_.RefreshLocked();
    outbox_.FreeDisk();
  }
  DiskTurn(const DiskTurn&) = delete;
  DiskTurn& operator=(const DiskTurn&) = delete;

 private:
  Outbox& outbox_;
};

bool Outbox::TryDisk() {
  if (disk_busy_) return false;
  disk_busy_ = true;
  return true;
}

void Outbox::FreeDisk() {
  disk_busy_ = false;
  disk_free_.NotifyAll();
}

void Outbox::RefreshLocked() {
  disk_.trouble = keeper_.trouble();
  disk_.errors = keeper_.errors();
  const spool::Spool* const spool = keeper_.spool();
  if (spool == nullptr) return;
  disk_.bytes = spool->bytes();
  if (has_spool_ && spool->gaps() != queue_.spool_gaps()) queue_.OnDisk(spool->entries(), spool->gaps());
}

Outbox::Outbox(Options options, std::string instance, const base::Clock& clock, log::Logger log,
               telemetry::Registry* registry)
    : clock_(clock),
      began_(clock.Steady()),
      log_(std::move(log)),
      registry_(registry),
      on_disk_work_(std::move(options.on_disk_work)),
      keeper_(std::move(options.open_spool), clock, log_),
      instance_(std::move(instance)),
      queue_(options.max_batches, options.max_bytes) {
  {
    const DiskTurn turn(*this);
    OpenSpool();
    base::MutexLock lock(mu_);
    if (opened_.has_value()) AdoptLocked();
  }
  MakeMetrics();
}

Outbox::~Outbox() {
  {
    const DiskTurn turn(*this);
    DoDiskWork();  // what the hub said last
  }
  if (registry_ != nullptr) registry_->RemoveCollector(collector_);
}

void Outbox::OpenSpool() {
  if (!keeper_.Open()) return;
  const spool::Spool& spool = *keeper_.spool();
  Opened opened{.instance = spool.instance(),
                .left = {.entries = spool.entries(),
                         .gaps = spool.gaps(),
                         .last_seq = spool.next_seq() - 1,
                         .confirmed = spool.confirmed(),
                         .is_confirmed = spool.is_confirmed(),
                         .durable = spool.durable()},
                .last_collected_at = spool.last_collected_at(),
                .at = clock_.Steady()};
  base::MutexLock lock(mu_);
  opened_ = std::move(opened);
}

void Outbox::AdoptLocked() {
  instance_ = std::move(opened_->instance);
  const std::vector<model::Gap> lost = queue_.Adopt(opened_->left, clock_.Now(), clock_.Steady());
  pending_gaps_.insert(pending_gaps_.end(), lost.begin(), lost.end());
  spool::JoinSameCauses(kMostPendingGaps, pending_gaps_);
  down_from_ = left_at_ = opened_->last_collected_at;
  has_spool_ = true;
  opened_.reset();
}

void Outbox::AttachGapsLocked(model::Batch& batch) {
  if (!first_collected_at_.has_value()) first_collected_at_ = batch.collected_at;
  if (const auto from = std::exchange(down_from_, std::nullopt)) {
    // Less is the rhythm of a collector that is replaced.
    const bool was_down = batch.interval.count() > 0 && *first_collected_at_ - *from > 2 * batch.interval;
    if (was_down) batch.gaps.push_back({{}, *from, *first_collected_at_, model::GapCause::kCollectorDown});
  }
  batch.gaps.insert(batch.gaps.end(), pending_gaps_.begin(), pending_gaps_.end());
  pending_gaps_.clear();
}

std::uint64_t Outbox::Add(model::Batch batch, bool full, std::vector<model::RowStream> streams) {
  const base::SteadyTime collected = clock_.Steady() - batch.age;  // before the wait for the disk
  const DiskTurn turn(*this);
  DoDiskWork();
  OpenSpool();
  {
    base::MutexLock lock(mu_);
    if (opened_.has_value() && !is_described_) AdoptLocked();
    AttachGapsLocked(batch);
  }
  DeliveryQueue::Made made{.id = batch.id, .collected_at = batch.collected_at, .collected = collected, .full = full};
  made.pieces = Split(std::move(batch), wire::kMaxOwnMessage, keeper_.is_wanted(), std::move(streams));
  made.spooled = KeepOnDisk(made);
  base::MutexLock lock(mu_);
  return queue_.Add(std::move(made));
}

bool Outbox::SpoolWaiting() {
  std::vector<DeliveryQueue::Unspooled> waiting;
  std::vector<model::Gap> gaps;
  {
    base::MutexLock lock(mu_);
    if (!has_spool_ || !keeper_.IsDue()) return false;
    waiting = queue_.unspooled();
    gaps = queue_.TakeGaps();
  }
  for (const model::Gap& gap : gaps) keeper_.spool()->NoteGap(gap);
  std::vector<const DeliveryQueue::Unspooled*> kept;
  for (const DeliveryQueue::Unspooled& batch : waiting) {
    const absl::Status status = keeper_.Append(batch.seq, batch.collected_at, batch.piece->history);
    if (status.ok()) kept.push_back(&batch);
    if (!status.ok() && status == keeper_.trouble()) break;
  }
  base::MutexLock lock(mu_);
  for (const DeliveryQueue::Unspooled* const batch : kept) queue_.Spooled(batch->seq, batch->piece->history.size());
  return keeper_.IsDue();
}

std::size_t Outbox::KeepOnDisk(const DeliveryQueue::Made& made) {
  const bool works = SpoolWaiting();
  std::uint64_t next = 0;
  {
    base::MutexLock lock(mu_);
    if (!has_spool_) return 0;
    next = queue_.last_seq() + 1;
  }
  std::size_t spooled = 0;
  while (works && spooled < made.pieces.size() &&
         keeper_.Append(next + spooled, made.collected_at, made.pieces[spooled].history).ok()) {
    ++spooled;
  }
  // A disk without room for batches still has room for their numbers: the next process must not give them again.
  if (spooled < made.pieces.size()) keeper_.NoteGiven(next + made.pieces.size() - 1, made.collected_at);
  return spooled;
}

void Outbox::Tell(const DeliveryQueue::Verdicts& verdicts) {
  spool::Spool& spool = *keeper_.spool();
  if (!verdicts.given_up.empty()) spool.GiveUp(verdicts.given_up);
  if (verdicts.durable.has_value()) spool.SetDurable(*verdicts.durable);
}

bool Outbox::HasDiskWorkLocked() const {
  if (!has_spool_) return false;
  return queue_.HasVerdicts() || confirm_due_ || save_due_ || !unusable_.empty() || foreign_.has_value();
}

void Outbox::AskForDiskWork() {
  {
    base::MutexLock lock(mu_);
    if (!has_spool_) (void)queue_.TakeVerdicts();  // for nobody
    if (!HasDiskWorkLocked()) return;
  }
  if (on_disk_work_ != nullptr) return on_disk_work_();
  WorkOnDisk();
}

void Outbox::WorkOnDisk() {
  {
    base::MutexLock lock(mu_);
    if (!HasDiskWorkLocked()) return;
  }
  const DiskTurn turn(*this);
  DoDiskWork();
}

void Outbox::DoDiskWork() {
  while (true) {
    DeliveryQueue::Verdicts verdicts;
    std::vector<std::uint64_t> unusable;
    std::optional<model::Gap> forgotten;
    bool confirm = false, save = false;
    {
      base::MutexLock lock(mu_);
      if (!HasDiskWorkLocked()) return;
      verdicts = queue_.TakeVerdicts();
      unusable = std::exchange(unusable_, {});
      confirm = std::exchange(confirm_due_, false);
      save = std::exchange(save_due_, false);
      if (foreign_.has_value()) forgotten = ForgottenLocked();
    }
    Tell(verdicts);
    for (const std::uint64_t seq : unusable) keeper_.spool()->GiveUp(seq, model::GapCause::kCollectorLost);
    if (save) keeper_.spool()->Flush();
    if (forgotten.has_value()) Renumber(*forgotten);
    if (confirm || forgotten.has_value()) keeper_.spool()->Confirm();
  }
}

model::Gap Outbox::ForgottenLocked() const {
  // They were made between what the spool remembers and what this process made first.
  const base::SystemTime now = clock_.Now();
  const auto [from, to] = std::minmax({left_at_.value_or(now), first_collected_at_.value_or(now)});
  return {{foreign_->first, std::max(foreign_->last, queue_.last_seq())}, from, to, model::GapCause::kCollectorLost};
}

void Outbox::Renumber(const model::Gap& forgotten) {
  log_.Warn("the spool forgot numbers that it gave; batches that have them get others",
            {{"first", forgotten.seqs.first}, {"last", forgotten.seqs.last}});
  spool::Spool& spool = *keeper_.spool();
  spool.Renumber(forgotten);
  base::MutexLock lock(mu_);
  queue_.Renumber(forgotten.seqs);
  queue_.OnDisk(spool.entries(), spool.gaps());
  queue_.Confirmed();
  if (foreign_.has_value() && foreign_->last > forgotten.seqs.last) return;  // a hub that came meanwhile knows more
  foreign_.reset();
  if (const auto heard = std::exchange(heard_, std::nullopt)) queue_.Durable(*heard);
  for (const model::SeqRange& range : std::exchange(replays_, {})) (void)queue_.Replay(range);
}

Outbox::Stats Outbox::stats() const {
  base::MutexLock lock(mu_);
  return queue_.stats();
}

bool Outbox::IsNewestPending() const {
  base::MutexLock lock(mu_);
  return queue_.IsNewestPending();
}

bool Outbox::HasWaiting() const {
  base::MutexLock lock(mu_);
  return queue_.HasWaiting();
}

bool Outbox::TakeStateLost() {
  base::MutexLock lock(mu_);
  return queue_.TakeStateLost();
}

std::vector<model::Gap> Outbox::gaps() const {
  base::MutexLock lock(mu_);
  return queue_.gaps();
}

absl::Status Outbox::SpoolTrouble() const {
  base::MutexLock lock(mu_);
  if (opened_.has_value()) return absl::UnavailableError("it can be used, and is from the next stream on");
  return disk_.trouble;
}

void Outbox::Describe(model::Registration& registration) {
  base::MutexLock lock(mu_);
  if (opened_.has_value()) AdoptLocked();
  is_described_ = true;
  registration.instance = instance_;
  registration.held = queue_.held();
  registration.durable_low = queue_.durable().low;
  registration.durable = queue_.durable().ranges;
  registration.gaps = queue_.TellGaps();
}

std::vector<model::Gap> Outbox::TellGaps() {
  base::MutexLock lock(mu_);
  return queue_.TellGaps();
}

bool Outbox::WantsNewStream() const {
  base::MutexLock lock(mu_);
  if (!opened_.has_value() || !is_described_) return false;
  if (queue_.IsFull()) return true;
  return queue_.IsQuiet() || clock_.Steady() - opened_->at >= kLongestQuietWait;
}

void Outbox::Welcomed(std::uint64_t last_seq) {
  {
    base::MutexLock lock(mu_);
    if (!has_spool_) return;
    const std::optional<std::uint64_t> first = queue_.FirstForeign(last_seq);
    if (foreign_.has_value()) {
      foreign_->last = std::max(foreign_->last, last_seq);
    } else if (first.has_value() && last_seq - *first < kMostForgotten) {
      foreign_ = {*first, last_seq};
    } else if (!queue_.is_confirmed()) {
      queue_.Confirmed();
      confirm_due_ = true;
    }
  }
  AskForDiskWork();
}

void Outbox::SetPeer(const Peer& peer) {
  base::MutexLock lock(mu_);
  queue_.SetPeer(peer);
}

void Outbox::SetCredits(model::Credits credits) {
  base::MutexLock lock(mu_);
  queue_.SetCredits(credits);
}

void Outbox::Disconnected() {
  base::MutexLock lock(mu_);
  is_described_ = false;
  replays_.clear();
  queue_.Disconnected();
}

std::optional<std::string> Outbox::Next(bool only_begun) {
  std::optional<std::string> message;
  while (true) {
    std::uint64_t wanted = 0;
    {
      base::MutexLock lock(mu_);
      if (foreign_.has_value()) return std::nullopt;
      message = queue_.Next(clock_.Steady(), only_begun);
      if (!queue_.wanted().has_value() || !TryDisk()) break;
      wanted = *queue_.wanted();
    }
    absl::StatusOr<std::string> history = keeper_.Read(wanted);
    base::MutexLock lock(mu_);
    save_due_ |= !history.ok();
    if (!queue_.Loaded(wanted, std::move(history), clock_.Steady())) unusable_.push_back(wanted);
    RefreshLocked();
    FreeDisk();
  }
  AskForDiskWork();
  LogRefusals();
  return message;
}

void Outbox::Drain() {
  base::MutexLock lock(mu_);
  queue_.Drain();
}

std::size_t Outbox::Applied(const std::vector<model::SeqRange>& ranges) {
  base::MutexLock lock(mu_);
  return queue_.Applied(ranges);
}

void Outbox::Durable(const model::DurablePosition& position) {
  {
    base::MutexLock lock(mu_);
    if (foreign_.has_value()) {
      heard_ = position;
    } else {
      queue_.Durable(position);
    }
  }
  AskForDiskWork();
}

void Outbox::Rejected(const std::vector<model::Rejection>& rejected) {
  {
    base::MutexLock lock(mu_);
    if (!foreign_.has_value()) queue_.Rejected(rejected);
  }
  AskForDiskWork();
  LogRefusals();
}

bool Outbox::Replay(const model::Replay& replay) {
  base::MutexLock lock(mu_);
  if (replay.instance != instance_) return false;
  if (!foreign_.has_value()) return queue_.Replay(replay.range);
  if (replays_.size() < kMostReplays) replays_.push_back(replay.range);
  return false;
}

bool Outbox::UpstreamAcked(const model::UpstreamAck& ack) {
  bool is_taken = false;
  {
    base::MutexLock lock(mu_);
    is_taken = queue_.UpstreamAcked(ack);
  }
  AskForDiskWork();
  LogRefusals();
  return is_taken;
}

void Outbox::LogRefusals() {
  DeliveryQueue::Refusals refusals;
  {
    base::MutexLock lock(mu_);
    if (queue_.refusals().count == 0 || !log_bucket_.TryTake(clock_.Steady())) return;
    refusals = queue_.TakeRefusals();
  }
  log_.Warn("the hub does not take a batch",
            {{"seq", refusals.seq}, {"reason", refusals.reason}, {"count", refusals.count}});
}

void Outbox::MakeMetrics() {
  if (registry_ == nullptr) return;
  const auto sent = registry_->Counters("clusterpulse_collector_batches_sent_total",
                                        "Batches sent to the hub, those sent again included, by lane.", {"lane"});
  const auto counter = [&](const char* name, const char* help) { return registry_->Counters(name, help).With({}); };
  const auto gauge = [&](const char* name, const char* help) { return registry_->Gauges(name, help).With({}); };
  metrics_ = {
      .sent_live = sent.With({"live"}),
      .sent_history = sent.With({"history"}),
      .applied = counter("clusterpulse_collector_batches_applied_total", "Batches the hub made visible to readers."),
      .durable = counter("clusterpulse_collector_batches_durable_total",
                         "Batches that survive a crash of the hub and its stores."),
      .rejected = counter("clusterpulse_collector_batches_rejected_total", "Batches the hub can never store."),
      .lost = counter("clusterpulse_collector_batches_lost_total",
                      "Batches that went from disk or memory, and were not known to be durable."),
      .spool_errors =
          counter("clusterpulse_collector_spool_errors_total", "Opens, writes and reads of the spool that failed."),
      .batches = gauge("clusterpulse_collector_buffered_batches",
                       "Batches kept until they are durable, on disk and in memory."),
      .bytes = gauge("clusterpulse_collector_buffered_bytes", "Size of the batches kept until they are durable."),
      .oldest_age = gauge("clusterpulse_collector_buffered_oldest_age_seconds",
                          "Time since the oldest batch that is kept was collected; 0 while none is."),
      .durable_age = gauge("clusterpulse_collector_durable_age_seconds",
                           "Time since the newest durable batch was collected; since the start while there is none."),
      .spooled = gauge("clusterpulse_collector_spooled_batches", "Of the batches that are kept, those on disk."),
      .spool_bytes = gauge("clusterpulse_collector_spool_bytes", "Size of the files of the spool."),
      .memory_only = gauge("clusterpulse_collector_memory_only",
                           "1 while batches are kept in memory only: a restart loses those that are not durable."),
      .gaps = registry_->Gauges("clusterpulse_collector_gaps",
                                "Runs of lost batches that the hub has not told that it knows, by cause.", {"cause"}),
  };
  collector_ = registry_->AddCollector([this] { ExportMetrics(); });
}

void Outbox::ExportMetrics() {
  constexpr std::array kCauses = {model::GapCause::kCollectorLost, model::GapCause::kLinkDown,
                                  model::GapCause::kRejected, model::GapCause::kSpoolOverflow};
  base::MutexLock lock(mu_);
  const Stats now = queue_.stats();
  const Stats before = std::exchange(exported_, now);
  const auto add = [&](const telemetry::Counter& counter, std::uint64_t Stats::*field) {
    counter.Add(static_cast<double>(now.*field - before.*field));
  };
  add(metrics_.sent_live, &Stats::sent_live);
  add(metrics_.sent_history, &Stats::sent_history);
  add(metrics_.applied, &Stats::applied);
  add(metrics_.durable, &Stats::durable);
  add(metrics_.rejected, &Stats::rejected);
  add(metrics_.lost, &Stats::lost);
  metrics_.spool_errors.Add(static_cast<double>(disk_.errors - std::exchange(exported_errors_, disk_.errors)));
  metrics_.batches.Set(static_cast<double>(now.batches));
  metrics_.bytes.Set(static_cast<double>(now.bytes));
  const auto waited = now.oldest.has_value() ? clock_.Now() - *now.oldest : base::SystemTime::duration(0);
  metrics_.oldest_age.Set(std::max(std::chrono::duration<double>(waited).count(), 0.0));
  const base::SteadyTime durable = now.newest_durable.value_or(began_);
  metrics_.durable_age.Set(std::chrono::duration<double>(clock_.Steady() - durable).count());
  metrics_.spooled.Set(static_cast<double>(now.spooled));
  metrics_.spool_bytes.Set(static_cast<double>(disk_.bytes));
  metrics_.memory_only.Set(has_spool_ && disk_.trouble.ok() ? 0 : 1);
  const std::vector<model::Gap> gaps = queue_.gaps();
  for (const model::GapCause cause : kCauses) {
    const auto count =
        std::count_if(gaps.begin(), gaps.end(), [&](const model::Gap& gap) { return gap.cause == cause; });
    metrics_.gaps.With({std::string(model::ToString(cause))}).Set(static_cast<double>(count));
  }
}

}  // namespace clusterpulse::link
