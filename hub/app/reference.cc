#include "hub/app/reference.h"

#include "common/app/reference.h"
#include "common/base/status.h"
#include "hub/app/app.h"

namespace clusterpulse::app {

std::string ConfigurationReference() {
  Config defaults;
  return ConfigurationDocument(
      "clusterpulse-hub", ConfigOptions(defaults),
      "- The embedded store lives in one process: with it `--leader-elect` and any `--target` but `all` are refused, "
      "and\n"
      "  a second process on the same `DATA_DIR` ends at once.\n"
      "- `INGESTER_TLS_CERT` or `INGESTER_TLS_KEY` without `INGESTER_TLS_ENABLED` end the start, as does a certificate "
      "or\n"
      "  key that cannot be used. `INGESTER_TLS_ENABLED` not being true is warned about.\n"
      "- `REDIS_TLS_CERT` and `REDIS_TLS_KEY` belong together; any `REDIS_TLS_*` needs `REDIS_TLS_ENABLED=true`.\n"
      "- `HISTORY` says the same as `VM_ENABLED`: one of them is enough, and both must agree. `VM_USERNAME` needs\n"
      "  `VM_PASSWORD_FILE` and excludes `VM_BEARER_TOKEN_FILE`; `VM_TLS_CA` needs an `https` `VM_ENDPOINT`. Each of "
      "them\n"
      "  without `VM_ENABLED` ends the start, as do files that cannot be read.\n"
      "- `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` (both cases, CIDRs too) hold for every API server and for\n"
      "  VictoriaMetrics.\n"
      "- Secrets are taken from the environment only, and never printed or logged.\n");
}

absl::StatusOr<std::string> MetricsReference() {
  // Every part that counts something, so that the table is complete; nothing is started or connected to.
  Config config;
  config.state_store = "redis";
  config.redis_host = "localhost";
  config.leader_elect = true;
  config.history = "victoriametrics";
  ASSIGN_OR_RETURN(Dependencies dependencies,
                   MakeDependencies(config, kube::ConnectionConfig{.server = "https://localhost"}, log::Logger()));
  ASSIGN_OR_RETURN(const std::unique_ptr<App> app, App::Create(config, std::move(dependencies)));
  return MetricsDocument("clusterpulse-hub", app->registry(),
                         "`clusterpulse_hub_*` and the usual `process_*` tell of the hub\n"
                         "itself; data of the fleet has other names.");
}

}  // namespace clusterpulse::app
