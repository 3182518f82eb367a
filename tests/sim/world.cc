#include "tests/sim/world.h"

#include <algorithm>
#include <cstdio>

namespace clusterpulse::sim {
namespace {

// 2031-04-05T06:07:08Z, an arbitrary whole second.
constexpr base::SystemTime kFirstDay{std::chrono::seconds(1933135628)};

}  // namespace

World::World(std::uint64_t seed, bool echo) : random_(seed), echo_(echo) {}

base::SystemTime World::today() const {
  return kFirstDay + std::chrono::duration_cast<base::SystemTime::duration>(age());
}

void World::At(base::SteadyTime time, std::function<void()> action) {
  actions_due_.push_back({std::max(time, now_), ++last_number_, std::move(action)});
  std::push_heap(actions_due_.begin(), actions_due_.end(), Later());
}

bool World::RunUntil(base::SteadyTime until, std::uint64_t most) {
  while (!actions_due_.empty() && actions_due_.front().time <= until) {
    if (most-- == 0) return false;
    std::pop_heap(actions_due_.begin(), actions_due_.end(), Later());
    const Action action = std::move(actions_due_.back());
    actions_due_.pop_back();
    now_ = action.time;
    ++actions_;
    action.run();
  }
  now_ = std::max(now_, until);
  return true;
}

Duration World::Between(Duration least, Duration most) {
  return least + Duration(static_cast<std::int64_t>(random_.Uniform() * static_cast<double>((most - least).count())));
}

Duration World::Delay(Duration usual) {
  const double u = random_.Uniform();
  const double factor = u < 0.9 ? 0.5 + u : 1.4 + (u - 0.9) * 186;
  return Duration(static_cast<std::int64_t>(factor * static_cast<double>(usual.count())));
}

void World::AddLine() {
  const auto mix = [this](std::string_view text) {
    for (const char c : text) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  };
  const std::int64_t micros = std::chrono::duration_cast<std::chrono::microseconds>(age()).count();
  char stamp[32];
  const auto end = fmt::format_to(stamp, "{:>6}.{:06} ", micros / 1'000'000, micros % 1'000'000);
  const std::string_view time(stamp, static_cast<std::size_t>(end - stamp));
  mix(time);
  mix(line_);
  mix("\n");
  if (echo_) fmt::print("{}{}\n", time, line_);
}

base::SystemTime HostClock::Now() const {
  return world_.today() + std::chrono::duration_cast<base::SystemTime::duration>(system_error_);
}

}  // namespace clusterpulse::sim
