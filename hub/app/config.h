#pragma once

#include <chrono>
#include <span>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "common/app/settings.h"
#include "common/config/options.h"

namespace clusterpulse::app {

// Everything the hub's `run` command can be told. Names, units, bounds and when to change a setting: ConfigOptions,
// which is what --help prints.
struct Config : CommonConfig {
  std::string ns = "clusterpulse";
  std::string kubeconfig;
  std::string target = "all";
  bool leader_elect = false;

  std::string state_store;  // "redis" or "embedded"; decided from REDIS_HOST when not given
  std::string data_dir;     // empty: nothing is written to disk
  std::string redis_host;
  int redis_port = 6379;
  std::string redis_username, redis_password;
  int redis_db = 0;
  bool redis_tls = false;
  std::string redis_tls_ca, redis_tls_cert, redis_tls_key, redis_tls_server_name;
  std::vector<std::string> redis_sentinels;
  std::string redis_sentinel_master = "mymaster";
  std::string redis_persistence = "aof";

  std::string history;  // "victoriametrics" or "none"; decided from VM_ENABLED when not given
  bool vm_enabled = false;
  std::string vm_endpoint = "http://victoriametrics:8428";
  std::string vm_username, vm_password_file, vm_bearer_token_file, vm_tls_ca;
  std::string vm_query_endpoint;  // empty: the same
  std::chrono::seconds vm_durable_after{10};
  std::string vm_retention;  // empty: as VictoriaMetrics tells

  bool ingester_enabled = true;
  int ingester_port = 9443;
  bool ingester_tls = false;
  std::string ingester_tls_cert = "/etc/ingester-tls/tls.crt", ingester_tls_key = "/etc/ingester-tls/tls.key";
  std::string ingester_public_address;
  bool ingester_bootstrap_token = true;
  int ingester_max_nodes = 10000, ingester_max_rows = 100000;  // of a cluster; 0: no limit
  int ingester_max_bytes_per_second = 4 << 20;

  std::chrono::seconds reconciliation_interval{30};
  std::chrono::seconds operator_scan_interval{300};
  std::chrono::seconds cache_ttl{600};
  std::chrono::seconds metrics_retention{3600};
  std::chrono::seconds connect_timeout{10};
  int cluster_workers = 8;

  // Upstream's framework log flags. The first three are mapped onto log_level and log_format, the others have no
  // meaning here.
  bool zap_devel = false;
  std::string zap_log_level, zap_encoder, zap_stacktrace_level, zap_time_encoding;

  bool embedded_store() const { return state_store == "embedded"; }
  bool writes_history() const { return history == "victoriametrics"; }
  bool runs_controllers() const { return target == "all" || target == "controllers"; }
  bool runs_ingester() const { return ingester_enabled && (target == "all" || target == "ingester"); }
};

// What the smaller commands (crds, connect, uninstall, fleet) can be told.
struct ToolConfig {
  std::string ns = "clusterpulse";
  std::string kubeconfig;
  bool all_namespaces = false;
  bool watch = false;
  std::chrono::seconds interval{2};
  std::string output = "table";
  std::chrono::seconds timeout{60};
  std::string from, context;  // connect: the managed cluster's kubeconfig
  bool push = false;
  std::string ingester_address;
};

// The tables; rows point into `config`, which must outlive them.
std::vector<config::Option> ConfigOptions(Config& config);
std::vector<config::Option> CrdsOptions(ToolConfig& config);
std::vector<config::Option> ConnectOptions(ToolConfig& config);
std::vector<config::Option> UninstallOptions(ToolConfig& config);
std::vector<config::Option> FleetOptions(ToolConfig& config);

// Of addresses without one: of a Sentinel, and of the hub as collectors see it (behind a load balancer).
inline constexpr int kSentinelPort = 26379, kIngesterPort = 443;

using LoadedConfig = Loaded<Config>;
// Flags, environment, defaults, then what must fit together. kInvalidArgument with one line for a person.
absl::StatusOr<LoadedConfig> LoadConfig(std::span<const std::string> args, const config::Environment& environment);

}  // namespace clusterpulse::app
