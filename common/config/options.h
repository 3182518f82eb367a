#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <absl/status/statusor.h>

namespace clusterpulse::config {

// Where a setting goes. What the target holds before parsing is the default.
using Target = std::variant<std::string*, std::vector<std::string>*, int*, bool*, std::chrono::seconds*>;

// One setting: a row of the program's table. Flags win over the environment, the environment over the default.
struct Option {
  std::string flag;   // "redis-host": given as --redis-host; empty: environment only (secrets: flags show in `ps`)
  std::string env;    // "REDIS_HOST"; empty: flag only
  Target target;      // borrowed; must outlive the option
  std::string help;   // one line, including when to change it
  std::string unit;   // "s"; empty: none
  std::string alias;  // a second flag: "o" for -o

  // Numbers and seconds. Below `floor`: raised to it (or to `raised_to`), with a warning. Outside [min, max]: refused.
  std::optional<std::int64_t> floor, raised_to;
  std::int64_t min = 0;
  std::int64_t max = std::numeric_limits<int>::max();

  // Words. Empty: any text.
  std::vector<std::string> choices;
  bool any_case = false;            // compared without case; stored in lower case
  bool unknown_is_default = false;  // another word gives the default with a warning, instead of being refused

  bool secret = false;       // the value is never printed
  std::string default_text;  // what help says instead of the target's value, when an empty one has a meaning
};

// Reads one environment variable; nullopt when unset. Tests pass their own.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment ProcessEnvironment();

struct Parsed {
  std::vector<std::string> warnings;  // complete lines, without secrets
  std::vector<std::string> set;       // flag (or variable, for options without one) of every option that was given
  bool help = false;                  // --help, -h: the options may be incomplete
  bool version = false;               // --version

  bool IsSet(std::string_view name) const;
};

// Fills the targets. Flags as Go accepts them: --x=y, --x y, -x y; booleans --x and --x=false; `--` ends the flags.
// Booleans in the environment: true, 1, yes; false, 0, no; those words (and on, off) in another spelling are false,
// with a warning. An empty value counts as not given, as does tcp://... in a variable that ends in _PORT (Kubernetes
// service links). Lists are separated by commas. Environment variables without a row are not looked at. Errors:
// kInvalidArgument with one line that names the setting, its value and what is allowed; unknown flags name the nearest
// one. Arguments that are no flags go to `operands`; without it they are refused.
absl::StatusOr<Parsed> Parse(const std::vector<Option>& options, std::span<const std::string> args,
                             const Environment& environment, std::vector<std::string>* operands = nullptr);

// What --help prints of the table. REQUIRES: the targets hold their defaults.
std::string HelpText(const std::vector<Option>& options);
// The same as a markdown table. REQUIRES: the targets hold their defaults.
std::string MarkdownTable(const std::vector<Option>& options);
// Name and present value of every option, for the first log line. A secret shows as "(set)" or "".
std::vector<std::pair<std::string, std::string>> Effective(const std::vector<Option>& options);

}  // namespace clusterpulse::config
