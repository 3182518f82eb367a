#include <cstdint>
#include <cstdlib>
#include <map>

#include "common/config/options.h"

// Lines of the input become arguments (those with a leading '-') or environment variables. Whatever they hold, parsing
// ends with bounded numbers or one line of refusal.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using clusterpulse::config::Option;
  std::vector<std::string> args;
  std::map<std::string, std::string> variables;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string line(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const auto equals = line.find('=');
    if (!line.starts_with("-") && equals != std::string::npos) {
      variables[line.substr(0, equals)] = line.substr(equals + 1);
    } else {
      args.push_back(line);
    }
  }

  std::string ns = "default", level = "info";
  std::vector<std::string> list;
  int limit = 10;
  bool enabled = false;
  std::chrono::seconds wait{30};
  const std::vector<Option> options = {
      {.flag = "namespace", .env = "namespace", .target = &ns},
      {.flag = "level", .env = "level", .target = &level, .choices = {"info", "warn"}, .unknown_is_default = true},
      {.flag = "list", .env = "REDIS_PORT", .target = &list},
      {.flag = "limit", .env = "limit", .target = &limit, .min = 1, .max = 100},
      {.flag = "enabled", .env = "enabled", .target = &enabled},
      {.flag = "wait", .env = "wait", .target = &wait, .floor = 30, .max = 3600},
  };
  const auto parsed = clusterpulse::config::Parse(options, args, [&](const std::string& name) {
    const auto it = variables.find(name);
    return it == variables.end() ? std::nullopt : std::optional<std::string>(it->second);
  });
  if (parsed.ok()) {
    if (limit < 1 || limit > 100 || wait.count() < 30 || wait.count() > 3600) std::abort();
    if (level != "info" && level != "warn") std::abort();
  } else if (parsed.status().code() != absl::StatusCode::kInvalidArgument) {
    std::abort();
  }
  return 0;
}
