#include "tests/fleetload/sim_collector.h"

#include <deque>
#include <limits>
#include <utility>
#include <variant>

#include <fmt/format.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include "common/wire/grpc_bytes.h"

namespace clusterpulse::fleetload {

Counts& Counts::operator+=(const Counts& more) {
  connects += more.connects;
  welcomes += more.welcomes;
  ended += more.ended;
  batches_made += more.batches_made;
  batches_sent += more.batches_sent;
  bytes_sent += more.bytes_sent;
  applied += more.applied;
  durable += more.durable;
  rejected += more.rejected;
  replays += more.replays;
  upstream_acks += more.upstream_acks;
  upstream_failures += more.upstream_failures;
  violations += more.violations;
  return *this;
}

// One call. Keeps itself alive until gRPC is done with it; its owner drops it before.
class SimCollector::Stream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                                   public std::enable_shared_from_this<SimCollector::Stream> {
 public:
  Stream(std::weak_ptr<SimCollector> owner, std::shared_ptr<grpc::Channel> channel)
      : owner_(std::move(owner)), stub_(std::move(channel)) {}

  void Start(const std::string& token) {
    self_ = shared_from_this();
    context_.AddMetadata("authorization", "Bearer " + token);
    stub_.PrepareBidiStreamingCall(&context_, std::string(wire::kConnectMethod), grpc::StubOptions(), this);
    AddHold();  // for writes from other threads
    StartRead(&incoming_);
    StartCall();
  }

  void Write(std::string bytes) {
    base::MutexLock lock(mu_);
    if (released_) return;
    queue_.push_back(std::move(bytes));
    WriteNextLocked();
  }

  void Cancel() {
    context_.TryCancel();
    Release();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Release();
      return;
    }
    if (const auto owner = owner_.lock()) owner->OnMessage(shared_from_this(), wire::ToBytes(incoming_));
    incoming_.Clear();
    StartRead(&incoming_);
  }
  void OnWriteDone(bool ok) override {
    base::MutexLock lock(mu_);
    writing_ = false;
    if (ok && !released_) WriteNextLocked();
  }
  void OnDone(const grpc::Status& status) override {
    if (const auto owner = owner_.lock()) {
      owner->OnEnd(this, fmt::format("{} {}", static_cast<int>(status.error_code()), status.error_message()));
    }
    const auto last = std::move(self_);  // may end this
  }

 private:
  void WriteNextLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (writing_ || queue_.empty()) return;
    outgoing_ = wire::ToBuffer(queue_.front());
    queue_.pop_front();
    writing_ = true;
    StartWrite(&outgoing_);
  }
  void Release() {
    {
      base::MutexLock lock(mu_);
      if (std::exchange(released_, true)) return;
    }
    RemoveHold();
  }

  const std::weak_ptr<SimCollector> owner_;
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::ByteBuffer incoming_;  // confined to reads
  std::shared_ptr<Stream> self_;

  base::Mutex mu_;
  std::deque<std::string> queue_ ABSL_GUARDED_BY(mu_);
  grpc::ByteBuffer outgoing_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool released_ ABSL_GUARDED_BY(mu_) = false;
};

SimCollector::SimCollector(Options options) : options_(std::move(options)) {}

SimCollector::~SimCollector() { Drop(); }

model::Batch SimCollector::BatchOf(std::uint64_t seq) const {
  model::Batch batch;
  batch.cluster = options_.cluster;
  batch.id = fmt::format("{}-{}", options_.instance, seq);
  batch.seq = options_.upstream ? 0 : seq;
  batch.collected_at = std::chrono::system_clock::now();
  batch.interval = options_.interval;
  auto& nodes = batch.snapshot.nodes.emplace(static_cast<std::size_t>(options_.nodes));
  model::ClusterCounts counts;
  for (int i = 0; i < options_.nodes; ++i) {
    model::Node& node = nodes[static_cast<std::size_t>(i)];
    node.name = fmt::format("node-{:04}", i);
    node.status = model::NodeStatus::kReady;
    node.roles = {"worker"};
    node.cpu_capacity = 16;
    node.cpu_allocatable = 15.5;
    node.memory_capacity = 64LL << 30;
    node.memory_allocatable = 60LL << 30;
    node.pods_capacity = node.pods_allocatable = 250;
    node.pods.running = static_cast<int>((seq + static_cast<std::uint64_t>(i)) % 100);
    node.pods.total = node.pods.running;
    node.pods.cpu_requested = 0.25 * node.pods.running;
    node.cpu_usage_percent = 100 * node.pods.cpu_requested / node.cpu_allocatable;
    node.kernel_version = "6.1.0-18-amd64";
    node.os_image = "Debian GNU/Linux 12 (bookworm)";
    node.container_runtime = "containerd://1.7.2";
    node.kubelet_version = "v1.29.4";
    node.architecture = "amd64";
    node.internal_ip = fmt::format("10.{}.{}.{}", i / 250, i % 250, 10);
    node.hostname = node.name;
    node.conditions = {{"Ready", "True", "KubeletReady", "kubelet is posting ready status", batch.collected_at}};
    model::LabelsBuilder labels;
    for (int l = 0; l < options_.labels; ++l) {
      labels.Add(fmt::format("example.com/label-{:02}", l), fmt::format("value-{:04}-{:02}", i, l));
    }
    node.labels = labels.Build();
    counts.cpu_capacity += node.cpu_capacity;
    counts.memory_capacity += node.memory_capacity;
    counts.pods += node.pods.total;
    counts.pods_running += node.pods.running;
  }
  counts.nodes = counts.nodes_ready = options_.nodes;
  counts.deployments = 40;
  batch.snapshot.counts = counts;
  batch.snapshot.namespaces = {"default", "kube-node-lease", "kube-public", "kube-system"};
  if (seq == 1) batch.snapshot.info = model::ClusterInfo{.version = "v1.29.4", .platform = "linux/amd64"};
  return batch;
}

void SimCollector::Connect() {
  std::shared_ptr<Stream> stream;
  model::Registration registration;
  {
    base::MutexLock lock(mu_);
    if (stream_ != nullptr) return;
    stream = stream_ = std::make_shared<Stream>(weak_from_this(), options_.channel());
    ++counts_.connects;
    welcomed_ = options_.upstream;
    live_ = false;
    credits_ = {};
    sent_ = {};
    answered_ = {};
    sizes_.clear();
    in_flight_ = upstream_pending_ = 0;
    in_flight_bytes_ = 0;
    connected_at_ = std::chrono::steady_clock::now();
    time_to_live_.reset();
    registration.cluster = options_.cluster;
    registration.token = options_.token;
    registration.version = options_.upstream ? "v1.0.0" : "fleetload";
    if (!options_.upstream) {
      registration.instance = options_.instance;
      registration.durable_low = durable_.position().low;
      if (registration.durable_low < last_seq_) registration.held = {registration.durable_low + 1, last_seq_};
      registration.capabilities = {.delivery = true, .parts = true, .config_report = true};
      registration.interval = options_.interval;
    }
  }
  stream->Start(options_.token);
  stream->Write(wire::Encode(registration));
  if (options_.upstream) MakeBatch();
}

void SimCollector::Drop() {
  std::shared_ptr<Stream> stream;
  {
    base::MutexLock lock(mu_);
    stream.swap(stream_);
    live_ = false;
  }
  if (stream != nullptr) stream->Cancel();
}

void SimCollector::MakeBatch() {
  base::MutexLock lock(mu_);
  ++last_seq_;
  ++counts_.batches_made;
  SendMore();
}

void SimCollector::MakeBadBatch() {
  base::MutexLock lock(mu_);
  ++last_seq_;
  ++counts_.batches_made;
  bad_.Add(last_seq_);
  SendMore();
}

void SimCollector::Heartbeat() {
  base::MutexLock lock(mu_);
  if (stream_ == nullptr || !welcomed_) return;
  model::Heartbeat beat;
  beat.cluster = options_.cluster;
  beat.sent_at = std::chrono::system_clock::now();
  beat.last_seq = options_.upstream ? 0 : last_seq_;
  stream_->Write(wire::Encode(beat));
}

void SimCollector::Prepare() {
  base::MutexLock lock(mu_);
  prepared_seq_ = last_seq_ + 1;
  prepared_ = Encode(prepared_seq_, false);
}

std::string SimCollector::Encode(std::uint64_t seq, bool history) const {
  model::Batch batch = BatchOf(seq);
  batch.history_only = history;
  if (bad_.Contains(seq)) batch.snapshot.nodes->front().cpu_capacity = std::numeric_limits<double>::quiet_NaN();
  return wire::Encode(batch);
}

void SimCollector::SendBatch(std::uint64_t seq, bool history) {
  const bool is_prepared = !history && seq == std::exchange(prepared_seq_, 0) && !bad_.Contains(seq);
  std::string bytes = is_prepared ? std::move(prepared_) : Encode(seq, history);
  prepared_ = {};
  ++counts_.batches_sent;
  counts_.bytes_sent += bytes.size();
  ever_sent_.Add(seq);
  if (options_.upstream) {
    ++upstream_pending_;
  } else {
    sent_.Add(seq);
    ++in_flight_;
    in_flight_bytes_ += bytes.size();
    sizes_[seq] = bytes.size();
  }
  stream_->Write(std::move(bytes));
}

void SimCollector::SendMore() {
  if (stream_ == nullptr || !welcomed_ || last_seq_ == 0) return;
  if (options_.upstream) {
    if (!ever_sent_.Contains(last_seq_)) SendBatch(last_seq_, false);
    return;
  }
  const auto wanted = [&](std::uint64_t seq) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return !sent_.Contains(seq) && !durable_.Contains(seq) && !rejected_.Contains(seq);
  };
  // One live batch is always allowed.
  if (wanted(last_seq_)) SendBatch(last_seq_, false);
  for (std::uint64_t seq = durable_.position().low + 1; seq < last_seq_; ++seq) {
    if (in_flight_ >= credits_.batches || in_flight_bytes_ >= credits_.bytes) return;
    if (wanted(seq)) SendBatch(seq, true);
  }
}

void SimCollector::OnMessage(const std::shared_ptr<Stream>& from, const std::string& bytes) {
  const auto message = wire::DecodeFromHub(bytes);
  base::MutexLock lock(mu_);
  if (from != stream_) return;
  if (!message.ok()) return Violation("a message that cannot be read: " + std::string(message.status().message()));
  if (const auto* welcome = std::get_if<model::Welcome>(&*message)) {
    if (options_.upstream) return Violation("an upstream collector got a Welcome");
    if (welcomed_) return Violation("a second Welcome");
    welcomed_ = true;
    ++counts_.welcomes;
    credits_ = welcome->credits;
    OnConfig(welcome->config);
    const model::SeqSet known(welcome->durable);
    for (const model::SeqRange& range : known.Ranges()) {
      if (range.last > last_seq_) Violation(fmt::format("durable up to {}, made {}", range.last, last_seq_));
      durable_.Add(range);
    }
    ++last_seq_;  // a full batch at once
    ++counts_.batches_made;
    SendMore();
  } else if (const auto* ack = std::get_if<model::DeliveryAck>(&*message)) {
    OnAck(*ack);
    SendMore();
  } else if (const auto* replay = std::get_if<model::Replay>(&*message)) {
    ++counts_.replays;
    if (replay->instance != options_.instance) return Violation("a replay of another instance");
    for (std::uint64_t seq = replay->range.first; seq <= std::min(replay->range.last, last_seq_); ++seq) {
      if (!durable_.Contains(seq)) SendBatch(seq, true);
    }
  } else if (const auto* config = std::get_if<model::CollectorConfig>(&*message)) {
    OnConfig(*config);
  } else if (const auto* upstream = std::get_if<model::UpstreamAck>(&*message)) {
    if (!options_.upstream) return Violation("an upstream Ack beside deliveries");
    if (upstream_pending_ == 0) return Violation("an Ack too many");
    --upstream_pending_;
    ++(upstream->success ? counts_.upstream_acks : counts_.upstream_failures);
    if (!live_) time_to_live_ = std::chrono::steady_clock::now() - connected_at_;
    live_ = true;
  }
}

void SimCollector::OnConfig(const model::CollectorConfig& config) {
  configured_ = {config.metric_sources.size(), std::chrono::steady_clock::now()};
  if (!options_.upstream) stream_->Write(wire::Encode(model::ConfigReport{config.hash, {}}));
}

SimCollector::Configured SimCollector::configured() const {
  base::MutexLock lock(mu_);
  return configured_;
}

void SimCollector::OnAck(const model::DeliveryAck& ack) {
  if (ack.credits.has_value()) credits_ = *ack.credits;
  const auto answered = [&](std::uint64_t seq) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (const auto it = sizes_.find(seq); it != sizes_.end()) {
      --in_flight_;
      in_flight_bytes_ -= it->second;
      sizes_.erase(it);
    }
    answered_.Add(seq);
  };
  for (const model::SeqRange& range : ack.applied) {
    for (std::uint64_t seq = range.first; seq <= range.last; ++seq) {
      if (!sent_.Contains(seq)) return Violation(fmt::format("{} applied, but not sent on this stream", seq));
      if (bad_.Contains(seq)) Violation(fmt::format("{} applied, though it is malformed", seq));
      ++counts_.applied;
      answered(seq);
    }
    if (!live_) time_to_live_ = std::chrono::steady_clock::now() - connected_at_;
    live_ = true;
  }
  for (const model::Rejection& rejection : ack.rejected) {
    if (!bad_.Contains(rejection.seq)) {
      Violation(fmt::format("{} rejected: {}", rejection.seq, rejection.reason));
    }
    ++counts_.rejected;
    rejected_.Add(rejection.seq);
    answered(rejection.seq);
  }
  const model::SeqSet durable(ack.durable);
  if (durable.position().low < durable_.position().low) Violation("the durable position went back");
  for (const model::SeqRange& range : durable.Ranges()) {
    for (std::uint64_t seq = std::max(range.first, durable_.position().low + 1); seq <= range.last; ++seq) {
      if (durable_.Contains(seq)) continue;
      if (!ever_sent_.Contains(seq)) return Violation(fmt::format("{} durable, but never sent", seq));
      if (!bad_.Contains(seq)) ++counts_.durable;
      durable_.Add(seq);
    }
  }
}

void SimCollector::OnEnd(Stream* stream, const std::string& why) {
  base::MutexLock lock(mu_);
  ++counts_.ended;
  last_end_ = why;
  if (stream_.get() == stream) {
    stream_.reset();
    live_ = false;
  }
}

void SimCollector::Violation(const std::string& what) {
  ++counts_.violations;
  options_.report(fmt::format("{}: {}", options_.cluster, what));
}

bool SimCollector::connected() const {
  base::MutexLock lock(mu_);
  return stream_ != nullptr;
}

bool SimCollector::is_welcomed() const {
  base::MutexLock lock(mu_);
  return stream_ != nullptr && welcomed_;
}

bool SimCollector::is_live() const {
  base::MutexLock lock(mu_);
  return live_;
}

bool SimCollector::is_settled() const {
  base::MutexLock lock(mu_);
  if (options_.upstream) return upstream_pending_ == 0;
  for (std::uint64_t seq = durable_.position().low + 1; seq <= last_seq_; ++seq) {
    if (!durable_.Contains(seq) && !rejected_.Contains(seq)) return false;
  }
  return true;
}

std::string SimCollector::last_end() const {
  base::MutexLock lock(mu_);
  return last_end_;
}

Counts SimCollector::counts() const {
  base::MutexLock lock(mu_);
  return counts_;
}

std::optional<std::chrono::nanoseconds> SimCollector::time_to_live() const {
  base::MutexLock lock(mu_);
  return time_to_live_;
}

}  // namespace clusterpulse::fleetload
