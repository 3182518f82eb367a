#include "collector/link/outbox.h"

#include <chrono>
#include <utility>

namespace clusterpulse::link {

Outbox::Outbox(Options options, std::string instance, const base::Clock& clock, log::Logger log,
               telemetry::Registry* registry)
    : instance_(std::move(instance)),
      clock_(clock),
      began_(clock.Steady()),
      log_(std::move(log)),
      registry_(registry),
      queue_(options.max_batches, options.max_bytes) {
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
                      "Batches that fell out of the buffer and were not known to be durable."),
      .batches = gauge("clusterpulse_collector_buffered_batches", "Batches kept until they are durable."),
      .bytes = gauge("clusterpulse_collector_buffered_bytes", "Size of the batches kept until they are durable."),
      .durable_age = gauge("clusterpulse_collector_durable_age_seconds",
                           "Time since the newest durable batch was collected; since the start while there is none."),
  };
  collector_ = registry_->AddCollector([this] { ExportMetrics(); });
}

Outbox::~Outbox() {
  if (registry_ != nullptr) registry_->RemoveCollector(collector_);
}

void Outbox::ExportMetrics() {
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
  metrics_.batches.Set(static_cast<double>(now.batches));
  metrics_.bytes.Set(static_cast<double>(now.bytes));
  const base::SteadyTime durable = now.newest_durable.value_or(began_);
  metrics_.durable_age.Set(std::chrono::duration<double>(clock_.Steady() - durable).count());
}

std::uint64_t Outbox::Add(model::Batch batch, bool full) {
  DeliveryQueue::Made made{
      .id = batch.id, .collected_at = batch.collected_at, .collected = clock_.Steady() - batch.age, .full = full};
  made.pieces = Split(std::move(batch));
  base::MutexLock lock(mu_);
  return queue_.Add(std::move(made));
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

std::vector<LostBatches> Outbox::lost() const {
  base::MutexLock lock(mu_);
  return {queue_.lost().begin(), queue_.lost().end()};
}

void Outbox::Describe(model::Registration& registration) const {
  base::MutexLock lock(mu_);
  registration.instance = instance_;
  registration.held = queue_.held();
  registration.durable_low = queue_.stats().durable_low;
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
  queue_.Disconnected();
}

std::optional<std::string> Outbox::Next(bool only_begun) {
  std::optional<std::string> message;
  {
    base::MutexLock lock(mu_);
    message = queue_.Next(clock_.Steady(), only_begun);
  }
  LogRefusals();
  return message;
}

std::size_t Outbox::Applied(const std::vector<model::SeqRange>& ranges) {
  base::MutexLock lock(mu_);
  return queue_.Applied(ranges);
}

void Outbox::Durable(const model::DurablePosition& position) {
  base::MutexLock lock(mu_);
  queue_.Durable(position);
}

void Outbox::Rejected(const std::vector<model::Rejection>& rejected) {
  {
    base::MutexLock lock(mu_);
    queue_.Rejected(rejected);
  }
  LogRefusals();
}

bool Outbox::Replay(const model::Replay& replay) {
  if (replay.instance != instance_) return false;
  base::MutexLock lock(mu_);
  return queue_.Replay(replay.range);
}

void Outbox::UpstreamAcked(const model::UpstreamAck& ack) {
  {
    base::MutexLock lock(mu_);
    queue_.UpstreamAcked(ack);
  }
  LogRefusals();
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

}  // namespace clusterpulse::link
