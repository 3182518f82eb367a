#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "common/app/settings.h"
#include "common/config/options.h"

namespace clusterpulse::collector {

// Bounds of COLLECT_INTERVAL and OPERATOR_SCAN_INTERVAL, which hold for what the hub asks for too.
inline constexpr std::chrono::seconds kLeastInterval{5}, kLeastOperatorInterval{60}, kMostInterval{86400};

// Everything the collector can be told. Names, units, bounds and when to change a setting: ConfigOptions, which is what
// --help prints.
struct Config : app::CommonConfig {
  std::string cluster;
  std::string address = "ingester:9443";
  std::string token, token_file;  // at most one of them
  bool tls = false;
  std::string tls_ca, tls_server_name;

  std::chrono::seconds interval{60};
  std::chrono::seconds operator_interval{300};
  int buffer_size = 10;

  std::string data_dir, spool_dir;  // after LoadConfig: spool_dir is the folder, empty: in memory only
  std::string spool_max_size = "256Mi";
  std::uint64_t spool_max_bytes = std::uint64_t{256} << 20;  // spool_max_size, read by LoadConfig
  std::chrono::seconds spool_max_age{86400};

  std::string kubeconfig;
};

// The table; rows point into `config`, which must outlive them.
std::vector<config::Option> ConfigOptions(Config& config);

using LoadedConfig = app::Loaded<Config>;
// Flags, environment, defaults, then what must fit together. kInvalidArgument with one line for a person.
absl::StatusOr<LoadedConfig> LoadConfig(std::span<const std::string> args, const config::Environment& environment);

// The token as it is now: `config.token`, or what the file (of at most 7 KiB) holds without blanks around it. For each
// connect, so that a rotated file takes effect. kNotFound, kPermissionDenied, kInvalidArgument, kFailedPrecondition
// (empty): the file.
absl::StatusOr<std::string> ReadToken(const Config& config);

}  // namespace clusterpulse::collector
