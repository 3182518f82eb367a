#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "collector/link/hub_transport.h"
#include "common/base/mutex.h"
#include "common/model/batch.h"
#include "common/model/delivery.h"
#include "common/wire/messages.h"

namespace clusterpulse::collector {

// A hub of ours behind the transport port, in this process: welcomes who registers, and acknowledges every batch as
// durable. Its answers come while the collector writes or receives. Thread-safe; the transport it gives out shares it.
class LoopHub {
 public:
  struct Seen {
    std::vector<std::string> tokens;  // of each stream
    std::vector<model::Registration> registrations;
    std::vector<model::Batch> batches;
    std::vector<model::Heartbeat> heartbeats;
    std::vector<model::ConfigReport> reports;
    int closed = 0;
  };

  // With the next Welcome.
  void SetConfig(model::CollectorConfig config) {
    base::MutexLock lock(state_->mu);
    state_->config = std::move(config);
  }
  // With the next Welcome, and on the stream that is open.
  void Push(model::CollectorConfig config) {
    {
      base::MutexLock lock(state_->mu);
      if (state_->events != nullptr) state_->answers.push_back(wire::Encode(config));
      state_->config = std::move(config);
    }
    state_->Answer();
  }
  // Streams end at once with this; ok: they do not.
  void Refuse(absl::Status status) {
    base::MutexLock lock(state_->mu);
    state_->refusal = std::move(status);
  }
  // Ends the stream.
  void Drop(absl::Status status) {
    link::HubTransport::Events* events = nullptr;
    {
      base::MutexLock lock(state_->mu);
      events = state_->Close();
    }
    if (events != nullptr) events->OnClosed(std::move(status));
  }
  Seen seen() const {
    base::MutexLock lock(state_->mu);
    return state_->seen;
  }
  std::unique_ptr<link::HubTransport> MakeTransport() { return std::make_unique<Transport>(state_); }

 private:
  struct State {
    base::Mutex mu;
    Seen seen ABSL_GUARDED_BY(mu);
    model::CollectorConfig config ABSL_GUARDED_BY(mu);
    absl::Status refusal ABSL_GUARDED_BY(mu);
    link::HubTransport::Events* events ABSL_GUARDED_BY(mu) = nullptr;  // of the open stream
    bool is_receiving ABSL_GUARDED_BY(mu) = false;
    std::deque<std::string> answers ABSL_GUARDED_BY(mu);

    link::HubTransport::Events* Close() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
      if (events != nullptr) ++seen.closed;
      answers.clear();
      is_receiving = false;
      return std::exchange(events, nullptr);
    }
    void Answer() {
      link::HubTransport::Events* to = nullptr;
      std::string answer;
      {
        base::MutexLock lock(mu);
        if (events == nullptr || !is_receiving || answers.empty()) return;
        is_receiving = false;
        to = events;
        answer = std::move(answers.front());
        answers.pop_front();
      }
      to->OnMessage(std::move(answer));
    }
    void Take(wire::FromCollector message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
      if (auto* const batch = std::get_if<model::Batch>(&message)) {
        model::DeliveryAck ack;
        ack.applied = {{batch->seq, batch->seq}};
        ack.durable.low = batch->seq;
        answers.push_back(wire::Encode(ack));
        seen.batches.push_back(std::move(*batch));
      } else if (auto* const registration = std::get_if<model::Registration>(&message)) {
        model::Welcome welcome;
        welcome.hub = "hub-0";
        welcome.version = "1";
        welcome.epoch = 7;
        welcome.credits = {.batches = 16, .bytes = 4 << 20};
        welcome.capabilities = {.delivery = true, .parts = true, .config_report = true};
        welcome.config = config;
        answers.push_back(wire::Encode(welcome));
        seen.registrations.push_back(std::move(*registration));
      } else if (auto* const heartbeat = std::get_if<model::Heartbeat>(&message)) {
        seen.heartbeats.push_back(std::move(*heartbeat));
      } else if (auto* const report = std::get_if<model::ConfigReport>(&message)) {
        seen.reports.push_back(std::move(*report));
      }
    }
  };

  class Transport final : public link::HubTransport {
   public:
    explicit Transport(std::shared_ptr<State> state) : state_(std::move(state)) {}
    void Open(const std::string& token, Events& events) override {
      absl::Status refusal;
      {
        base::MutexLock lock(state_->mu);
        state_->seen.tokens.push_back(token);
        refusal = state_->refusal;
        if (refusal.ok()) state_->events = &events;
      }
      if (!refusal.ok()) events.OnClosed(refusal);
    }
    void Write(std::string message) override {
      auto decoded = wire::DecodeFromCollector(message);
      Events* events = nullptr;
      {
        base::MutexLock lock(state_->mu);
        if (decoded.ok()) state_->Take(*std::move(decoded));
        events = state_->events;
      }
      if (events != nullptr) events->OnWritten();
      state_->Answer();
    }
    void Receive() override {
      {
        base::MutexLock lock(state_->mu);
        state_->is_receiving = true;
      }
      state_->Answer();
    }
    void HalfClose() override { End(absl::OkStatus()); }
    void Cancel() override { End(absl::CancelledError("cancelled")); }
    void Release() override {}

   private:
    void End(absl::Status status) {
      Events* events = nullptr;
      {
        base::MutexLock lock(state_->mu);
        events = state_->Close();
      }
      if (events != nullptr) events->OnClosed(std::move(status));
    }
    const std::shared_ptr<State> state_;
  };

  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace clusterpulse::collector
