#include "collector/app/config.h"

#include <algorithm>
#include <utility>

#include "common/base/status.h"
#include "common/kube/kube_config.h"
#include "common/kube/quantity.h"
#include "common/tls/stream.h"
#include "common/wire/names.h"

namespace clusterpulse::collector {
namespace {

using config::Option;

constexpr std::size_t kMaxToken = std::size_t{7} << 10;       // gRPC reads 8 KiB of headers
constexpr std::int64_t kLeastSpool = std::int64_t{32} << 20;  // two segments
constexpr std::string_view kBlanks = " \t\r\n";

// Files and Secrets often end in a line break.
std::string Trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

absl::Status CheckToken(const std::string& token) {
  if (token.size() > kMaxToken) return base::InvalidArgument("COLLECTOR_TOKEN is larger than {} bytes", kMaxToken);
  if (std::ranges::any_of(token, [](char c) { return c <= ' ' || c > '~'; })) {
    return base::InvalidArgument("COLLECTOR_TOKEN holds blanks or other characters that no token has");
  }
  return absl::OkStatus();
}

absl::Status CheckTls(const Config& config) {
  if (config.tls) return absl::OkStatus();
  for (const auto& [name, value] : {std::pair<std::string_view, const std::string&>("INGESTER_TLS_CA", config.tls_ca),
                                    {"INGESTER_TLS_SERVER_NAME", config.tls_server_name}}) {
    if (!value.empty()) {
      return base::InvalidArgument("{} is set but INGESTER_TLS_ENABLED is not true: set both or neither", name);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadSpool(Config& config, std::vector<std::string>& warnings) {
  if (config.spool_dir.empty() && !config.data_dir.empty()) config.spool_dir = config.data_dir + "/spool";
  const auto size = kube::Quantity::Parse(config.spool_max_size);
  if (!size.ok() || *size < kube::Quantity()) {
    return base::InvalidArgument("SPOOL_MAX_BYTES=\"{}\": allowed is a number of bytes: 268435456, 256Mi, 1Gi",
                                 config.spool_max_size.substr(0, 200));
  }
  if (size->Value() < kLeastSpool) {
    warnings.push_back(
        fmt::format("SPOOL_MAX_BYTES={} is below the least value and runs as 32Mi", config.spool_max_size));
  }
  config.spool_max_bytes = static_cast<std::uint64_t>(std::max(size->Value(), kLeastSpool));
  return absl::OkStatus();
}

absl::Status Validate(const Config& config) {
  if (config.cluster.empty()) {
    return base::InvalidArgument("CLUSTER_NAME is not set: it names the ClusterConnection of this cluster on the hub");
  }
  if (!wire::IsDnsSubdomain(config.cluster)) {
    return base::InvalidArgument(
        "CLUSTER_NAME=\"{}\": allowed is the name of a ClusterConnection: a-z, 0-9, '-' and '.', at most 253 bytes",
        config.cluster.substr(0, 200));
  }
  const auto address = tls::ParseEndpoint(config.address, 0);
  if (!address.ok() || address->port == 0 || config.address.find('/') != std::string::npos) {
    return base::InvalidArgument("INGESTER_ADDRESS=\"{}\": allowed is host:port or [IPv6]:port",
                                 config.address.substr(0, 200));
  }
  if (!config.token.empty() && !config.token_file.empty()) {
    return base::InvalidArgument("COLLECTOR_TOKEN and COLLECTOR_TOKEN_FILE are both set: set one of them");
  }
  RETURN_IF_ERROR(CheckToken(config.token));
  RETURN_IF_ERROR(CheckTls(config));
  return app::CheckCommon(config);
}

}  // namespace

std::vector<Option> ConfigOptions(Config& c) {
  std::vector<Option> options = {
      {.flag = "cluster-name",
       .env = "CLUSTER_NAME",
       .target = &c.cluster,
       .help = "name of this cluster's ClusterConnection on the hub",
       .default_text = "none: it must be set"},
      {.flag = "ingester-address",
       .env = "INGESTER_ADDRESS",
       .target = &c.address,
       .help = "the hub, host:port or [IPv6]:port"},
      {.env = "COLLECTOR_TOKEN", .target = &c.token, .help = "bearer token for the hub", .secret = true},
      {.flag = "collector-token-file",
       .env = "COLLECTOR_TOKEN_FILE",
       .target = &c.token_file,
       .help = "file with that token, read at each connect; prefer it, as it can be rotated",
       .default_text = "none"},
      {.flag = "ingester-tls-enabled",
       .env = "INGESTER_TLS_ENABLED",
       .target = &c.tls,
       .help = "speak TLS to the hub; without it everybody on the way can read the token"},
      {.flag = "ingester-tls-ca",
       .env = "INGESTER_TLS_CA",
       .target = &c.tls_ca,
       .help = "PEM file of the authorities the hub's certificate is checked against, read at each connect",
       .default_text = "the system's"},
      {.flag = "ingester-tls-server-name",
       .env = "INGESTER_TLS_SERVER_NAME",
       .target = &c.tls_server_name,
       .help = "name the certificate must hold, when it is not the address",
       .default_text = "the address"},
      {.flag = "collect-interval",
       .env = "COLLECT_INTERVAL",
       .target = &c.interval,
       .help = "time between two batches; what the hub asks for wins",
       .unit = "s",
       .floor = kLeastInterval.count(),
       .max = kMostInterval.count()},
      {.flag = "operator-scan-interval",
       .env = "OPERATOR_SCAN_INTERVAL",
       .target = &c.operator_interval,
       .help = "how often operators and cluster info are read; what the hub asks for wins",
       .unit = "s",
       .floor = kLeastOperatorInterval.count(),
       .max = kMostInterval.count()},
      {.flag = "buffer-size",
       .env = "BUFFER_SIZE",
       .target = &c.buffer_size,
       .help = "batches kept in memory until the hub has them safe (64 MiB at most), where they are not kept on disk; "
               "raise it for long outages without a disk",
       .floor = 1,
       .raised_to = 10,
       .max = 10000},
      {.flag = "data-dir",
       .env = "DATA_DIR",
       .target = &c.data_dir,
       .help = "folder that is the collector's own; a volume that outlives the pod keeps what waits, and the metric "
               "sources, "
               "over its restarts",
       .default_text = "none"},
      {.flag = "spool-dir",
       .env = "SPOOL_DIR",
       .target = &c.spool_dir,
       .help = "folder in which batches wait until the hub has them safe; one process at a time",
       .default_text = "spool in DATA_DIR; without both in memory only"},
      {.flag = "spool-max-bytes",
       .env = "SPOOL_MAX_BYTES",
       .target = &c.spool_max_size,
       .help = "size of all files in it, at least 32Mi; the oldest batches go first. A day of 100 nodes is some 25Mi"},
      {.flag = "spool-max-age",
       .env = "SPOOL_MAX_AGE",
       .target = &c.spool_max_age,
       .help = "batches older than this are given up; raise it for outages of days",
       .unit = "s",
       .floor = 60},
      {.flag = "kubeconfig",
       .target = &c.kubeconfig,
       .help = "kubeconfig of the cluster to watch; set it outside a cluster",
       .default_text = "files of KUBECONFIG, else the pod's service account, else ~/.kube/config"},
  };
  const std::vector<Option> common = app::CommonOptions(c);
  options.insert(options.end(), common.begin(), common.end());
  return options;
}

absl::StatusOr<LoadedConfig> LoadConfig(std::span<const std::string> args, const config::Environment& environment) {
  return app::Load<Config>(args, environment, [](const config::Parsed&, LoadedConfig& loaded) -> absl::Status {
    Config& config = loaded.config;
    config.token = Trimmed(config.token);
    RETURN_IF_ERROR(Validate(config));
    RETURN_IF_ERROR(ReadSpool(config, loaded.warnings));
    if (config.token.empty() && config.token_file.empty()) {
      loaded.warnings.emplace_back("neither COLLECTOR_TOKEN nor COLLECTOR_TOKEN_FILE is set: the hub may refuse us");
    } else if (!config.tls) {
      loaded.warnings.emplace_back(
          "the token is sent without TLS: everybody on the way can read it; set INGESTER_TLS_ENABLED=true");
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::string> ReadToken(const Config& config) {
  if (config.token_file.empty()) return config.token;
  ASSIGN_OR_RETURN(const std::string text, kube::ReadSmallFile(config.token_file, kMaxToken), "COLLECTOR_TOKEN_FILE");
  std::string token = Trimmed(text);
  if (token.empty()) {
    return base::MakeStatus(absl::StatusCode::kFailedPrecondition, "COLLECTOR_TOKEN_FILE: {} is empty",
                            config.token_file);
  }
  return token;
}

}  // namespace clusterpulse::collector
