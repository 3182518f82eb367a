#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "common/base/clock.h"
#include "common/base/random.h"

namespace clusterpulse::sim {

using Duration = std::chrono::nanoseconds;

// What a simulation runs on: virtual time, actions that are due at some time of it, one source of chance, and the log
// of what happened. Nothing else of a simulation knows the machine's time or draws from elsewhere, so that the same
// seed gives the same log, byte for byte. Single-threaded.
class World {
 public:
  // `echo`: log lines go to stdout as well.
  explicit World(std::uint64_t seed, bool echo = false);
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  base::SteadyTime now() const { return now_; }
  // Since the begin.
  Duration age() const { return now_ - kBegin; }
  // The true time of day: a host's clock may say something else.
  base::SystemTime today() const;

  // --- what happens later; actions of the same moment in the order they were given ---
  void At(base::SteadyTime time, std::function<void()> action);
  void After(Duration delay, std::function<void()> action) { At(now_ + delay, std::move(action)); }
  // Carries out what is due up to `until`, which is the time afterwards. False: more than `most` actions, which is a
  // loop that makes no progress.
  bool RunUntil(base::SteadyTime until, std::uint64_t most);
  std::uint64_t actions() const { return actions_; }

  // --- chance ---
  base::Random& random() { return random_; }
  bool Chance(double probability) { return random_.Uniform() < probability; }
  // Uniform in [0, n). REQUIRES: n > 0.
  std::uint64_t Below(std::uint64_t n) { return random_.Next() % n; }
  // Uniform in [least, most].
  Duration Between(Duration least, Duration most);
  // Mostly near `usual`, rarely up to twenty times that: as delays are.
  Duration Delay(Duration usual);

  // --- what happened ---
  template <typename... Args>
  void Log(fmt::format_string<Args...> format, Args&&... args) {
    line_.clear();
    fmt::format_to(std::back_inserter(line_), format, std::forward<Args>(args)...);
    AddLine();
  }
  // Of all lines so far.
  std::uint64_t log_hash() const { return hash_; }

 private:
  static constexpr base::SteadyTime kBegin{std::chrono::hours(1)};
  struct Action {
    base::SteadyTime time;
    std::uint64_t number = 0;
    std::function<void()> run;
  };
  struct Later {
    bool operator()(const Action& a, const Action& b) const {
      return a.time != b.time ? a.time > b.time : a.number > b.number;
    }
  };
  void AddLine();

  base::SteadyTime now_ = kBegin;
  base::SeededRandom random_;
  std::vector<Action> actions_due_;  // a heap
  std::uint64_t last_number_ = 0, actions_ = 0;
  const bool echo_;
  std::string line_;
  std::uint64_t hash_ = 0xcbf29ce484222325;  // FNV-1a
};

// The clocks of one host. Its time of day can be wrong and be set; its steady clock runs as the world's does, from
// another zero.
class HostClock final : public base::Clock {
 public:
  explicit HostClock(const World& world, Duration system_error = {}, Duration steady_zero = {})
      : world_(world), system_error_(system_error), steady_zero_(steady_zero) {}

  base::SystemTime Now() const override;
  base::SteadyTime Steady() const override { return world_.now() + steady_zero_; }
  void Step(Duration by) { system_error_ += by; }
  void Correct() { system_error_ = {}; }
  Duration error() const { return system_error_; }
  // A time of this clock as the world's.
  base::SteadyTime ToWorld(base::SteadyTime time) const {
    return time == base::SteadyTime::max() ? time : time - steady_zero_;
  }

 private:
  const World& world_;
  Duration system_error_;
  const Duration steady_zero_;
};

}  // namespace clusterpulse::sim
