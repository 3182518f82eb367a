// Many sessions on the real workers.
#include "hub/ingest/stream_pool.h"

#include <atomic>
#include <thread>

#include <catch2/catch.hpp>

#include "common/base/thread.h"
#include "common/wire/messages.h"
#include "hub/ingest/testing/fakes.h"
#include "tests/hub/ingest/harness.h"

namespace clusterpulse::ingest {
namespace {

using namespace std::chrono_literals;

// A collector that answers at once: takes every message, and sends its next whenever the hub reads and credits allow.
class Collector final : public StreamPeer {
 public:
  Collector(std::string cluster, std::string instance, std::uint64_t batches)
      : cluster_(std::move(cluster)), instance_(std::move(instance)), batches_(batches) {}

  void Connect(StreamPool& pool, const std::shared_ptr<Collector>& self) {
    auto accepted = pool.Accept("10.0.0.1:1", "", self);
    if (!accepted.ok()) return;
    base::MutexLock lock(mu_);
    stream_ = *accepted;
    changed_.NotifyAll();
  }

  void ReadNext() override {
    base::MutexLock lock(mu_);
    reading_ = true;
    changed_.NotifyAll();
  }
  void Send(std::string bytes) override {
    const auto message = wire::DecodeFromHub(bytes);
    base::MutexLock lock(mu_);
    written_ = true;
    if (message.ok()) {
      if (const auto* ack = std::get_if<model::DeliveryAck>(&*message)) {
        for (const model::SeqRange& range : ack->applied) told_ += range.last - range.first + 1;
        durable_ = ack->durable.low;
      }
      welcome_ |= std::holds_alternative<model::Welcome>(*message);
    }
    changed_.NotifyAll();
  }
  void Finish(const absl::Status& status) override {
    base::MutexLock lock(mu_);
    finished_ = status;
    changed_.NotifyAll();
  }
  void Abort() override {}

  // Acts until all batches are durable, the hub ended the stream, or the time is over.
  void Run(std::chrono::steady_clock::time_point deadline) {
    while (std::chrono::steady_clock::now() < deadline) {
      // Not under the lock: the session answers from within.
      const std::function<void(Stream&)> act = Next();
      if (act == nullptr) return;
      std::shared_ptr<Stream> stream;
      {
        base::MutexLock lock(mu_);
        stream = stream_;
      }
      if (stream != nullptr) act(*stream);
    }
  }

  // A hub that ended the stream after Run.
  bool CloseIfFinished() {
    std::shared_ptr<Stream> stream;
    {
      base::MutexLock lock(mu_);
      if (!finished_) return false;
      stream = stream_;
    }
    if (stream != nullptr) stream->OnClosed();
    return true;
  }
  // The stream holds this as its peer: without it neither would go.
  void Leave() {
    base::MutexLock lock(mu_);
    stream_.reset();
  }
  bool done() const {
    base::MutexLock lock(mu_);
    return sent_ == batches_ && durable_ >= sent_;
  }
  std::uint64_t sent() const {
    base::MutexLock lock(mu_);
    return sent_;
  }
  std::optional<absl::Status> finished() const {
    base::MutexLock lock(mu_);
    return finished_;
  }

 private:
  // What to do now, perhaps nothing; null: all is done.
  std::function<void(Stream&)> Next() {
    base::MutexLock lock(mu_);
    const auto message = [this](std::string bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      reading_ = false;
      return [bytes = std::move(bytes)](Stream& stream) { stream.OnMessage(bytes); };
    };
    if (stream_ != nullptr) {
      if (finished_) {
        if (std::exchange(closed_, true)) return nullptr;
        return [](Stream& stream) { stream.OnClosed(); };
      }
      if (std::exchange(written_, false)) return [](Stream& stream) { stream.OnWritten(); };
      if (reading_ && !std::exchange(registered_, true)) {
        return message(wire::Encode(DeliveryRegistration(instance_, cluster_)));
      }
      if (reading_ && welcome_ && sent_ < batches_ && sent_ - told_ < 16) {
        if (++messages_ % 5 == 0) return message(wire::Encode(model::Heartbeat{}));
        return message(wire::Encode(MakeBatch(++sent_, {"n1"}, cluster_)));
      }
      // More: a rival of its instance sent those.
      if (sent_ == batches_ && durable_ >= sent_) return nullptr;
    }
    changed_.WaitFor(mu_, 100ms);
    return [](Stream&) {};
  }

  const std::string cluster_, instance_;
  const std::uint64_t batches_;
  mutable base::Mutex mu_;
  base::CondVar changed_;
  std::shared_ptr<Stream> stream_ ABSL_GUARDED_BY(mu_);
  std::uint64_t sent_ ABSL_GUARDED_BY(mu_) = 0, told_ ABSL_GUARDED_BY(mu_) = 0, durable_ ABSL_GUARDED_BY(mu_) = 0;
  std::uint64_t messages_ ABSL_GUARDED_BY(mu_) = 0;
  bool reading_ ABSL_GUARDED_BY(mu_) = false, written_ ABSL_GUARDED_BY(mu_) = false;
  bool registered_ ABSL_GUARDED_BY(mu_) = false, welcome_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> finished_ ABSL_GUARDED_BY(mu_);
};

bool Until(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

struct Replica {
  explicit Replica(int store_workers = 4)
      : pool({.hub = "hub-1", .workers = 3, .store_workers = store_workers},
             {clusters, authenticator, data, base::SystemClock(), random, &registry}, log::Logger()) {}
  ~Replica() {
    data.Resume();
    pool.EndStreams(0ms);
    CHECK(pool.Stop(10s));
    for (const auto& collector : collectors_) collector->Leave();
  }
  std::shared_ptr<Collector> NewCollector(const std::string& cluster, std::uint64_t batches) {
    return collectors_.emplace_back(std::make_shared<Collector>(cluster, "inst", batches));
  }
  void AddCluster(const std::string& name) {
    ClusterPolicy policy;
    policy.uid = name;
    policy.config.hash = "h";
    clusters.Put(name, policy);
    authenticator.Put(name, kToken);
  }

  FakeClusters clusters;
  FakeAuthenticator authenticator;
  FakeCollectorData data{base::SystemClock()};
  base::SeededRandom random{5};
  telemetry::Registry registry;
  StreamPool pool;

 private:
  std::vector<std::shared_ptr<Collector>> collectors_;
};

TEST_CASE("many streams at once: every batch is applied once, in order, whatever else happens") {
  constexpr int kClusters = 24;
  constexpr std::uint64_t kBatches = 60;
  Replica hub;
  std::vector<std::shared_ptr<Collector>> collectors;
  for (int i = 0; i < kClusters; ++i) {
    const std::string name = "c" + std::to_string(i);
    hub.AddCluster(name);
    collectors.push_back(hub.NewCollector(name, kBatches));
  }
  hub.pool.Start();
  std::atomic<bool> stop = false;
  std::vector<std::jthread> threads;
  const auto deadline = std::chrono::steady_clock::now() + 50s;
  for (const auto& collector : collectors) {
    threads.push_back(base::StartThread("collector", [&hub, collector, deadline] {
      collector->Connect(hub.pool, collector);
      collector->Run(deadline);
    }));
  }
  threads.push_back(base::StartThread("trouble", [&] {
    for (int i = 0; !stop; ++i) {
      hub.pool.Recheck("c" + std::to_string(i % kClusters));
      if (i % 50 == 0) hub.data.FailApply(absl::UnavailableError("down"));
      if (i % 50 == 5) hub.data.FailApply(absl::OkStatus());
      if (i % 70 == 0) hub.registry.Render();
      std::this_thread::yield();
    }
    hub.data.FailApply(absl::OkStatus());
  }));
  for (std::size_t i = 0; i < collectors.size(); ++i) threads[i].join();
  stop = true;
  threads.back().join();
  for (int i = 0; i < kClusters; ++i) {
    CAPTURE(i);
    CHECK(collectors[static_cast<std::size_t>(i)]->done());
    std::uint64_t expected = 0;
    bool in_order = true;
    for (const model::Batch& batch : hub.data.Get("c" + std::to_string(i)).applied) in_order &= batch.seq == ++expected;
    CHECK(in_order);
    CHECK(expected == collectors[static_cast<std::size_t>(i)]->sent());
  }
}

TEST_CASE("collectors that fight for one cluster: one has it at the end, and every loser is told") {
  constexpr int kRivals = 12;
  Replica hub;
  hub.AddCluster("c");
  hub.pool.Start();
  std::vector<std::shared_ptr<Collector>> rivals;
  std::vector<std::jthread> threads;
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  for (int i = 0; i < kRivals; ++i) {
    // The same collector, coming again and again: the newest always wins.
    rivals.push_back(hub.NewCollector("c", i == 0 ? 5 : 1));
    threads.push_back(base::StartThread("rival", [&hub, rival = rivals.back(), deadline] {
      rival->Connect(hub.pool, rival);
      rival->Run(deadline);
    }));
  }
  threads.clear();
  int losers = 0;
  while (losers < kRivals - 1 && std::chrono::steady_clock::now() < deadline) {
    losers = 0;
    for (const auto& rival : rivals) losers += rival->CloseIfFinished() ? 1 : 0;
    std::this_thread::yield();
  }
  CHECK(losers == kRivals - 1);
  while (hub.pool.size() > 1 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  CHECK(hub.pool.size() == 1);
  for (const auto& rival : rivals) {
    if (rival->finished()) CHECK(rival->finished()->code() == absl::StatusCode::kAborted);
  }
}

TEST_CASE("a store that hangs takes its own workers and no stream's life") {
  constexpr int kClusters = 16;
  Replica hub(2);
  std::vector<std::shared_ptr<FakePeer>> peers;
  std::vector<std::shared_ptr<Stream>> streams;
  hub.pool.Start();
  const auto send = [&](std::size_t i, const auto& message) {
    const bool is_read = Until([&] { return peers[i]->TakeRead(); });
    if (is_read) streams[i]->OnMessage(wire::Encode(message));
    return is_read;
  };
  for (std::size_t i = 0; i < kClusters; ++i) {
    const std::string name = "c" + std::to_string(i);
    hub.AddCluster(name);
    peers.push_back(std::make_shared<FakePeer>());
    streams.push_back(hub.pool.Accept("10.0.0.1:1", "", peers.back()).value());
    REQUIRE(send(i, DeliveryRegistration("inst", name)));
    REQUIRE(Until([&] { return peers[i]->TakeWritten(); }));
    streams[i]->OnWritten();
  }

  hub.data.Hang();
  for (std::size_t i = 0; i < kClusters; ++i) REQUIRE(send(i, MakeBatch(1, {"n1"}, "c" + std::to_string(i))));
  REQUIRE(Until([&] { return hub.data.waiting() == 2; }));
  // Every stream is read on, and a new one that cannot be let in yet is taken too.
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < kClusters; ++i) REQUIRE(send(i, model::Heartbeat{}));
  }
  peers.push_back(std::make_shared<FakePeer>());
  streams.push_back(hub.pool.Accept("10.0.0.1:1", "", peers.back()).value());
  REQUIRE(send(kClusters, MakeBatch(1)));
  REQUIRE(Until([&] { return peers.back()->finished().has_value(); }));
  CHECK(peers.back()->finished()->code() == absl::StatusCode::kFailedPrecondition);
  CHECK(hub.data.waiting() == 2);

  hub.data.Resume();
  for (std::size_t i = 0; i < kClusters; ++i) {
    CAPTURE(i);
    CHECK(Until([&] { return hub.data.Get("c" + std::to_string(i)).applied.size() == 1; }));
    CHECK(!peers[i]->finished());
  }
}

TEST_CASE("a registration is given up as soon as its stream ends, also while the store hangs") {
  Replica hub;
  hub.AddCluster("c");
  hub.pool.Start();
  const auto peer = std::make_shared<FakePeer>();
  const auto stream = hub.pool.Accept("10.0.0.1:1", "", peer).value();
  REQUIRE(Until([&] { return peer->TakeRead(); }));
  hub.data.Hang();
  stream->OnMessage(wire::Encode(DeliveryRegistration("inst", "c")));
  REQUIRE(Until([&] { return hub.data.waiting() == 1; }));
  stream->OnGone();
  REQUIRE(Until([&] { return peer->finished().has_value(); }));
  stream->OnClosed();
  hub.data.Resume();
  CHECK(Until([&] { return hub.pool.size() == 0; }));
  CHECK(hub.data.Get("c").epoch == 0);
}

TEST_CASE("streams that end while everything runs leave nothing") {
  Replica hub;
  hub.pool.Start();
  std::vector<std::shared_ptr<Collector>> collectors;
  std::vector<std::jthread> threads;
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  for (int i = 0; i < 16; ++i) {
    hub.AddCluster("c" + std::to_string(i));
    collectors.push_back(hub.NewCollector("c" + std::to_string(i), 1000000));
    threads.push_back(base::StartThread("collector", [&hub, collector = collectors.back(), deadline] {
      collector->Connect(hub.pool, collector);
      collector->Run(deadline);
    }));
  }
  // None is still registering: that end has a reason of its own.
  const auto all_work = [&] {
    std::size_t sum = 0;
    for (int i = 0; i < 16; ++i) {
      const std::size_t applied = hub.data.Get("c" + std::to_string(i)).applied.size();
      if (applied == 0) return false;
      sum += applied;
    }
    return sum >= 100;
  };
  REQUIRE(Until([&] { return hub.pool.size() == 16 && all_work(); }));
  CHECK(hub.pool.EndStreams(20s));
  threads.clear();
  CHECK(hub.pool.size() == 0);
  for (int i = 0; i < 16; ++i) {
    CAPTURE(i);
    CHECK(collectors[static_cast<std::size_t>(i)]->finished().has_value());
    const auto cluster = hub.data.Get("c" + std::to_string(i));
    if (cluster.presence) CHECK(cluster.presence->end_reason == "hub is stopping");
  }
}

}  // namespace
}  // namespace clusterpulse::ingest
