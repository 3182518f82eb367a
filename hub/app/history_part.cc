#include "hub/app/history_part.h"

#include <utility>

#include <fmt/format.h>

#include "common/app/version.h"
#include "common/base/status.h"
#include "hub/history/retention.h"

namespace clusterpulse::app {

absl::StatusOr<std::unique_ptr<history::VictoriaMetricsWriter>> MakeHistory(const Config& config,
                                                                            const base::Clock& clock,
                                                                            base::Random& random,
                                                                            telemetry::Registry& registry,
                                                                            const log::Logger& log) {
  if (!config.writes_history()) return nullptr;
  history::VictoriaMetricsWriter::Options options;
  options.server = {.endpoint = config.vm_endpoint,
                    .username = config.vm_username,
                    .password_file = config.vm_password_file,
                    .bearer_token_file = config.vm_bearer_token_file,
                    .tls_ca_file = config.vm_tls_ca,
                    .user_agent = fmt::format("clusterpulse-hub/{}", kVersion)};
  options.query_endpoint = config.vm_query_endpoint;
  options.durable_after = config.vm_durable_after;
  options.retention = history::ParsePeriod(config.vm_retention).value_or(std::chrono::milliseconds::zero());
  options.registry = &registry;
  ASSIGN_OR_RETURN(auto writer, history::VictoriaMetricsWriter::Create(std::move(options), clock, random, log),
                   "history");
  const bool has_secret = !config.vm_username.empty() || !config.vm_bearer_token_file.empty();
  if (has_secret && config.vm_endpoint.starts_with("http://")) {
    log.Warn("VM_ENDPOINT is not https: the password or token travels in clear text");
  }
  return writer;
}

}  // namespace clusterpulse::app
