// What an outage of ten minutes costs once it is over: 100 collectors (the real link, outbox and spool, in this
// process) come back over TLS to the real hub, with a real Redis and a real VictoriaMetrics, each with 20 batches of 50
// nodes on disk, and go on making states all the while.
//
//   ingest rate   batches a second that the hub takes when the same history parts of as many clusters are sent to it as
//                 fast as its credits let them through, by clients that do nothing else: encoded before, connected
//                 before (each has had a batch applied), no live states beside. From the first that is sent to the last
//                 that is applied.
//   drain         from the moment the collectors begin to connect until every batch of the outage is applied. Must be
//                 at most twice what the ingest rate would need.
//   live latency  of a state, from before it is handed to the outbox until Redis says that it, or a newer one, is
//                 there. Each collector makes one every 2 s, as early batches come; p99 during drains divided by p99 in
//                 normal running. The full state that each sends first when it is connected is measured apart, and
//                 compared to that of a reconnect without a backlog.
//
// Rounds of all that take turns. Load and hub share the machine. Any argument: the short run that only shows that it
// works.
#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "collector/link/grpc_transport.h"
#include "collector/link/history_part.h"
#include "collector/link/hub_link.h"
#include "collector/link/outbox.h"
#include "collector/link/spool_thread.h"
#include "collector/spool/posix_file_system.h"
#include "collector/spool/spool.h"
#include "common/base/random.h"
#include "common/wire/messages.h"
#include "tests/bench/bench_row.h"
#include "tests/bench/push_rig.h"
#include "tests/bench/redis_replay.h"
#include "tests/hub/ingest/raw_client.h"
#include "tests/support/victoria_metrics_server.h"

namespace clusterpulse::bench {
namespace {

using base::SteadyTime;
using base::SystemTime;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kNodes = 50, kLabels = 20;
constexpr seconds kInterval{30}, kBetweenStates{2}, kLimit{120};
constexpr milliseconds kPoll{2};

struct Size {
  int collectors = 100, batches = 20, rounds = 5;
  seconds normal{10};
};

double Millis(SteadyTime::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }
double Seconds(SteadyTime::duration d) { return std::chrono::duration<double>(d).count(); }
SteadyTime Now() { return base::SystemClock().Steady(); }

// What a collector with 50 nodes observes; numbers move with `turn`.
model::Batch Observe(const std::string& cluster, int turn, SystemTime at, bool full) {
  model::Batch batch;
  batch.cluster = cluster;
  batch.id = fmt::format("{}-{}", cluster, turn);
  batch.collected_at = at;
  batch.interval = kInterval;
  model::ClusterCounts counts;
  std::vector<model::Node>& nodes = batch.snapshot.nodes.emplace(kNodes);
  for (int i = 0; i < kNodes; ++i) {
    model::Node& node = nodes[static_cast<std::size_t>(i)];
    node.name = node.hostname = fmt::format("worker-{:02}.{}.example.com", i, cluster);
    node.status = model::NodeStatus::kReady;
    node.roles = {"worker"};
    node.cpu_capacity = 16;
    node.cpu_allocatable = 15.5;
    node.memory_capacity = 67'430'170'624;
    node.memory_allocatable = 66'353'446'912;
    node.pods_capacity = node.pods_allocatable = 250;
    node.pods.running = node.pods.total = 30 + (turn + i) % 50;
    node.pods.cpu_requested = 3.25 + 0.05 * ((turn * 7 + i) % 40);
    node.pods.memory_requested = 8'589'934'592 + 1'048'576LL * ((turn * 5 + i) % 900);
    node.cpu_usage_percent = 100 * node.pods.cpu_requested / node.cpu_allocatable;
    node.memory_usage_percent =
        100 * static_cast<double>(node.pods.memory_requested) / static_cast<double>(node.memory_allocatable);
    node.kernel_version = "6.1.0-18-amd64";
    node.os_image = "Debian GNU/Linux 12 (bookworm)";
    node.container_runtime = "containerd://1.7.2";
    node.kubelet_version = "v1.29.4";
    node.architecture = "amd64";
    node.internal_ip = fmt::format("10.0.{}.10", i);
    node.conditions = {{"Ready", "True", "KubeletReady", "kubelet is posting ready status", at}};
    model::LabelsBuilder labels;
    for (int l = 0; l < kLabels; ++l) {
      labels.Add(fmt::format("example.com/label-{:02}", l), fmt::format("value-{:04}-{:02}", i, l));
    }
    node.labels = labels.Build();
    counts.cpu_capacity += node.cpu_capacity;
    counts.memory_capacity += node.memory_capacity;
    counts.pods += node.pods.total;
    counts.pods_running += node.pods.running;
  }
  counts.nodes = counts.nodes_ready = kNodes;
  batch.snapshot.counts = counts;
  batch.snapshot.namespaces = {"default", "kube-node-lease", "kube-public", "kube-system"};
  if (full) batch.snapshot.info = model::ClusterInfo{.version = "v1.29.4", .platform = "linux/amd64"};
  return batch;
}

// The times of an outage that ends now.
SystemTime OutageTime(SystemTime now, int batch, int batches) { return now - (batches - batch) * kInterval; }

// A client that sends ready-made history as fast as credits allow. One use.
class Feeder {
 public:
  Feeder(const fleetload::FleetOptions& hub, const std::string& cluster, const std::string& token, int round,
         int batches)
      : client_({.target = hub.hub, .ca_pem = testing::ReadFile(hub.tls_ca)}) {
    model::Registration registration;
    registration.cluster = cluster;
    registration.token = token;
    registration.instance = fmt::format("feeder-{}-{}", cluster, round);
    registration.capabilities = {.delivery = true, .parts = true, .config_report = true};
    registration.interval = kInterval;
    if (!client_.Send(registration)) Fail("a feeder cannot register");
    const auto welcome = client_.Await<model::Welcome>();
    if (!welcome) Fail("a feeder is not let in: " + client_.Finish().ToString());
    credits_ = welcome->credits;
    const SystemTime now = base::SystemClock().Now();
    for (int i = 0; i <= batches; ++i) {
      model::Batch part = link::HistoryPart(Observe(cluster, i, OutageTime(now, i, batches + 1), false));
      part.seq = static_cast<std::uint64_t>(i) + 1;
      part.history_only = true;
      messages_.push_back(wire::Encode(part));
    }
  }

  // Until the first is applied: what a hub puts off when many come at once is over.
  void Begin() { Feed(1); }
  // Until the last is.
  void Run() { Feed(messages_.size()); }
  void End() {
    client_.HalfClose();
    (void)client_.Finish();
  }

 private:
  void Feed(std::size_t until) {
    while (applied_ < until) {
      while (sent_ < until && sent_ - applied_ < credits_.batches &&
             sent_bytes_ + messages_[sent_].size() - applied_bytes_ <= credits_.bytes) {
        sent_bytes_ += messages_[sent_].size();
        if (!client_.Send(messages_[sent_++], kLimit)) Fail("a feeder's stream ended: " + client_.Finish().ToString());
      }
      const auto ack = client_.Await<model::DeliveryAck>(kLimit);
      if (!ack) Fail("a feeder's batches are not applied: " + client_.Finish().ToString());
      if (ack->credits) credits_ = *ack->credits;
      if (!ack->rejected.empty()) Fail("a feeder's batch was rejected: " + ack->rejected.front().reason);
      for (const model::SeqRange& range : ack->applied) {
        for (std::uint64_t seq = range.first; seq <= range.last; ++seq) {
          ++applied_;
          applied_bytes_ += messages_[seq - 1].size();
        }
      }
    }
  }

  testing::RawClient client_;
  model::Credits credits_;
  std::vector<std::string> messages_;
  std::size_t sent_ = 0, applied_ = 0, sent_bytes_ = 0, applied_bytes_ = 0;
};

double IngestRate(const PushRig& rig, const std::vector<std::pair<std::string, std::string>>& clusters, int round,
                  const Size& size) {
  std::vector<std::unique_ptr<Feeder>> feeders;
  for (const auto& [cluster, token] : clusters) {
    feeders.push_back(std::make_unique<Feeder>(rig.FleetOptions(), cluster, token, round, size.batches));
  }
  for (const auto& feeder : feeders) feeder->Begin();
  std::mutex mu;
  std::string failure;
  std::vector<std::thread> threads;
  const SteadyTime begin = Now();
  for (const auto& feeder : feeders) {
    threads.emplace_back([&] {
      try {
        feeder->Run();
      } catch (const Failure& f) {
        const std::lock_guard lock(mu);
        failure = f.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double time = Seconds(Now() - begin);
  if (!failure.empty()) Fail(failure, rig.File("hub.log"));
  for (const auto& feeder : feeders) feeder->End();
  return size.collectors * size.batches / time;
}

// One collector without a cluster to watch: its spool, outbox, link and threads are the real ones.
class Collector {
 public:
  Collector(const PushRig& rig, std::string cluster, std::string token, std::function<void()> on_full)
      : rig_(rig), cluster_(std::move(cluster)), token_(std::move(token)), on_full_(std::move(on_full)) {
    Open();
  }
  ~Collector() {
    Disconnect();
    disk_->Stop();
  }

  const std::string& cluster() const { return cluster_; }

  void Connect() {
    const fleetload::FleetOptions hub = rig_.FleetOptions();
    link::LinkOptions options;
    options.address = hub.hub;
    options.cluster = cluster_;
    options.token = [this] { return token_; };
    options.version = "bench";
    options.tls = true;
    options.tls_ca = hub.tls_ca;
    options.proxy = {};
    auto transport = link::MakeGrpcTransport(options);
    auto made = std::make_unique<link::HubLink>(
        std::move(options),
        link::LinkCallbacks{.on_full_batch =
                                [this] {
                                  wants_full_ = true;
                                  on_full_();
                                },
                            .on_config = [](const model::CollectorConfig&) { return std::vector<std::string>(); },
                            .heartbeat = [] { return model::Heartbeat{.interval = kInterval}; }},
        *outbox_, std::move(transport), base::SystemClock(), base::SystemRandom());
    const std::lock_guard lock(mu_);
    link_ = std::move(made);
    link_->Start();
  }
  // As the end of a process, after which the next one goes on with the spool: a link that has been stopped, and its
  // outbox, have no second life. REQUIRES: everything is durable.
  void Disconnect() {
    std::unique_ptr<link::HubLink> link;
    {
      const std::lock_guard lock(mu_);
      link = std::move(link_);
    }
    if (link != nullptr) link->Stop(seconds(10));
    link.reset();
    disk_->Stop();
    outbox_.reset();
    wants_full_ = false;
    Open();
  }

  // For one thread at a time. Returns its number.
  std::uint64_t Add(SystemTime at, bool full) {
    const std::uint64_t seq = outbox_->Add(Observe(cluster_, turn_++, at, full), full);
    Wake();
    return seq;
  }
  bool TakeWantsFull() { return wants_full_.exchange(false); }
  // What was made and is not applied yet.
  std::uint64_t outstanding() const {
    const link::Outbox::Stats stats = outbox_->stats();
    return stats.last_seq - std::min(stats.last_seq, applied_before_ + stats.applied);
  }
  link::Outbox::Stats stats() const { return outbox_->stats(); }

 private:
  void Open() {
    link::Outbox::Options options;
    options.open_spool = [this] {
      return spool::Spool::Open({.dir = dir_.File("spool")}, spool::PosixFileSystem(), base::SystemClock(),
                                base::SystemRandom(), {});
    };
    options.on_disk_work = [this] {
      if (disk_) disk_->Wake();
    };
    disk_.emplace([this] {
      outbox_->WorkOnDisk();
      Wake();
    });
    outbox_.emplace(std::move(options), cluster_, base::SystemClock());
    disk_->Start();
    applied_before_ = outbox_->stats().last_seq;
  }
  void Wake() {
    const std::lock_guard lock(mu_);
    if (link_ != nullptr) link_->BatchAdded();
  }

  const PushRig& rig_;
  const testing::TempDir dir_;
  const std::string cluster_, token_;
  const std::function<void()> on_full_;
  std::atomic<bool> wants_full_ = false;
  int turn_ = 0;
  std::optional<link::SpoolThread> disk_;
  std::optional<link::Outbox> outbox_;
  std::uint64_t applied_before_ = 0;  // it was opened
  std::mutex mu_;
  std::unique_ptr<link::HubLink> link_;
};

// A state on its way.
struct State {
  std::string cluster;
  std::uint64_t seq = 0;
  SteadyTime made{};
  bool is_first = false;  // after a connect
};

// Makes states, and sees when they are there. Everything else is for the thread that made it.
class Fleet {
 public:
  Fleet(const PushRig& rig, RedisPipe& redis, const std::vector<std::pair<std::string, std::string>>& clusters)
      : redis_(redis), log_(rig.File("hub.log")) {
    for (const auto& [cluster, token] : clusters) {
      collectors_.push_back(std::make_unique<Collector>(rig, cluster, token, [this] { changed_.notify_all(); }));
    }
    const std::size_t threads = std::min<std::size_t>(kThreads, collectors_.size());
    for (std::size_t t = 0; t < threads; ++t) {
      threads_.emplace_back([this, t, threads](std::stop_token stop) { Make(stop, t, threads); });
    }
  }
  ~Fleet() {
    for (std::jthread& thread : threads_) thread.request_stop();
    changed_.notify_all();
    threads_.clear();
  }

  // From now on each makes states, from its first one on.
  void Connect() {
    {
      const std::lock_guard lock(mu_);
      live_from_ = Now();
      was_first_.assign(collectors_.size(), false);
    }
    for (const auto& collector : collectors_) collector->Connect();
  }
  // Nothing new is made; what is there becomes durable, so that the next stream has nothing to send again.
  void Settle() {
    {
      std::unique_lock lock(mu_);
      live_from_ = SteadyTime::max();
      changed_.wait(lock, [this] { return making_ == 0; });
      made_.clear();
    }
    if (!testing::Eventually(kLimit, [&] { return IsSafe(); })) Fail("not everything becomes durable");
  }
  void Disconnect() {
    for (const auto& collector : collectors_) collector->Disconnect();
  }
  // While there is no connection.
  void Outage(int batches) {
    const SystemTime now = base::SystemClock().Now();
    for (int i = 0; i < batches; ++i) {
      for (const auto& collector : collectors_) collector->Add(OutageTime(now, i, batches), false);
    }
  }

  // Latencies in ms of states that came until `is_over`, of others and of the first after a connect. Waits for those
  // that were made before.
  struct Latencies {
    std::vector<double> states, firsts;
  };
  Latencies Watch(const std::function<bool()>& is_over) {
    Latencies out;
    std::vector<State> pending;
    const SteadyTime begin = Now();
    bool over = false;
    while (true) {
      {
        const std::lock_guard lock(mu_);
        for (State& state : made_) {
          if (!over) pending.push_back(std::move(state));
        }
        made_.clear();
      }
      TakeVisible(pending, out);
      over = over || is_over();
      if (over && pending.empty()) return out;
      if (Now() - begin > kLimit) {
        const link::Outbox::Stats stats = collectors_.front()->stats();
        Fail(fmt::format("{} states do not come through; of {}, {} were made, {} applied, {} are kept", pending.size(),
                         collectors_.front()->cluster(), stats.last_seq, stats.applied, stats.batches),
             log_);
      }
      std::this_thread::sleep_for(kPoll);
    }
  }
  // Every collector had a moment, since it was connected, when all it had made was applied. Goes on where the last call
  // has stopped: `drained` collectors.
  bool IsDrained(std::size_t& drained) {
    for (; drained < collectors_.size(); ++drained) {
      {
        const std::lock_guard lock(mu_);
        if (!was_first_[drained]) return false;
      }
      if (collectors_[drained]->outstanding() > 0) return false;
    }
    return true;
  }
  std::uint64_t made_of_first() const { return collectors_.front()->stats().last_seq; }

 private:
  static constexpr std::size_t kThreads = 8;

  // Everything is durable, and nothing was lost.
  bool IsSafe() const {
    return std::all_of(collectors_.begin(), collectors_.end(), [](const auto& collector) {
      const link::Outbox::Stats stats = collector->stats();
      if (stats.lost + stats.rejected > 0) Fail("batches were lost");
      return stats.durable_low == stats.last_seq;
    });
  }

  // The states of every `step`th collector from `first` on: full ones at once, others by the clock.
  void Make(std::stop_token stop, std::size_t first, std::size_t step) {
    std::vector<SteadyTime> last(collectors_.size());
    std::unique_lock lock(mu_);
    while (!stop.stop_requested()) {
      bool made = false;
      for (std::size_t i = first; i < collectors_.size() && live_from_ != SteadyTime::max(); i += step) {
        Collector& collector = *collectors_[i];
        const bool is_first = collector.TakeWantsFull();
        if (!is_first) {
          // One after the other; those that come before the first one are left out.
          SteadyTime due = last[i] + kBetweenStates;
          if (last[i] < live_from_) due = live_from_ + kBetweenStates * i / collectors_.size();
          if (Now() < due) continue;
          last[i] = due;
          if (!was_first_[i]) continue;
        }
        ++making_;
        lock.unlock();
        State state{.cluster = collector.cluster(), .made = Now(), .is_first = is_first};
        state.seq = collector.Add(base::SystemClock().Now(), is_first);
        lock.lock();
        made_.push_back(std::move(state));
        if (is_first) was_first_[i] = true;
        if (--making_ == 0) changed_.notify_all();
        made = true;
      }
      if (!made) changed_.wait_for(lock, milliseconds(2));
    }
  }

  // Moves what is visible now from `pending` to `out`.
  void TakeVisible(std::vector<State>& pending, Latencies& out) {
    if (pending.empty()) return;
    std::string commands;
    for (const State& state : pending) {
      store::Command(commands, 3).Arg("HGET").Arg("cluster:" + state.cluster + ":writer").Arg("state_seq");
    }
    const std::vector<store::Reply> replies = redis_.Execute(commands, pending.size());
    const SteadyTime now = Now();
    std::vector<State> left;
    for (std::size_t i = 0; i < pending.size(); ++i) {
      if (std::strtoull(replies[i].text.c_str(), nullptr, 10) >= pending[i].seq) {
        (pending[i].is_first ? out.firsts : out.states).push_back(Millis(now - pending[i].made));
      } else {
        left.push_back(std::move(pending[i]));
      }
    }
    pending = std::move(left);
  }

  RedisPipe& redis_;
  const std::string log_;  // of the hub
  std::vector<std::unique_ptr<Collector>> collectors_;

  std::mutex mu_;
  std::condition_variable changed_;
  SteadyTime live_from_ = SteadyTime::max();  // max(): no states are made
  std::vector<bool> was_first_;               // made its first state since
  int making_ = 0;                            // states that are being made
  std::vector<State> made_;                   // since the last look

  std::vector<std::jthread> threads_;
};

void Append(std::vector<double>& to, const std::vector<double>& from) { to.insert(to.end(), from.begin(), from.end()); }

std::string Describe(const std::vector<double>& busy, const std::vector<double>& normal) {
  return fmt::format("ratio {:.2f} (p99 {:.0f} ms of {}, median {:.0f} / p99 {:.0f} ms of {}, median {:.0f})",
                     Percentile(busy, 0.99) / Percentile(normal, 0.99), Percentile(busy, 0.99), busy.size(),
                     Median(busy), Percentile(normal, 0.99), normal.size(), Median(normal));
}

int Run(const Size& size, bool is_smoke) {
  const auto vm = testing::VictoriaMetricsServer::Start();
  if (vm == nullptr) return 77;
  const auto rig = PushRig::Start({.clusters = 2 * size.collectors,
                                   .interval = kInterval,
                                   .redis_config = {"appendonly yes", "appendfsync everysec"},
                                   .hub_env = {{"VM_ENABLED", "true"}, {"VM_ENDPOINT", vm->url()}}});
  if (rig == nullptr) return 77;
  std::vector<std::pair<std::string, std::string>> pushed, fed;
  for (const auto& cluster : rig->tokens()) {
    (pushed.size() < static_cast<std::size_t>(size.collectors) ? pushed : fed).push_back(cluster);
  }
  RedisPipe redis(rig->redis());
  Fleet fleet(*rig, redis, pushed);
  const auto reconnect = [&](Fleet::Latencies& latencies) {
    const SteadyTime begin = Now();
    SteadyTime end{};
    std::size_t drained = 0;
    fleet.Connect();
    latencies = fleet.Watch([&] {
      if (fleet.IsDrained(drained) && end == SteadyTime{}) end = Now();
      return end != SteadyTime{};
    });
    return Seconds(end - begin);
  };

  std::vector<double> normal, busy, first_alone, first_busy, rates, drains, ratios;
  const double backlog = size.collectors * size.batches;
  for (int round = 0; round <= size.rounds; ++round) {
    const bool counts = round > 0 || is_smoke;  // the first warms up: series, keys, connections
    const double rate = IngestRate(*rig, fed, round, size);
    Fleet::Latencies alone, drain;
    const double empty = reconnect(alone);
    const SteadyTime from = Now();
    const Fleet::Latencies running = fleet.Watch([&] { return Now() - from >= size.normal; });
    fleet.Settle();
    fleet.Disconnect();
    fleet.Outage(size.batches);
    const double time = reconnect(drain);
    fleet.Settle();
    fleet.Disconnect();
    fmt::print(
        "round {}: {:.0f} batches/s; reconnect {:.2f} s; with a backlog {:.2f} s; p99 {:.0f} ms, draining {:.0f}\n",
        round, rate, empty, time, Percentile(running.states, 0.99), Percentile(drain.states, 0.99));
    std::fflush(stdout);
    if (!counts) continue;
    Append(normal, running.states);
    Append(busy, drain.states);
    Append(first_alone, alone.firsts);
    Append(first_busy, drain.firsts);
    rates.push_back(rate);
    drains.push_back(time);
    ratios.push_back(time * rate / backlog);
  }
  vm->Flush();
  const std::string first = fmt::format("clusterpulse_cluster_nodes_total{{cluster=\"{}\"}}", pushed.front().first);
  if (vm->CountSamples(first) != fleet.made_of_first()) Fail("samples are missing");

  PrintRow(
      fmt::format("drain of a 10-minute outage, {} collectors x {} batches of {} nodes: time / (backlog / ingest rate)",
                  size.collectors, size.batches, kNodes),
      fmt::format("ratio {:.2f} ({:.2f} s at {:.0f} batches/s)", Median(ratios), Median(drains), Median(rates)), "<= 2",
      "1.25");
  PrintRow("the same: p99 until a state is in Redis / in normal running", Describe(busy, normal), "<= 5", "2");
  PrintRow("the same: first states of a reconnect / without a backlog", Describe(first_busy, first_alone), "report",
           "-");
  const bool is_met = Median(ratios) <= 2 && Percentile(busy, 0.99) <= 5 * Percentile(normal, 0.99);
  rig->StopHub();
  return is_smoke || is_met ? 0 : 1;
}

}  // namespace
}  // namespace clusterpulse::bench

int main(int argc, char** /*argv*/) {
  using namespace clusterpulse::bench;
  const bool is_smoke = argc > 1;
  const Size size =
      is_smoke ? Size{.collectors = 2, .batches = 3, .rounds = 0, .normal = std::chrono::seconds(1)} : Size();
  return RunBenchmark([&] { return Run(size, is_smoke); });
}
