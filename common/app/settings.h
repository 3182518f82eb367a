#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>

#include "common/config/options.h"
#include "common/log/logger.h"

namespace clusterpulse::app {

// What every program of ours can be told; the base of its Config.
struct CommonConfig {
  std::string metrics_address = ":8080";
  std::string probe_address = ":8081";
  std::chrono::seconds shutdown_timeout{25};
  std::string log_level = "info";
  std::string log_format = "auto";
};

// The table's rows; they point into `config`, which must outlive them.
std::vector<config::Option> CommonOptions(CommonConfig& config);
// kInvalidArgument with one line for a person: an address that cannot be listened on.
absl::Status CheckCommon(const CommonConfig& config);

// "0" as a bind address, as controller-runtime has it: do not serve.
inline bool IsDisabled(std::string_view address) { return address == "0"; }

// Text on a terminal, JSON otherwise, unless told.
log::Format LogFormat(const CommonConfig& config, bool is_terminal);
log::Level LogLevel(const CommonConfig& config);

// The logger of the program, on standard error, after its first line: version and effective configuration, without
// secrets. A line for each warning of the configuration follows.
log::Logger StartLog(const CommonConfig& config, std::string_view program, const std::vector<config::Option>& options,
                     const std::vector<std::string>& warnings);

}  // namespace clusterpulse::app
