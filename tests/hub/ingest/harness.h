#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/random.h"
#include "common/base/testing/manual_clock.h"
#include "common/telemetry/registry.h"
#include "common/wire/messages.h"
#include "hub/history/testing/fake_history.h"
#include "hub/ingest/stream_pool.h"
#include "hub/ingest/testing/fakes.h"

// A replica with its streams, driven by hand: no threads, no gRPC, time stands still until told.
namespace clusterpulse::ingest {

inline const std::string kCluster = "harbour-7", kToken = "s3cret";

inline model::Batch MakeBatch(std::uint64_t seq, std::vector<std::string> nodes = {"n1"},
                              const std::string& cluster = kCluster) {
  model::Batch batch;
  batch.cluster = cluster;
  batch.id = "batch-" + std::to_string(seq);
  batch.seq = seq;
  batch.collected_at = base::SystemTime(std::chrono::seconds(1933135000));
  batch.snapshot.nodes.emplace();
  for (std::string& name : nodes) batch.snapshot.nodes->push_back({.name = std::move(name)});
  return batch;
}

inline model::Batch HistoryBatch(std::uint64_t seq) {
  model::Batch batch = MakeBatch(seq);
  batch.history_only = true;
  return batch;
}

// At least so many bytes as a message.
inline model::Batch LargeBatch(std::uint64_t seq, std::size_t bytes) {
  model::Batch batch = MakeBatch(seq);
  batch.snapshot.nodes->front().os_image = std::string(bytes, 'x');
  return batch;
}

inline model::Batch Part(std::uint64_t seq, std::uint32_t part, std::uint32_t parts, std::vector<std::string> nodes) {
  model::Batch batch = MakeBatch(seq, std::move(nodes));
  batch.part = part;
  batch.parts = parts;
  return batch;
}

inline model::Registration DeliveryRegistration(const std::string& instance = "inst-a",
                                                const std::string& cluster = kCluster) {
  model::Registration registration;
  registration.cluster = cluster;
  registration.token = kToken;
  registration.version = "1.2.3";
  registration.instance = instance;
  registration.capabilities = {.delivery = true, .parts = true, .config_report = true};
  registration.interval = std::chrono::seconds(30);
  return registration;
}

inline model::Registration UpstreamRegistration(const std::string& cluster = kCluster) {
  model::Registration registration;
  registration.cluster = cluster;
  registration.token = kToken;
  registration.version = "dev";
  return registration;
}

// One collector's end of a stream.
class TestStream {
 public:
  bool reading() const { return peer->reads() == 1; }
  bool ended() const { return peer->finished().has_value(); }
  absl::StatusCode code() const {
    REQUIRE(ended());
    return peer->finished()->code();
  }
  std::string text() const {
    REQUIRE(ended());
    return std::string(peer->finished()->message());
  }
  // What came so far and was not taken, of this kind; others stay.
  template <typename T>
  std::vector<T> Take() {
    Collect();
    std::vector<T> out;
    std::vector<wire::FromHub> rest;
    for (wire::FromHub& message : inbox) {
      if (T* match = std::get_if<T>(&message)) {
        out.push_back(std::move(*match));
      } else {
        rest.push_back(std::move(message));
      }
    }
    inbox = std::move(rest);
    return out;
  }
  void Collect() {
    while (auto message = peer->Take()) inbox.push_back(*std::move(message));
  }

  std::shared_ptr<FakePeer> peer = std::make_shared<FakePeer>();
  std::shared_ptr<Stream> stream;
  std::vector<wire::FromHub> inbox;
  bool takes_messages = true;  // false: a slow reader
  bool closes = true;          // false: does not take the end either
  bool closed = false;
};

class TestHub {
 public:
  explicit TestHub(std::int64_t max_in_flight = std::int64_t{256} << 20, std::size_t max_unregistered = 2000,
                   bool with_history = false) {
    pool_options_.max_in_flight = max_in_flight;
    pool_options_.max_unregistered = max_unregistered;
    pool = std::make_unique<StreamPool>(pool_options_,
                                        StreamPool::Dependencies{clusters, authenticator, data, clock, random,
                                                                 &registry, with_history ? &history : nullptr},
                                        log);
    AddCluster(kCluster);
  }
  ~TestHub() {
    for (const auto& stream : streams_) {
      for (const std::string& fault : stream->peer->faults()) FAIL_CHECK(fault);
    }
  }

  void AddCluster(const std::string& cluster, Limits limits = {}) {
    ClusterPolicy policy;
    policy.uid = "uid-" + cluster;
    policy.config.interval = std::chrono::seconds(30);
    policy.config.hash = "h1";
    policy.limits = limits;
    clusters.Put(cluster, policy);
    authenticator.Put(cluster, kToken);
  }
  void ChangePolicy(const std::function<void(ClusterPolicy&)>& change) {
    ClusterPolicy policy = clusters.Find(kCluster).value();
    change(policy);
    clusters.Put(kCluster, policy);
  }

  TestStream& Open(const std::string& address = "10.0.0.1:4000", const std::string& bearer = "") {
    TestStream& stream = *streams_.emplace_back(std::make_unique<TestStream>());
    absl::StatusOr<std::shared_ptr<Stream>> accepted = pool->Accept(address, bearer, stream.peer);
    REQUIRE(accepted.ok());
    stream.stream = *accepted;
    Run();
    return stream;
  }
  // REQUIRES: the hub reads.
  void Send(TestStream& stream, std::string bytes) {
    if (stream.ended()) FAIL("the stream has ended: " << stream.peer->finished()->ToString());
    REQUIRE(stream.peer->TakeRead());
    stream.stream->OnMessage(std::move(bytes));
    Run();
  }
  template <typename T>
  void Send(TestStream& stream, const T& message) {
    Send(stream, wire::Encode(message));
  }
  void Gone(TestStream& stream) {
    stream.stream->OnGone();
    Run();
  }
  // Opened and registered; for delivery with Welcome taken.
  TestStream& Connect(const model::Registration& registration, const std::string& address = "10.0.0.1:4000") {
    TestStream& stream = Open(address);
    Send(stream, registration);
    return stream;
  }
  TestStream& ConnectDelivery(const std::string& instance = "inst-a", const std::string& address = "10.0.0.1:4000") {
    TestStream& stream = Connect(DeliveryRegistration(instance), address);
    stream.Take<model::Welcome>();
    return stream;
  }
  TestStream& ConnectUpstream(const std::string& address = "10.0.0.1:4000") {
    TestStream& stream = Connect(UpstreamRegistration(), address);
    stream.Take<model::CollectorConfig>();
    return stream;
  }

  // Until nothing is left to do now; peers take what they are sent.
  void Run() {
    for (bool busy = true; busy;) {
      busy = false;
      while (pool->RunOnce()) busy = true;
      for (const auto& stream : streams_) {
        if (stream->stream == nullptr) continue;
        if (stream->takes_messages && stream->peer->TakeWritten()) {
          stream->stream->OnWritten();
          busy = true;
        }
        if (stream->closes && stream->ended() && !std::exchange(stream->closed, true)) {
          stream->stream->OnClosed();
          busy = true;
        }
      }
    }
  }
  void AdvanceBy(std::chrono::milliseconds by) {
    clock.AdvanceBy(by);
    Run();
  }
  // In small steps, as time passes.
  void Pass(std::chrono::seconds time) {
    for (int i = 0; i < time.count(); ++i) AdvanceBy(std::chrono::seconds(1));
  }

  FakeCollectorData::Cluster State(const std::string& cluster = kCluster) const { return data.Get(cluster); }
  store::Presence Presence(const std::string& cluster = kCluster) const { return State(cluster).presence.value(); }
  std::vector<std::uint64_t> Applied(const std::string& cluster = kCluster) const {
    std::vector<std::uint64_t> seqs;
    for (const model::Batch& batch : State(cluster).applied) seqs.push_back(batch.seq);
    return seqs;
  }
  double Count(const std::string& name, std::vector<std::string> labels, const std::string& value) {
    return registry.Counters("clusterpulse_hub_ingest_" + name, "", std::move(labels)).With({value}).Value();
  }

  double Count(const std::string& name) {
    return registry.Counters("clusterpulse_hub_ingest_" + name, "").With({}).Value();
  }

  base::ManualClock clock;
  base::SeededRandom random{7};
  telemetry::Registry registry;
  std::vector<std::string> lines;
  log::Logger log{{.level = log::Level::kDebug, .sink = [this](std::string_view line) { lines.emplace_back(line); }}};
  FakeClusters clusters;
  FakeAuthenticator authenticator;
  FakeCollectorData data{clock};
  history::FakeHistoryWriter history{clock};  // of a HistoryHub
  std::unique_ptr<StreamPool> pool;

 private:
  StreamPool::Options pool_options_{.hub = "hub-1", .version = "9.9"};
  std::vector<std::unique_ptr<TestStream>> streams_;  // after the pool: they must be gone before it is
};

// With history, which is durable at once unless told otherwise.
class HistoryHub : public TestHub {
 public:
  HistoryHub() : TestHub(std::int64_t{256} << 20, 2000, true) {}
};

}  // namespace clusterpulse::ingest
