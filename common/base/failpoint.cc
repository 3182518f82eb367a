#include "common/base/failpoint.h"

#include <algorithm>
#include <charconv>
#include <csignal>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "common/base/mutex.h"
#include "common/base/status.h"

namespace clusterpulse::base {
namespace internal {

std::atomic<bool> fail_point_armed{false};

}  // namespace internal

namespace {

// Trivially destructible: threads may pass a place while the process ends.
struct Armed {
  Mutex mu;
  FailPointPlan plan ABSL_GUARDED_BY(mu);
  std::uint64_t passed ABSL_GUARDED_BY(mu) = 0;
};
Armed& TheArmed() {
  static auto* const armed = new Armed;
  return *armed;
}

}  // namespace

absl::StatusOr<FailPointPlan> ParseFailPoint(std::string_view text) {
  FailPointPlan plan;
  const std::string_view name = text.substr(0, text.find(':'));
  const auto* const known = std::find(kFailPoints.begin(), kFailPoints.end(), name);
  bool valid = known != kFailPoints.end();
  if (valid && name.size() < text.size()) {
    const char* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + name.size() + 1, end, plan.passings);
    valid = parsed.ec == std::errc() && parsed.ptr == end && plan.passings > 0;
  }
  if (!valid) {
    return InvalidArgument("fail point \"{}\": allowed is NAME or NAME:N with N from 1 and NAME one of {}", text,
                           fmt::join(kFailPoints, ", "));
  }
  plan.name = *known;
  return plan;
}

void ArmFailPoint(const FailPointPlan& plan) {
  Armed& armed = TheArmed();
  MutexLock lock(armed.mu);
  armed.plan = plan;
  armed.passed = 0;
  internal::fail_point_armed = true;
}

void DisarmFailPoint() { internal::fail_point_armed = false; }

namespace internal {

void PassFailPoint(std::string_view name) {
  Armed& armed = TheArmed();
  MutexLock lock(armed.mu);
  if (name != armed.plan.name || ++armed.passed != armed.plan.passings) return;
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();  // the signal is on its way
}

}  // namespace internal
}  // namespace clusterpulse::base
