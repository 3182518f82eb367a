#include "collector/app/batcher.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "common/base/thread.h"

namespace clusterpulse::collector {
namespace {

constexpr std::chrono::milliseconds kPoll{100};  // what others know and do not tell
constexpr std::chrono::seconds kSlowPoll{1};     // while something of the cluster cannot be read, or the hub is away
constexpr std::chrono::milliseconds kLeastApart{1};
constexpr std::chrono::seconds kClockStep{1};  // a clock that is so far back was set
constexpr std::chrono::nanoseconds kLongestSleep = std::chrono::seconds(10);

}  // namespace

Batcher::Batcher(Options options, Ports ports, const base::Clock& clock, base::Random& random)
    : options_(std::move(options)), ports_(std::move(ports)), clock_(clock), random_(random) {
  status_.interval = options_.interval;
  status_.last_turn = status_.next_tick = clock_.Steady();
}

Batcher::~Batcher() { Stop(); }

void Batcher::Start() {
  base::MutexLock lock(lifecycle_mu_);
  if (!thread_.joinable()) thread_ = base::StartThread("batcher", [this] { Run(); });
}

void Batcher::Stop() {
  {
    base::MutexLock lock(mu_);
    stop_ = true;
    woken_.NotifyAll();
  }
  base::MutexLock lock(lifecycle_mu_);
  if (thread_.joinable()) thread_.join();
}

void Batcher::Connected() {
  base::MutexLock lock(mu_);
  connected_ = wake_ = true;
  woken_.NotifyAll();
}

void Batcher::News() {
  base::MutexLock lock(mu_);
  news_ = wake_ = true;
  woken_.NotifyAll();
}

void Batcher::SetInterval(std::chrono::seconds interval) {
  base::MutexLock lock(mu_);
  status_.interval = interval;
  wake_ = true;
  woken_.NotifyAll();
}

Batcher::Status Batcher::status() const {
  base::MutexLock lock(mu_);
  return status_;
}

void Batcher::Run() {
  while (true) {
    const base::SteadyTime next = Step();
    base::MutexLock lock(mu_);
    const std::chrono::nanoseconds left = std::min<std::chrono::nanoseconds>(next - clock_.Steady(), kLongestSleep);
    if (!stop_ && !wake_ && left.count() > 0) woken_.WaitFor(mu_, left);
    if (stop_) return;
    wake_ = false;
  }
}

base::SteadyTime Batcher::Step() {
  const base::SteadyTime now = clock_.Steady();
  std::chrono::seconds interval;
  {
    base::MutexLock lock(mu_);
    wants_full_ |= std::exchange(connected_, false);
    has_news_ |= std::exchange(news_, false);
    interval = status_.interval;
    status_.last_turn = now;
    status_.next_tick = last_tick_ ? *last_tick_ + interval : now;
  }
  if (!began_) began_ = now;
  const bool is_current = ports_.is_current();
  if (!last_tick_ && !is_current && now - *began_ < options_.first_limit) return now + kPoll;

  has_news_ |= is_current && !was_current_;
  was_current_ = is_current;
  const bool is_connected = !has_news_ || ports_.is_connected();
  const bool is_tick = !last_tick_ || now >= *last_tick_ + interval;
  const bool is_held_back = has_news_ && now >= early_from_ && (!is_connected || ports_.is_pending());
  const bool is_early = has_news_ && now >= early_from_ && !is_held_back;
  if (is_tick || wants_full_ || is_early) {
    const bool has_more = Collect(wants_full_);
    if (!last_tick_) {
      last_tick_ = now;
    } else if (is_tick) {
      *last_tick_ += (now - *last_tick_) / interval * interval;
    } else if (is_early) {
      early_from_ = now + options_.early_gap;
    }
    wants_full_ = false;
    has_news_ = has_more;  // whatever made it, it carries the news
    base::MutexLock lock(mu_);
    status_.next_tick = *last_tick_ + interval;
  }
  base::SteadyTime next = *last_tick_ + interval;
  // Without a stream the news stays, for the full batch that the next one asks for to carry.
  if (has_news_)
    next = std::min(next, !is_held_back ? std::max(early_from_, now) : now + (is_connected ? kPoll : kSlowPoll));
  return is_current ? next : std::min(next, now + kSlowPoll);
}

bool Batcher::Collect(bool full) {
  model::Batch batch;
  batch.cluster = options_.cluster;
  batch.id = RandomUuid(random_);
  // In history, which counts milliseconds, two batches of one moment would be one.
  batch.collected_at = clock_.Now();
  const auto since = batch.collected_at - last_collected_at_;
  if (since < kLeastApart && since > -kClockStep) batch.collected_at = last_collected_at_ + kLeastApart;
  last_collected_at_ = batch.collected_at;
  const base::SteadyTime start = clock_.Steady();
  observe::Observation observation = ports_.observe(full);
  sources::SourceSet::Taken taken;
  if (ports_.sources) taken = ports_.sources(full, batch.collected_at);
  {
    base::MutexLock lock(mu_);
    batch.interval = status_.interval;
    status_.last_collection = std::chrono::duration_cast<std::chrono::milliseconds>(clock_.Steady() - start);
  }
  batch.snapshot = std::move(observation.snapshot);
  batch.sources = std::move(taken.results);
  TellHole(batch);
  if (batch.snapshot != model::ClusterSnapshot() || !batch.sources.empty() || !taken.streams.empty()) {
    ports_.deliver(std::move(batch), std::move(taken.streams), full && observation.is_complete);
  }
  return taken.has_more;
}

void Batcher::TellHole(model::Batch& batch) {
  if (!batch.snapshot.nodes.has_value() || !batch.snapshot.counts.has_value()) {
    if (!hole_from_.has_value()) hole_from_ = last_whole_.value_or(batch.collected_at);
    return;
  }
  last_whole_ = batch.collected_at;
  const auto from = std::exchange(hole_from_, std::nullopt);
  // A clock that was set back in between leaves nothing to tell.
  if (!from.has_value() || *from >= batch.collected_at) return;
  batch.gaps.push_back({{}, *from, batch.collected_at, model::GapCause::kListFailed});
}

std::string RandomUuid(base::Random& random) {
  const std::uint64_t high = (random.Next() & ~std::uint64_t{0xf000}) | 0x4000;
  const std::uint64_t low = (random.Next() >> 2) | (std::uint64_t{1} << 63);
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xffff, low >> 48,
                     low & 0xffff'ffff'ffff);
}

}  // namespace clusterpulse::collector
