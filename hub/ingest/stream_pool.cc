#include "hub/ingest/stream_pool.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/base/thread.h"

namespace clusterpulse::ingest {
namespace {

using std::chrono::milliseconds;

// More let in within a second are a crowd, as after a restart of the hub. Their data waits, the longer the more of them
// there are: of a few it would only put off what could be done at once.
constexpr double kCrowd = 100;
constexpr milliseconds kWaitOfEach{5}, kCrowdWait{1500};

std::uint64_t ToId(const kube::ObjectKey& key) {
  std::uint64_t id = 0;
  std::from_chars(key.name.data(), key.name.data() + key.name.size(), id);
  return id;
}

runtime::WorkQueueMetrics QueueMetrics(telemetry::Registry* registry, std::string_view name) {
  return registry != nullptr ? runtime::WorkQueueMetrics::Make(*registry, name) : runtime::WorkQueueMetrics();
}

}  // namespace

Stream::Stream(StreamPool& pool, Session::Info info, std::shared_ptr<StreamPeer> peer, const Services& services)
    : pool_(pool),
      id_(info.id),
      key_{"", std::to_string(info.id)},
      peer_(std::move(peer)),
      session_(std::move(info), *peer_, services, pool.now()) {}

template <typename Change>
void Stream::Post(Change change) {
  {
    base::MutexLock lock(mu_);
    change(events_);
    due_ = true;
    if (stepping_) return;
    stepping_ = true;
  }
  pool_.TakeSteps(*this);
}

template <typename Change>
void Stream::PostLater(Change change) {
  {
    base::MutexLock lock(mu_);
    change(events_);
    due_ = true;
    if (stepping_) return;
  }
  pool_.wakes_.Add(key_);
}

void Stream::OnMessage(std::string bytes) {
  Post([&](Events& events) { events.message = Message{std::move(bytes), pool_.now()}; });
}
void Stream::OnWritten() {
  Post([](Events& events) { events.written = true; });
}
void Stream::OnHalfClosed() {
  Post([](Events& events) { events.half_closed = true; });
}
void Stream::OnGone() {
  Post([](Events& events) { events.gone = true; });
}
void Stream::OnClosed() {
  Post([](Events& events) { events.closed = true; });
}

StreamPool::StreamPool(const Options& options, const Dependencies& dependencies, const log::Logger& log)
    : options_(options),
      clock_(dependencies.clock),
      metrics_(Metrics::Make(dependencies.registry)),
      log_(log, clock_),
      budget_(options.max_in_flight, metrics_.in_flight_bytes),
      let_in_(kCrowd, kCrowd),
      services_{.hub = options.hub,
                .version = options.version,
                .clusters = dependencies.clusters,
                .authenticator = dependencies.authenticator,
                .data = dependencies.data,
                .local = *this,
                .budget = budget_,
                .clock = clock_,
                .random = dependencies.random,
                .log = log_,
                .metrics = metrics_,
                .history = dependencies.history,
                .sources = dependencies.sources,
                .write_limit = options.write_limit},
      registry_(dependencies.registry),
      wakes_(clock_, {}, QueueMetrics(registry_, "ingest-streams")),
      admissions_(clock_, {}, QueueMetrics(registry_, "ingest-admission")),
      jobs_(clock_, {}, QueueMetrics(registry_, "ingest-store")),
      history_jobs_(clock_, {}, QueueMetrics(registry_, "ingest-history")) {
  if (registry_ != nullptr) {
    collector_ = registry_->AddCollector([this] {
      wakes_.Collect();
      admissions_.Collect();
      jobs_.Collect();
      history_jobs_.Collect();
    });
  }
}

StreamPool::~StreamPool() {
  if (registry_ != nullptr) registry_->RemoveCollector(collector_);
  Stop(milliseconds::zero());  // the workers' destructor waits for the rest
}

void StreamPool::Start() {
  workers_.Start(options_.store_workers, "ingest-store", [this] {
    base::LowerThreadPriority();
    Work(jobs_, &StreamPool::RunJob);
  });
  workers_.Start(options_.history_workers, "ingest-history", [this] {
    base::LowerThreadPriority();
    Work(history_jobs_, &StreamPool::RunJob);
  });
  workers_.Start(options_.admission_workers, "ingest-admission", [this] { Work(admissions_, &StreamPool::RunJob); });
  workers_.Start(options_.workers, "ingest-streams", [this] { Work(wakes_, &StreamPool::Wake); });
}

bool StreamPool::Stop(milliseconds limit) {
  {
    base::MutexLock lock(mu_);
    stopping_ = stopped_ = true;
    changed_.NotifyAll();
  }
  ended_ = true;
  wakes_.ShutDown();
  admissions_.ShutDown();
  jobs_.ShutDown();
  history_jobs_.ShutDown();
  return workers_.Join(limit);
}

absl::StatusOr<std::shared_ptr<Stream>> StreamPool::Accept(std::string address, std::string bearer,
                                                           std::shared_ptr<StreamPeer> peer) {
  std::shared_ptr<Stream> stream;
  {
    base::MutexLock lock(mu_);
    if (stopping_) return base::Unavailable("hub is stopping");
    if (streams_.size() >= options_.max_streams) return base::Unavailable("the hub has as many streams as it takes");
    if (unregistered_ >= options_.max_unregistered) return base::Unavailable("the hub is letting others in, try again");
    const std::uint64_t id = ++last_id_;
    stream = std::make_shared<Stream>(*this, Session::Info{id, std::move(address), std::move(bearer)}, std::move(peer),
                                      services_);
    streams_.emplace(id, stream);
    ++unregistered_;
  }
  stream->Post([](Events&) {});
  return stream;
}

void StreamPool::Recheck(const std::string& cluster) {
  std::shared_ptr<Stream> stream;
  {
    base::MutexLock lock(mu_);
    const auto holder = holders_.find(cluster);
    if (holder == holders_.end()) return;
    const auto at = streams_.find(holder->second.stream);
    if (at == streams_.end()) return;
    stream = at->second;
  }
  stream->PostLater([](Events& events) { events.recheck = true; });
}

bool StreamPool::EndStreams(milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  std::vector<std::shared_ptr<Stream>> streams;
  {
    base::MutexLock lock(mu_);
    stopping_ = true;
    for (const auto& [id, stream] : streams_) streams.push_back(stream);
  }
  for (const auto& stream : streams) stream->PostLater([](Events& events) { events.stopping = true; });
  streams.clear();
  base::MutexLock lock(mu_);
  while (!streams_.empty() && !stopped_) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= std::chrono::nanoseconds::zero()) return false;
    changed_.WaitFor(mu_, left);
  }
  return streams_.empty();
}

bool StreamPool::Has(const std::string& cluster, std::uint64_t epoch) const {
  base::MutexLock lock(mu_);
  const auto holder = holders_.find(cluster);
  return holder != holders_.end() && holder->second.epoch == epoch;
}

bool StreamPool::Claim(const std::string& cluster, std::uint64_t epoch, std::uint64_t stream, const std::string& who) {
  std::shared_ptr<Stream> before;
  {
    base::MutexLock lock(mu_);
    Holder& holder = holders_[cluster];
    if (holder.epoch > epoch) return false;
    if (const auto at = streams_.find(holder.stream); holder.stream != stream && at != streams_.end()) {
      before = at->second;
    }
    holder = {epoch, stream};
  }
  if (before != nullptr) before->PostLater([&](Events& events) { events.superseded = who; });
  return true;
}

void StreamPool::Release(const std::string& cluster, std::uint64_t stream) {
  base::MutexLock lock(mu_);
  const auto holder = holders_.find(cluster);
  if (holder != holders_.end() && holder->second.stream == stream) holders_.erase(holder);
}

std::size_t StreamPool::size() const {
  base::MutexLock lock(mu_);
  return streams_.size();
}

bool StreamPool::RunOnce() {
  for (const auto& [queue, pass] : {std::pair(&wakes_, &StreamPool::Wake),
                                    {&admissions_, &StreamPool::RunJob},
                                    {&jobs_, &StreamPool::RunJob},
                                    {&history_jobs_, &StreamPool::RunJob}}) {
    if (const auto key = queue->TryGet()) {
      Handle(*key, pass);
      queue->Done(*key);
      return true;
    }
  }
  return false;
}

void StreamPool::Work(runtime::WorkQueue& queue, Pass pass) {
  while (const auto key = queue.Get()) {
    if (!ended_) Handle(*key, pass);
    queue.Done(*key);
  }
}

void StreamPool::Handle(const kube::ObjectKey& key, Pass pass) {
  // Absent: over meanwhile.
  if (const std::shared_ptr<Stream> stream = Find(ToId(key))) (this->*pass)(*stream);
}

std::shared_ptr<Stream> StreamPool::Find(std::uint64_t id) const {
  base::MutexLock lock(mu_);
  const auto at = streams_.find(id);
  return at == streams_.end() ? nullptr : at->second;
}

void StreamPool::Wake(Stream& stream) {
  {
    base::MutexLock lock(stream.mu_);
    stream.due_ = stream.woken_ = true;
    if (stream.stepping_) return;
    stream.stepping_ = true;
  }
  TakeSteps(stream);
}

void StreamPool::TakeSteps(Stream& stream) {
  while (true) {
    Events events;
    {
      base::MutexLock lock(stream.mu_);
      if (!stream.due_ || ended_) {
        stream.stepping_ = false;
        return;
      }
      stream.due_ = false;
      if (std::exchange(stream.woken_, false)) stream.wake_at_ = base::SteadyTime::max();
      events = std::exchange(stream.events_, {});
    }
    Step(stream, std::move(events));
  }
}

void StreamPool::Step(Stream& stream, Events events) {
  const Now at = now();
  Session::Next next = stream.session_.Step(std::move(events), at);
  const bool is_let_in = stream.session_.kind() != Session::Kind::kUnregistered;
  if (is_let_in && !stream.registered_) {
    const double beyond = kCrowd * std::chrono::duration<double>(let_in_.Reserve(at.steady)).count();
    const auto wait = std::chrono::duration_cast<std::chrono::nanoseconds>(beyond * kWaitOfEach);
    if (wait > kCrowdWait) let_in_.Cancel();  // those who come after a large crowd do not wait because of it
    stream.first_job_at_ = at.steady + std::min<std::chrono::nanoseconds>(wait, kCrowdWait);
  }
  if (next.job) {
    {
      base::MutexLock lock(stream.mu_);
      stream.job_ = std::move(next.job);
    }
    if (is_let_in) {
      (next.is_history ? history_jobs_ : jobs_).AddAfter(stream.key_, stream.first_job_at_ - at.steady);
    } else {
      admissions_.Add(stream.key_);
    }
  }
  if (next.over || is_let_in != stream.registered_) {
    base::MutexLock lock(mu_);
    if (!std::exchange(stream.registered_, true)) --unregistered_;
    if (next.over) {
      streams_.erase(stream.id_);
      changed_.NotifyAll();
    }
  }
  // A wake that was asked for and came to be too early finds nothing to do; one for each time there ever was would be
  // more of them.
  if (!next.at || *next.at >= stream.wake_at_) return;
  stream.wake_at_ = *next.at;
  wakes_.AddAfter(stream.key_, std::max<std::chrono::nanoseconds>(*next.at - at.steady, milliseconds(1)));
}

void StreamPool::RunJob(Stream& stream) {
  Job job;
  {
    base::MutexLock lock(stream.mu_);
    job = std::exchange(stream.job_, nullptr);
  }
  if (!job) return;
  JobResult result;
  try {
    result = job();
  } catch (const std::exception& e) {
    result = JobFailed{e.what()};
  }
  job = nullptr;  // what it held is no longer needed
  stream.Post([&](Events& events) { events.result = std::move(result); });
}

}  // namespace clusterpulse::ingest
