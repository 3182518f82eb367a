#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/model/delivery.h"

namespace clusterpulse::history {

// Whether what VictoriaMetrics took is safe. It keeps new samples in memory for some seconds and has no way to ask
// whether they are on disk; a killed process loses them. So a sample is durable when the process that took it still
// runs `durable_after` later. Processes are told apart by the second they started in, which they tell on /metrics:
//
//  - A batch accepted at A is durable once a look sent at P >= A + durable_after shows a start that was known when the
//    batch was sent. Then the process lived from before A until after P.
//  - A start never seen before is a new process: everything not durable yet may be lost, and the continuity changes.
//    Nothing is sent to it for another second (send_from), so that a process started in the same second, and not told
//    apart, cannot have taken anything from us.
//  - Several insert nodes of a cluster behind one address answer in turn: each start becomes known once, and any known
//    one is as good. What a killed insert node had not handed on (it keeps samples for well under a second) or a killed
//    storage node had not written is then noticed by nobody: `durable_after` is the only safeguard, and
//    -replicationFactor the remedy.
//  - No answer proves nothing: nothing becomes durable.
//  - A server that answers and shows no start (a proxy that hides /metrics) is judged by time alone: at once when it
//    never showed any, else after kGoneFor.
//
// Confined to one thread or guarded by its owner; time is an argument.
class DurabilityWatch {
 public:
  static constexpr std::chrono::seconds kSettle{1};
  static constexpr std::chrono::minutes kGoneFor{5};
  // Insert nodes that are told apart; more look like restarts.
  static constexpr std::size_t kMostStarts = 32;

  explicit DurabilityWatch(std::chrono::milliseconds durable_after) : durable_after_(durable_after) {}

  struct Look {
    enum class Seen { kStart, kNoStart, kNoAnswer };
    base::SteadyTime sent{}, answered{};
    Seen seen = Seen::kNoAnswer;
    std::int64_t start = 0;  // Unix time in seconds
  };
  void On(const Look& look);

  model::DurableMark mark() const { return {continuity_, by_time_ ? base::SteadyTime::max() : until_}; }
  std::uint64_t continuity() const { return continuity_; }
  // Before it, nothing may be sent.
  base::SteadyTime send_from() const { return send_from_; }
  // There is no start to go by.
  bool by_time() const { return by_time_; }

 private:
  void OnStart(const Look& look);

  const std::chrono::milliseconds durable_after_;
  std::vector<std::int64_t> starts_;  // most recently seen last
  std::uint64_t continuity_ = 0;
  base::SteadyTime until_{};
  base::SteadyTime send_from_{};
  bool by_time_ = false;
  std::optional<base::SteadyTime> gone_since_;  // since when there is an answer and no start
};

// The start of a VictoriaMetrics process by what it serves on /metrics. Nullopt: there is none, or the text is of a
// program that keeps no samples (vmauth, vmagent and other proxies have a /metrics of their own).
std::optional<std::int64_t> ParseStart(std::string_view metrics);

}  // namespace clusterpulse::history
