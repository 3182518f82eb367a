#include "hub/app/config.h"

#include <charconv>

#include "common/base/status.h"
#include "common/kube/resource.h"
#include "common/tls/stream.h"
#include "hub/history/retention.h"
#include "hub/history/vm_client.h"

namespace clusterpulse::app {
namespace {

using config::Option;

constexpr std::int64_t kDay = 86400;
// Measured: killed within it, it loses samples that it had taken.
constexpr std::chrono::seconds kVmNeeds{10};

std::vector<Option> HubAccess(std::string& ns, std::string& kubeconfig) {
  return {
      {.flag = "namespace",
       .env = "NAMESPACE",
       .target = &ns,
       .help = "namespace whose ClusterConnections and Secrets are used"},
      {.flag = "kubeconfig",
       .target = &kubeconfig,
       .help = "kubeconfig of the hub cluster; set it outside a cluster",
       .default_text = "files of KUBECONFIG, else the pod's service account, else ~/.kube/config"},
  };
}

bool IsNumber(std::string_view text) {
  int value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && rest == text.data() + text.size();
}

// Upstream's framework flags decide where the flags and variables of our own do not.
void MapZapFlags(const config::Parsed& parsed, Config& config) {
  if (!parsed.IsSet("log-level")) {
    if (parsed.IsSet("zap-log-level")) {
      // A number is a verbosity: 0 is info, more is debug. panic, dpanic and fatal are above error.
      const std::string& level = config.zap_log_level;
      if (IsNumber(level)) {
        config.log_level = level == "0" ? "info" : "debug";
      } else {
        config.log_level = log::ParseLevel(level) ? level : "error";
      }
    } else if (config.zap_devel) {
      config.log_level = "debug";
    }
  }
  if (!parsed.IsSet("log-format")) {
    if (!config.zap_encoder.empty()) {
      config.log_format = config.zap_encoder == "console" ? "text" : "json";
    } else if (config.zap_devel) {
      config.log_format = "text";
    }
  }
}

absl::Status CheckRedisTls(const Config& config) {
  if (!config.redis_tls) {
    for (const auto& [name, value] :
         {std::pair<std::string_view, const std::string&>("REDIS_TLS_CA", config.redis_tls_ca),
          {"REDIS_TLS_CERT", config.redis_tls_cert},
          {"REDIS_TLS_KEY", config.redis_tls_key},
          {"REDIS_TLS_SERVER_NAME", config.redis_tls_server_name}}) {
      if (!value.empty()) {
        return base::InvalidArgument("{} is set but REDIS_TLS_ENABLED is not true: set both or neither", name);
      }
    }
  }
  if (config.redis_tls_cert.empty() != config.redis_tls_key.empty()) {
    return base::InvalidArgument("REDIS_TLS_CERT and REDIS_TLS_KEY belong together: set both or neither");
  }
  return absl::OkStatus();
}

absl::Status CheckStore(Config& config) {
  const bool has_redis = !config.redis_host.empty() || !config.redis_sentinels.empty();
  if (config.state_store.empty()) config.state_store = has_redis ? "redis" : "embedded";
  if (!config.embedded_store()) {
    if (!has_redis) return base::InvalidArgument("STATE_STORE=redis needs REDIS_HOST or REDIS_SENTINEL_ADDRESSES");
    for (const std::string& sentinel : config.redis_sentinels) {
      if (!tls::ParseEndpoint(sentinel, kSentinelPort).ok()) {
        return base::InvalidArgument("REDIS_SENTINEL_ADDRESSES=\"{}\": allowed is host:port, [IPv6]:port or a host",
                                     sentinel);
      }
    }
    return CheckRedisTls(config);
  }
  if (config.leader_elect) {
    return base::InvalidArgument(
        "leader election needs a store that several processes share: the embedded store lives in one process; set "
        "REDIS_HOST or drop --leader-elect and run one replica");
  }
  if (config.target != "all") {
    return base::InvalidArgument(
        "--target={} needs a store that several processes share: the embedded store lives in one process; set "
        "REDIS_HOST or use --target=all",
        config.target);
  }
  return absl::OkStatus();
}

absl::Status CheckHistory(const config::Parsed& parsed, Config& config, std::vector<std::string>& warnings) {
  if (config.history == "embedded") {
    return base::InvalidArgument(
        "HISTORY=embedded does not exist in this version; allowed is one of victoriametrics, none");
  }
  const bool decided = parsed.IsSet("vm-enabled");
  if (config.history.empty()) {
    config.history = config.vm_enabled ? "victoriametrics" : "none";
  } else if (decided && config.vm_enabled != config.writes_history()) {
    return base::InvalidArgument("HISTORY={} and VM_ENABLED={} contradict each other: one of them is enough",
                                 config.history, config.vm_enabled);
  }
  if (!config.writes_history()) {
    for (const auto& [name, value] :
         {std::pair<std::string_view, const std::string&>("VM_USERNAME", config.vm_username),
          {"VM_PASSWORD_FILE", config.vm_password_file},
          {"VM_BEARER_TOKEN_FILE", config.vm_bearer_token_file},
          {"VM_TLS_CA", config.vm_tls_ca},
          {"VM_QUERY_ENDPOINT", config.vm_query_endpoint},
          {"VM_RETENTION", config.vm_retention}}) {
      if (!value.empty()) {
        return base::InvalidArgument("{} is set but VM_ENABLED is not true: set both or neither", name);
      }
    }
    return absl::OkStatus();
  }
  const auto endpoint = history::ParseVmEndpoint(config.vm_endpoint);
  if (!endpoint.ok()) return base::Annotate(endpoint.status(), "VM_ENDPOINT");
  if (config.vm_username.empty() != config.vm_password_file.empty()) {
    return base::InvalidArgument("VM_USERNAME and VM_PASSWORD_FILE belong together: set both or neither");
  }
  if (!config.vm_username.empty() && !config.vm_bearer_token_file.empty()) {
    return base::InvalidArgument("VM_USERNAME and VM_BEARER_TOKEN_FILE exclude one another: set one of them");
  }
  if (!config.vm_tls_ca.empty() && !endpoint->origin.starts_with("https:")) {
    return base::InvalidArgument("VM_TLS_CA is set but VM_ENDPOINT is not https");
  }
  if (!config.vm_query_endpoint.empty()) {
    RETURN_IF_ERROR(base::Annotate(history::ParseVmEndpoint(config.vm_query_endpoint).status(), "VM_QUERY_ENDPOINT"));
  }
  if (!config.vm_retention.empty() && !history::ParsePeriod(config.vm_retention).has_value()) {
    return base::InvalidArgument(
        "VM_RETENTION=\"{}\": allowed is what -retentionPeriod of VictoriaMetrics takes, months or for example 90d",
        config.vm_retention);
  }
  if (config.vm_durable_after < kVmNeeds) {
    warnings.push_back(fmt::format(
        "VM_DURABLE_AFTER is {} s: VictoriaMetrics may need {} until samples are on its disk, and what a crash "
        "of it takes before that is lost without anybody knowing",
        config.vm_durable_after.count(), kVmNeeds.count()));
  }
  return absl::OkStatus();
}

// Nobody may believe that tokens travel encrypted because a certificate is there.
absl::Status CheckIngester(const config::Parsed& parsed, const Config& config) {
  if (config.target == "ingester" && !config.ingester_enabled) {
    return base::InvalidArgument("--target=ingester needs INGESTER_ENABLED=true");
  }
  if (!config.ingester_enabled) return absl::OkStatus();
  for (const auto& [flag, name] :
       {std::pair<std::string_view, std::string_view>("ingester-tls-cert", "INGESTER_TLS_CERT"),
        {"ingester-tls-key", "INGESTER_TLS_KEY"}}) {
    if (parsed.IsSet(flag) && !parsed.IsSet("ingester-tls-enabled")) {
      return base::InvalidArgument(
          "{} is set but INGESTER_TLS_ENABLED is not: set it to true, or to false to do without", name);
    }
  }
  if (!config.ingester_public_address.empty() &&
      !tls::ParseEndpoint(config.ingester_public_address, kIngesterPort).ok()) {
    return base::InvalidArgument("INGESTER_PUBLIC_ADDRESS=\"{}\": allowed is host:port, [IPv6]:port or a host",
                                 config.ingester_public_address);
  }
  return absl::OkStatus();
}

absl::Status Validate(Config& config) {
  if (config.target == "api") {
    return base::InvalidArgument(
        "--target={} does not exist in this version; allowed is one of all, controllers, ingester", config.target);
  }
  if (!kube::IsPathSegment(config.ns)) {
    return base::InvalidArgument("NAMESPACE=\"{}\": allowed is the name of a namespace", config.ns);
  }
  RETURN_IF_ERROR(CheckStore(config));
  return CheckCommon(config);
}

}  // namespace

std::vector<Option> ConfigOptions(Config& c) {
  std::vector<Option> options = HubAccess(c.ns, c.kubeconfig);
  const std::vector<Option> own = {
      {.flag = "target",
       .target = &c.target,
       .help = "which parts run in this process; all is every part this version has",
       .choices = {"all", "controllers", "ingester", "api"}},
      {.flag = "leader-elect",
       .env = "LEADER_ELECT",
       .target = &c.leader_elect,
       .help = "run the controllers under a Lease; set it for more than one replica"},
      {.flag = "state-store",
       .env = "STATE_STORE",
       .target = &c.state_store,
       .help = "where the current state is kept",
       .choices = {"redis", "embedded"},
       .default_text = "redis when REDIS_HOST is set, else embedded"},
      {.flag = "data-dir",
       .env = "DATA_DIR",
       .target = &c.data_dir,
       .help = "folder of the embedded store, the only place written to; one process at a time",
       .default_text = "none: the embedded store is in memory"},
      {.flag = "redis-host",
       .env = "REDIS_HOST",
       .target = &c.redis_host,
       .help = "Redis server",
       .default_text = "none"},
      {.flag = "redis-port", .env = "REDIS_PORT", .target = &c.redis_port, .help = "its port", .min = 1, .max = 65535},
      {.flag = "redis-db", .env = "REDIS_DB", .target = &c.redis_db, .help = "Redis database number", .max = 65535},
      {.flag = "redis-username",
       .env = "REDIS_USERNAME",
       .target = &c.redis_username,
       .help = "Redis ACL user",
       .default_text = "none: the default user"},
      {.env = "REDIS_PASSWORD", .target = &c.redis_password, .help = "Redis password", .secret = true},
      {.flag = "redis-tls-enabled", .env = "REDIS_TLS_ENABLED", .target = &c.redis_tls, .help = "speak TLS to Redis"},
      {.flag = "redis-tls-ca",
       .env = "REDIS_TLS_CA",
       .target = &c.redis_tls_ca,
       .help = "PEM file of the authorities Redis' certificate is checked against",
       .default_text = "the system's"},
      {.flag = "redis-tls-cert",
       .env = "REDIS_TLS_CERT",
       .target = &c.redis_tls_cert,
       .help = "PEM file of our client certificate",
       .default_text = "none"},
      {.flag = "redis-tls-key",
       .env = "REDIS_TLS_KEY",
       .target = &c.redis_tls_key,
       .help = "PEM file of its key",
       .default_text = "none"},
      {.flag = "redis-tls-server-name",
       .env = "REDIS_TLS_SERVER_NAME",
       .target = &c.redis_tls_server_name,
       .help = "name the certificate must hold, when it is not the address",
       .default_text = "the address"},
      {.flag = "redis-sentinel-addresses",
       .env = "REDIS_SENTINEL_ADDRESSES",
       .target = &c.redis_sentinels,
       .help = "Sentinels that name the Redis master, host:port separated by commas; REDIS_HOST is then not used",
       .default_text = "none"},
      {.flag = "redis-sentinel-master",
       .env = "REDIS_SENTINEL_MASTER",
       .target = &c.redis_sentinel_master,
       .help = "the master's name at the Sentinels"},
      {.flag = "redis-persistence",
       .env = "REDIS_PERSISTENCE",
       .target = &c.redis_persistence,
       .help =
           "what survives a crash of Redis: aof says that it runs with appendonly yes, and collectors free what they "
           "hold when that is safe; none, that nothing does",
       .choices = {"aof", "none"}},
      {.flag = "history",
       .env = "HISTORY",
       .target = &c.history,
       .help = "where samples of clusters, nodes, operators and metric sources are kept",
       .choices = {"victoriametrics", "embedded", "none"},
       .default_text = "victoriametrics when VM_ENABLED is true, else none"},
      {.flag = "vm-enabled",
       .env = "VM_ENABLED",
       .target = &c.vm_enabled,
       .help = "write samples to VictoriaMetrics; run it with -dedup.minScrapeInterval=1ms"},
      {.flag = "vm-endpoint",
       .env = "VM_ENDPOINT",
       .target = &c.vm_endpoint,
       .help = "its base URL; of a cluster that of vminsert with the tenant: http://vminsert:8480/insert/0/prometheus"},
      {.flag = "vm-query-endpoint",
       .env = "VM_QUERY_ENDPOINT",
       .target = &c.vm_query_endpoint,
       .help =
           "base URL for queries, by which a hub that was started anew finds out what an earlier one had sent; of a "
           "cluster that of vmselect: http://vmselect:8481/select/0/prometheus",
       .default_text = "VM_ENDPOINT"},
      {.flag = "vm-retention",
       .env = "VM_RETENTION",
       .target = &c.vm_retention,
       .help =
           "for how long it keeps samples, as its -retentionPeriod: months, or for example 90d; what is older when it "
           "comes is a hole in the history. Of a cluster it has to be told",
       .default_text = "as it tells itself"},
      {.flag = "vm-username",
       .env = "VM_USERNAME",
       .target = &c.vm_username,
       .help = "user name for it (basic authentication)",
       .default_text = "none"},
      {.flag = "vm-password-file",
       .env = "VM_PASSWORD_FILE",
       .target = &c.vm_password_file,
       .help = "file with the user's password; read again when it changes",
       .default_text = "none"},
      {.flag = "vm-bearer-token-file",
       .env = "VM_BEARER_TOKEN_FILE",
       .target = &c.vm_bearer_token_file,
       .help = "file with a bearer token for it, instead of a user; read again when it changes",
       .default_text = "none"},
      {.flag = "vm-tls-ca",
       .env = "VM_TLS_CA",
       .target = &c.vm_tls_ca,
       .help = "PEM file of the authorities its certificate is checked against; read again when it changes",
       .default_text = "the system's"},
      {.flag = "vm-durable-after",
       .env = "VM_DURABLE_AFTER",
       .target = &c.vm_durable_after,
       .help = "how long it must have run on after it took samples until they count as safe on its disk; "
               "VictoriaMetrics 1.79 needs up to 10, and with less a crash of it takes samples that nobody sends again",
       .unit = "s",
       .min = 1,
       .max = 3600},
      {.flag = "ingester-enabled",
       .env = "INGESTER_ENABLED",
       .target = &c.ingester_enabled,
       .help = "take what collectors push; without it clusters in push mode are pulled"},
      {.flag = "ingester-port",
       .env = "INGESTER_PORT",
       .target = &c.ingester_port,
       .help = "port for collectors (gRPC), IPv4 and IPv6",
       .floor = 1024,
       .max = 65535},
      {.flag = "ingester-tls-enabled",
       .env = "INGESTER_TLS_ENABLED",
       .target = &c.ingester_tls,
       .help = "speak TLS with collectors; without it their tokens travel in clear text"},
      {.flag = "ingester-tls-cert",
       .env = "INGESTER_TLS_CERT",
       .target = &c.ingester_tls_cert,
       .help = "PEM file of the certificate (chain) shown to collectors; read again when it changes"},
      {.flag = "ingester-tls-key",
       .env = "INGESTER_TLS_KEY",
       .target = &c.ingester_tls_key,
       .help = "PEM file of its key"},
      {.flag = "ingester-public-address",
       .env = "INGESTER_PUBLIC_ADDRESS",
       .target = &c.ingester_public_address,
       .help = "host:port at which managed clusters reach the ingester, where spec.ingesterAddress is not set",
       .default_text = "none"},
      {.flag = "ingester-bootstrap-token",
       .env = "INGESTER_BOOTSTRAP_TOKEN",
       .target = &c.ingester_bootstrap_token,
       .help =
           "accept a managed cluster's own token, as upstream collectors send it, until its collector first used the "
           "one made by the hub"},
      {.flag = "ingester-max-nodes",
       .env = "INGESTER_MAX_NODES",
       .target = &c.ingester_max_nodes,
       .help = "nodes taken of one cluster; batches with more are refused, 0 is no limit"},
      {.flag = "ingester-max-rows",
       .env = "INGESTER_MAX_ROWS",
       .target = &c.ingester_max_rows,
       .help = "rows of metric sources taken of one batch; batches with more are refused, 0 is no limit"},
      {.flag = "ingester-max-bytes-per-second",
       .env = "INGESTER_MAX_BYTES_PER_SECOND",
       .target = &c.ingester_max_bytes_per_second,
       .help = "rate at which one cluster's stream is read, 0 is no limit",
       .unit = "bytes/s"},
      {.flag = "reconciliation-interval",
       .env = "RECONCILIATION_INTERVAL",
       .target = &c.reconciliation_interval,
       .help = "how often a cluster is read when its connection does not say; raise it for very large fleets",
       .unit = "s",
       .floor = 30,
       .max = kDay},
      {.flag = "operator-scan-interval",
       .env = "OPERATOR_SCAN_INTERVAL",
       .target = &c.operator_scan_interval,
       .help = "how often installed operators are read",
       .unit = "s",
       .floor = 60,
       .max = kDay},
      {.flag = "cache-ttl",
       .env = "CACHE_TTL",
       .target = &c.cache_ttl,
       .help = "least life of state documents that are not renewed",
       .unit = "s",
       .floor = 60,
       .max = 30 * kDay},
      {.flag = "metrics-retention",
       .env = "METRICS_RETENTION",
       .target = &c.metrics_retention,
       .help = "how long the short time series in the state store reach back",
       .unit = "s",
       .floor = 300,
       .max = 30 * kDay},
      {.flag = "connect-timeout",
       .env = "CONNECT_TIMEOUT",
       .target = &c.connect_timeout,
       .help =
           "limit of a connection test when the connection does not say; raise it for slow links; above 30 runs as 30",
       .unit = "s",
       .floor = 5,
       .max = 300},
      {.flag = "cluster-workers",
       .env = "CLUSTER_WORKERS",
       .target = &c.cluster_workers,
       .help = "clusters read at the same time; raise it when many clusters are slow to answer",
       .min = 1,
       .max = 256},
  };
  options.insert(options.end(), own.begin(), own.end());
  const std::vector<Option> common = CommonOptions(c);
  options.insert(options.end(), common.begin(), common.end());
  const std::vector<Option> zap = {
      {.flag = "zap-devel", .target = &c.zap_devel, .help = "as --log-level=debug --log-format=text"},
      {.flag = "zap-log-level", .target = &c.zap_log_level, .help = "as --log-level; a number above 0 is debug"},
      {.flag = "zap-encoder",
       .target = &c.zap_encoder,
       .help = "as --log-format; console is text",
       .choices = {"console", "json"}},
      {.flag = "zap-stacktrace-level", .target = &c.zap_stacktrace_level, .help = "accepted, without effect"},
      {.flag = "zap-time-encoding", .target = &c.zap_time_encoding, .help = "accepted, without effect"},
  };
  options.insert(options.end(), zap.begin(), zap.end());
  return options;
}

std::vector<Option> CrdsOptions(ToolConfig& c) {
  std::vector<Option> options = HubAccess(c.ns, c.kubeconfig);
  options.erase(options.begin());  // definitions have no namespace
  options.push_back({.flag = "timeout",
                     .target = &c.timeout,
                     .help = "how long to wait until the definitions are served",
                     .unit = "s",
                     .min = 1,
                     .max = 3600});
  return options;
}

std::vector<Option> ConnectOptions(ToolConfig& c) {
  std::vector<Option> options = HubAccess(c.ns, c.kubeconfig);
  options.push_back({.flag = "from",
                     .target = &c.from,
                     .help = "kubeconfig of the managed cluster; its token and CA become the connection's Secret"});
  options.push_back(
      {.flag = "context", .target = &c.context, .help = "context of that kubeconfig instead of its current one"});
  options.push_back({.flag = "push",
                     .target = &c.push,
                     .help = "a collector in the cluster sends (push mode); without it the hub reads the cluster"});
  options.push_back({.flag = "ingester-address",
                     .target = &c.ingester_address,
                     .help = "host:port at which that collector reaches the hub",
                     .default_text = "INGESTER_PUBLIC_ADDRESS of the hub"});
  return options;
}

std::vector<Option> UninstallOptions(ToolConfig& c) {
  std::vector<Option> options = HubAccess(c.ns, c.kubeconfig);
  options.push_back({.flag = "all-namespaces",
                     .target = &c.all_namespaces,
                     .help = "ClusterConnections of every namespace instead of one",
                     .alias = "A"});
  return options;
}

std::vector<Option> FleetOptions(ToolConfig& c) {
  std::vector<Option> options = HubAccess(c.ns, c.kubeconfig);
  options.push_back({.flag = "all-namespaces",
                     .target = &c.all_namespaces,
                     .help = "ClusterConnections of every namespace instead of one",
                     .alias = "A"});
  options.push_back({.flag = "output",
                     .target = &c.output,
                     .help = "form of the answer",
                     .alias = "o",
                     .choices = {"table", "json"}});
  options.push_back(
      {.flag = "watch", .target = &c.watch, .help = "print again every interval until ended", .alias = "w"});
  options.push_back({.flag = "interval",
                     .target = &c.interval,
                     .help = "time between two prints",
                     .unit = "s",
                     .floor = 1,
                     .max = 3600});
  return options;
}

absl::StatusOr<LoadedConfig> LoadConfig(std::span<const std::string> args, const config::Environment& environment) {
  return Load<Config>(args, environment, [](const config::Parsed& parsed, LoadedConfig& loaded) -> absl::Status {
    MapZapFlags(parsed, loaded.config);
    RETURN_IF_ERROR(CheckIngester(parsed, loaded.config));
    RETURN_IF_ERROR(CheckHistory(parsed, loaded.config, loaded.warnings));
    return Validate(loaded.config);
  });
}

}  // namespace clusterpulse::app
