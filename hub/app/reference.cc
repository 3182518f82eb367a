#include "hub/app/reference.h"

#include "common/base/status.h"
#include "hub/app/app.h"

namespace clusterpulse::app {

std::string ConfigurationReference() {
  Config defaults;
  return "# Configuration of clusterpulse-hub\n\n"
         "Made by `clusterpulse-hub configuration-reference`; a test compares it with the program.\n\n"
         "Flags win over the environment, the environment over the defaults. An empty value counts as not given, as "
         "does\n"
         "`tcp://...` in a variable that ends in `_PORT` (Kubernetes service links). Variables that are not listed "
         "are\n"
         "ignored, flags that are not listed are refused. Numbers below their least value are raised with a warning "
         "where\n"
         "the older releases did so (intervals, lives, timeouts); anything else that cannot be read stops the start "
         "with\n"
         "one line that names the setting, its value and what is allowed. Booleans in the environment are `true`, "
         "`1`,\n"
         "`yes` and `false`, `0`, `no`; those words in another spelling (`TRUE`, `ON`) are false, with a warning.\n\n" +
         config::MarkdownTable(ConfigOptions(defaults)) +
         "\nRules between settings:\n\n"
         "- The embedded store lives in one process: with it `--leader-elect` and any `--target` but `all` are "
         "refused, and\n"
         "  a second process on the same `DATA_DIR` ends at once.\n"
         "- `REDIS_TLS_CERT` and `REDIS_TLS_KEY` belong together; any `REDIS_TLS_*` needs `REDIS_TLS_ENABLED=true`.\n"
         "- `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` (both cases, CIDRs too) hold for every API server.\n"
         "- Secrets are taken from the environment only, and never printed or logged.\n";
}

absl::StatusOr<std::string> MetricsReference() {
  // Every part that counts something, so that the table is complete; nothing is started or connected to.
  Config config;
  config.state_store = "redis";
  config.redis_host = "localhost";
  config.leader_elect = true;
  ASSIGN_OR_RETURN(Dependencies dependencies,
                   MakeDependencies(config, kube::ConnectionConfig{.server = "https://localhost"}, log::Logger()));
  ASSIGN_OR_RETURN(const std::unique_ptr<App> app, App::Create(config, std::move(dependencies)));
  std::string out =
      "# Metrics of clusterpulse-hub\n\n"
      "Made by `clusterpulse-hub metrics-reference`; a test compares it with the program. Served in Prometheus text\n"
      "format on `/metrics` of `--metrics-bind-address`. `clusterpulse_hub_*` and the usual `process_*` tell of the "
      "hub\n"
      "itself; data of the fleet has other names.\n\n"
      "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n";
  for (const telemetry::Description& metric : app->registry().Describe()) {
    std::string labels;
    for (const std::string& label : metric.labels) labels += (labels.empty() ? "`" : ", `") + label + "`";
    out +=
        fmt::format("| `{}` | {} | {} | {} |\n", metric.name, metric.type, labels.empty() ? "-" : labels, metric.help);
  }
  return out;
}

}  // namespace clusterpulse::app
