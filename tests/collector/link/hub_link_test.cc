#include "collector/link/hub_link.h"

#include <atomic>
#include <deque>
#include <thread>

#include "tests/collector/link/sample.h"

namespace clusterpulse::link {
namespace {

using namespace std::chrono_literals;

// A hub of ours in the same process: it answers on a thread of its own, as gRPC does. It acknowledges every batch as
// applied, and as durable if told so.
class LocalHub final : public HubTransport {
 public:
  LocalHub() : thread_([this] { Run(); }) {}
  ~LocalHub() override {
    {
      base::MutexLock lock(mu_);
      stop_ = true;
      changed_.NotifyAll();
    }
    thread_.join();
  }

  void Open(const std::string&, Events& events) override {
    base::MutexLock lock(mu_);
    events_ = &events;
    ++opens_;
    if (is_down_) Push([](Events& e) { e.OnClosed(absl::UnavailableError("down")); });
  }
  void Write(std::string message) override {
    base::MutexLock lock(mu_);
    if (is_down_) return;
    Push([](Events& e) { e.OnWritten(); });
    const auto decoded = wire::DecodeFromCollector(message);
    if (!decoded.ok()) return;
    if (const auto* registration = std::get_if<model::Registration>(&*decoded)) {
      registration_ = *registration;
      answers_.push_back(
          wire::Encode(model::Welcome{.hub = "local", .credits = {16, 1 << 20}, .capabilities = {.delivery = true}}));
    } else if (const auto* batch = std::get_if<model::Batch>(&*decoded)) {
      got_.push_back(batch->seq);
      if (is_acking_) answers_.push_back(wire::Encode(model::DeliveryAck{.applied = {{batch->seq, batch->seq}}}));
    } else if (std::holds_alternative<model::Heartbeat>(*decoded)) {
      ++heartbeats_;
    }
    AnswerLocked();
    changed_.NotifyAll();
  }
  void Receive() override {
    base::MutexLock lock(mu_);
    is_receiving_ = true;
    AnswerLocked();
  }
  void HalfClose() override {
    base::MutexLock lock(mu_);
    if (is_acking_) Push([](Events& e) { e.OnClosed(absl::OkStatus()); });
  }
  void Cancel() override {
    base::MutexLock lock(mu_);
    Push([](Events& e) { e.OnClosed(absl::CancelledError("cancelled")); });
  }
  void Release() override {
    base::MutexLock lock(mu_);
    answers_.clear();
    is_receiving_ = false;
  }

  void SetDown(bool down) {
    base::MutexLock lock(mu_);
    is_down_ = down;
  }
  void SetAcking(bool acking) {
    base::MutexLock lock(mu_);
    is_acking_ = acking;
  }
  bool WaitForBatches(std::size_t count) {
    return Wait([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return got_.size() >= count; });
  }
  bool WaitForHeartbeats(int count) {
    return Wait([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return heartbeats_ >= count; });
  }
  bool WaitForOpens(int count) {
    return Wait([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return opens_ >= count; });
  }
  std::vector<std::uint64_t> got() {
    base::MutexLock lock(mu_);
    return got_;
  }
  std::string cluster() {
    base::MutexLock lock(mu_);
    return registration_.cluster;
  }

 private:
  template <typename Condition>
  bool Wait(Condition condition) {
    const auto until = std::chrono::steady_clock::now() + 10s;
    base::MutexLock lock(mu_);
    while (!condition()) {
      if (!changed_.WaitFor(mu_, until - std::chrono::steady_clock::now())) return false;
    }
    return true;
  }
  void Push(std::function<void(Events&)> event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    events_to_send_.push_back(std::move(event));
    changed_.NotifyAll();
  }
  void AnswerLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!is_receiving_ || answers_.empty()) return;
    is_receiving_ = false;
    Push([answer = std::move(answers_.front())](Events& e) { e.OnMessage(answer); });
    answers_.pop_front();
  }
  void Run() {
    for (;;) {
      std::function<void(Events&)> event;
      Events* events = nullptr;
      {
        base::MutexLock lock(mu_);
        while (events_to_send_.empty() && !stop_) changed_.Wait(mu_);
        if (stop_) return;
        event = std::move(events_to_send_.front());
        events_to_send_.pop_front();
        events = events_;
      }
      event(*events);
    }
  }

  base::Mutex mu_;
  base::CondVar changed_;
  Events* events_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::deque<std::function<void(Events&)>> events_to_send_ ABSL_GUARDED_BY(mu_);
  std::deque<std::string> answers_ ABSL_GUARDED_BY(mu_);
  std::vector<std::uint64_t> got_ ABSL_GUARDED_BY(mu_);
  model::Registration registration_ ABSL_GUARDED_BY(mu_);
  int opens_ ABSL_GUARDED_BY(mu_) = 0, heartbeats_ ABSL_GUARDED_BY(mu_) = 0;
  bool is_receiving_ ABSL_GUARDED_BY(mu_) = false, is_down_ ABSL_GUARDED_BY(mu_) = false;
  bool is_acking_ ABSL_GUARDED_BY(mu_) = true, stop_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread thread_;
};

struct Rig {
  Outbox outbox{{}, "instance-1", base::SystemClock()};
  LocalHub* hub = nullptr;  // owned by link
  std::unique_ptr<HubLink> link;
  std::atomic<int> connected = 0;
  std::atomic<HubLink*> self = nullptr;            // `link`, also while it is destroyed
  std::atomic<LinkState> said = LinkState::kIdle;  // when a full batch was asked for

  explicit Rig(LinkOptions options = {}) {
    options.address = "hub:1";
    options.cluster = "edge-1";
    auto transport = std::make_unique<LocalHub>();
    hub = transport.get();
    link = std::make_unique<HubLink>(std::move(options),
                                     LinkCallbacks{.on_full_batch =
                                                       [this] {
                                                         ++connected;
                                                         said = self.load()->status().state;
                                                         outbox.Add(NodeBatch("full"), true);
                                                       },
                                                   .on_config = [](const auto&) { return std::vector<std::string>(); },
                                                   .heartbeat = [] { return model::Heartbeat{.interval = 1s}; }},
                                     outbox, std::move(transport), base::SystemClock(), base::SystemRandom());
    self = link.get();
  }
  void Add() {
    outbox.Add(NodeBatch("b"), false);
    link->BatchAdded();
  }
};

TEST_CASE("batches go as soon as they are added, heartbeats in time, and stopping waits for applied") {
  LinkOptions options;
  options.heartbeat = 1s;
  Rig rig(options);
  rig.link->Start();
  REQUIRE(rig.hub->WaitForBatches(1));
  CHECK(rig.hub->cluster() == "edge-1");
  CHECK(rig.said == LinkState::kStreaming);
  for (std::size_t i = 2; i <= 50; ++i) {
    rig.Add();
    REQUIRE(rig.hub->WaitForBatches(i));
  }
  CHECK(rig.link->status().state == LinkState::kStreaming);
  CHECK(rig.link->status().hub == "local");
  CHECK(rig.hub->WaitForHeartbeats(1));
  CHECK(rig.link->Stop(5s));
  CHECK(rig.link->status().state == LinkState::kStopped);
  CHECK(rig.outbox.stats().in_flight == 0);
  CHECK(rig.outbox.stats().applied == 50);
  CHECK(rig.link->Stop(0s));
}

TEST_CASE("a hub that is away is tried again") {
  Rig rig;
  rig.hub->SetDown(true);
  rig.link->Start();
  REQUIRE(rig.hub->WaitForOpens(2));
  rig.hub->SetDown(false);
  REQUIRE(rig.hub->WaitForBatches(1));
  CHECK(rig.connected == 1);
  CHECK(rig.link->Stop(5s));
}

TEST_CASE("a link that waits for its next attempt stops at once") {
  Rig rig;
  rig.hub->SetDown(true);
  rig.link->Start();
  REQUIRE(rig.hub->WaitForOpens(1));
  SECTION("asked") { CHECK(rig.link->Stop(5s)); }
  SECTION("destroyed") { rig.link.reset(); }
}

TEST_CASE("stopping has a limit, and can be asked without waiting") {
  Rig rig;
  rig.hub->SetAcking(false);
  rig.link->Start();
  REQUIRE(rig.hub->WaitForBatches(1));
  CHECK_FALSE(rig.link->Stop(0s));
  const auto began = std::chrono::steady_clock::now();
  CHECK(rig.link->Stop(600ms));  // 100 ms of them for the batch that is not applied, and for the hub
  const auto took = std::chrono::steady_clock::now() - began;
  CHECK(took >= 100ms);
  CHECK(took < 600ms);
}

TEST_CASE("a link may be stopped before it started, and destroyed at any time") {
  Rig never;
  CHECK(never.link->Stop(1s));
  never.link->Start();
  CHECK(never.link->status().state == LinkState::kIdle);

  for (int i = 0; i < 20; ++i) {
    Rig rig;
    rig.hub->SetAcking(false);
    rig.link->Start();
    if (i % 2 == 0) REQUIRE(rig.hub->WaitForBatches(1));
    if (i % 3 == 0) rig.link->Stop(0s);
    std::jthread adder([&] { rig.Add(); });
    adder.join();
    rig.link.reset();
  }
}

TEST_CASE("many threads may add, ask and stop at once") {
  Rig rig;
  rig.link->Start();
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int n = 0; n < 25; ++n) {
          rig.Add();
          rig.link->status();
        }
      });
    }
  }
  // The buffer holds ten; the newest always arrives.
  REQUIRE(rig.hub->WaitForBatches(1));
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back([&] { rig.link->Stop(5s); });
  }
  CHECK(rig.link->status().state == LinkState::kStopped);
}

}  // namespace
}  // namespace clusterpulse::link
