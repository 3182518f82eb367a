#include "common/app/settings.h"

#include <cstdlib>

#include <unistd.h>

#include "common/app/version.h"
#include "common/base/failpoint.h"
#include "common/base/status.h"
#include "common/http/server.h"

namespace clusterpulse::app {
namespace {

absl::Status CheckAddress(std::string_view name, const std::string& text) {
  if (IsDisabled(text)) return absl::OkStatus();
  if (!http::ParseListenAddress(text).ok()) {
    return base::InvalidArgument("{}=\"{}\": allowed is host:port, [IPv6]:port, :port, or 0 for off", name, text);
  }
  return absl::OkStatus();
}

void ArmFailPoint(const log::Logger& log) {
  const char* const asked = std::getenv("CLUSTERPULSE_FAILPOINT");
  if (asked == nullptr) return;
  const auto plan = base::ParseFailPoint(asked);
  if (!plan.ok()) {
    log.Error("the fail point is not armed", {{"error", base::Message(plan.status())}});
    return;
  }
  log.Warn("a fail point is armed: this process kills itself there, which only a test can want",
           {{"fail_point", plan->name}, {"passing", plan->passings}});
  base::ArmFailPoint(*plan);
}

}  // namespace

std::vector<config::Option> CommonOptions(CommonConfig& c) {
  return {
      {.flag = "metrics-bind-address",
       .env = "METRICS_BIND_ADDRESS",
       .target = &c.metrics_address,
       .help = "where /metrics is served: host:port, :port, or 0 for off"},
      {.flag = "health-probe-bind-address",
       .env = "HEALTH_PROBE_BIND_ADDRESS",
       .target = &c.probe_address,
       .help = "where /healthz and /readyz are served: host:port, :port, or 0 for off"},
      {.flag = "shutdown-timeout",
       .env = "SHUTDOWN_TIMEOUT",
       .target = &c.shutdown_timeout,
       .help = "limit of a clean stop; keep it below the pod's grace period",
       .unit = "s",
       .floor = 1,
       .max = 3600},
      {.flag = "log-level",
       .env = "LOG_LEVEL",
       .target = &c.log_level,
       .help = "least severity that is logged",
       .choices = {"trace", "debug", "info", "warn", "warning", "error", "critical"},
       .any_case = true,
       .unknown_is_default = true},
      {.flag = "log-format",
       .env = "LOG_FORMAT",
       .target = &c.log_format,
       .help = "form of log lines; auto is text on a terminal, else JSON",
       .choices = {"auto", "text", "json"}},
  };
}

absl::Status CheckCommon(const CommonConfig& config) {
  RETURN_IF_ERROR(CheckAddress("--metrics-bind-address", config.metrics_address));
  return CheckAddress("--health-probe-bind-address", config.probe_address);
}

log::Format LogFormat(const CommonConfig& config, bool is_terminal) {
  if (config.log_format == "auto") return is_terminal ? log::Format::kText : log::Format::kJson;
  return config.log_format == "text" ? log::Format::kText : log::Format::kJson;
}

log::Level LogLevel(const CommonConfig& config) {
  return log::ParseLevel(config.log_level).value_or(log::Level::kInfo);
}

log::Logger StartLog(const CommonConfig& config, std::string_view program, const std::vector<config::Option>& options,
                     const std::vector<std::string>& warnings) {
  log::Logger log(
      {.level = LogLevel(config), .format = LogFormat(config, ::isatty(STDERR_FILENO) == 1), .fd = STDERR_FILENO});
  log::Logger first = log.With({{"version", kVersion}, {"revision", kRevision}});
  for (const auto& [name, value] : config::Effective(options)) {
    if (!value.empty()) first = first.With({{name, value}});
  }
  first.Info(fmt::format("{} starts", program));
  for (const std::string& warning : warnings) log.Warn("configuration", {{"warning", warning}});
  ArmFailPoint(log);
  return log;
}

}  // namespace clusterpulse::app
