#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "common/base/status.h"
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

// What a program was started with.
template <typename Config>
struct Loaded {
  Config config;
  std::vector<std::string> warnings;
  bool help = false, version = false;  // asked for; `config` is then incomplete
};
// Flags, environment, defaults by the rows of ConfigOptions(config); then `finish` for what must fit together.
// kInvalidArgument with one line for a person.
template <typename Config>
absl::StatusOr<Loaded<Config>> Load(
    std::span<const std::string> args, const config::Environment& environment,
    absl::FunctionRef<absl::Status(const config::Parsed& parsed, Loaded<Config>& loaded)> finish) {
  Loaded<Config> loaded;
  ASSIGN_OR_RETURN(config::Parsed parsed, config::Parse(ConfigOptions(loaded.config), args, environment));
  loaded.help = parsed.help;
  loaded.version = parsed.version;
  if (loaded.help || loaded.version) return loaded;
  loaded.warnings = std::move(parsed.warnings);
  RETURN_IF_ERROR(finish(parsed, loaded));
  return loaded;
}

// "0" as a bind address, as controller-runtime has it: do not serve.
inline bool IsDisabled(std::string_view address) { return address == "0"; }

// Text on a terminal, JSON otherwise, unless told.
log::Format LogFormat(const CommonConfig& config, bool is_terminal);
log::Level LogLevel(const CommonConfig& config);

// The logger of the program, on standard error, after its first line: version and effective configuration, without
// secrets. A line for each warning of the configuration follows. Arms the fail point a test asks for
// (common/base/failpoint.h).
log::Logger StartLog(const CommonConfig& config, std::string_view program, const std::vector<config::Option>& options,
                     const std::vector<std::string>& warnings);

}  // namespace clusterpulse::app
