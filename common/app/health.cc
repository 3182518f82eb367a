#include "common/app/health.h"

#include "common/base/status.h"
#include "common/log/logger.h"

namespace clusterpulse::app {

absl::Status Heartbeat::Check(std::chrono::seconds limit) const {
  const base::SteadyTime last{base::SteadyTime::duration(last_.load(std::memory_order_relaxed))};
  return CheckTurn(last, clock_.Steady(), limit);
}

absl::Status CheckTurn(base::SteadyTime last, base::SteadyTime now, std::chrono::seconds limit) {
  const auto silence = std::chrono::duration_cast<std::chrono::seconds>(now - last);
  if (silence <= limit) return absl::OkStatus();
  return base::MakeStatus(absl::StatusCode::kDeadlineExceeded, "no sign of life for {} s", silence.count());
}

HealthChecks::Answer HealthChecks::Run() const {
  Answer answer;
  for (const auto& [name, check] : checks_) {
    const absl::Status status = check();
    answer.ok = answer.ok && status.ok();
    answer.body += status.ok() ? "[+] " : "[-] ";
    answer.body += name + ": " + (status.ok() ? "ok" : log::ToText(status)) + "\n";
  }
  for (const auto& [name, note] : notes_) answer.body += "[i] " + name + ": " + note() + "\n";
  answer.body += answer.ok ? "ok\n" : "failed\n";
  return answer;
}

}  // namespace clusterpulse::app
