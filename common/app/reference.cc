#include "common/app/reference.h"

#include <fmt/format.h>

namespace clusterpulse::app {

std::string ConfigurationDocument(std::string_view program, const std::vector<config::Option>& options,
                                  std::string_view rules) {
  return fmt::format(
      "# Configuration of {0}\n\n"
      "Made by `{0} configuration-reference`; a test compares it with the program.\n\n"
      "Flags win over the environment, the environment over the defaults. An empty value counts as not given, as does\n"
      "`tcp://...` in a variable that ends in `_PORT` (Kubernetes service links). Variables that are not listed are\n"
      "ignored, flags that are not listed are refused. Numbers below their least value are raised with a warning "
      "where\n"
      "the older releases did so (intervals, lives, timeouts); anything else that cannot be read stops the start with\n"
      "one line that names the setting, its value and what is allowed. Booleans in the environment are `true`, `1`,\n"
      "`yes` and `false`, `0`, `no`; those words in another spelling (`TRUE`, `ON`) are false, with a warning.\n\n"
      "{1}\nRules between settings:\n\n{2}",
      program, config::MarkdownTable(options), rules);
}

std::string MetricsDocument(std::string_view program, const telemetry::Registry& registry, std::string_view about) {
  std::string out = fmt::format(
      "# Metrics of {0}\n\n"
      "Made by `{0} metrics-reference`; a test compares it with the program. Served in Prometheus text\n"
      "format on `/metrics` of `--metrics-bind-address`. {1}\n\n"
      "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n",
      program, about);
  for (const telemetry::Description& metric : registry.Describe()) {
    std::string labels;
    for (const std::string& label : metric.labels) labels += (labels.empty() ? "`" : ", `") + label + "`";
    out +=
        fmt::format("| `{}` | {} | {} | {} |\n", metric.name, metric.type, labels.empty() ? "-" : labels, metric.help);
  }
  return out;
}

}  // namespace clusterpulse::app
