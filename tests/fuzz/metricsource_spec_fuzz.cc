// The spec of a MetricSource, any JSON, as lines (json_lines.h): either it compiles, to a source that its definition
// gives again, or what is wrong with it is said. Then the rest without it compiles, too.
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "common/metricsource/diagnostics.h"
#include "common/metricsource/source.h"
#include "common/metricsource/spec.h"
#include "common/model/labels.h"
#include "tests/fuzz/json_lines.h"
#include "tests/fuzz/metricsource_checks.h"

using namespace clusterpulse;
using clusterpulse::fuzz::Require;

namespace {

using metricsource::Diagnostic;
using metricsource::Diagnostics;
using metricsource::Source;
using metricsource::Spec;

std::shared_ptr<const Source> Compile(const Spec& spec, Diagnostics& diagnostics) {
  const bool was_wrong = diagnostics.has_errors();
  auto source = metricsource::Compile("hub", "queues", spec, diagnostics);
  fuzz::CheckDiagnostics(diagnostics);
  Require((source == nullptr) == diagnostics.has_errors() && (!was_wrong || source == nullptr));
  if (source != nullptr) Require(source->spec == spec);
  return source;
}

// Takes the item that `path` leads to ("spec.fields[2].type") out of its list.
template <typename Item>
bool TakeOut(std::string_view path, std::string_view list, std::vector<Item>& items) {
  if (!path.starts_with(list)) return false;
  path.remove_prefix(list.size());
  std::size_t index = items.size();
  std::from_chars(path.data(), path.data() + path.size(), index);
  Require(index < items.size());
  items.erase(items.begin() + static_cast<std::ptrdiff_t>(index));
  return true;
}

// Takes out what is wrong: the last item of each list that is, or the target.
void Mend(const Diagnostics& diagnostics, Spec& spec) {
  bool fields = false, computed = false, aggregations = false;
  for (auto item = diagnostics.items().rbegin(); item != diagnostics.items().rend(); ++item) {
    if (item->severity != Diagnostic::Severity::kError) continue;
    if (item->path.starts_with("spec.source")) spec.target = {.api_version = "v1", .kind = "Pod"};
    fields = fields || TakeOut(item->path, "spec.fields[", spec.fields);
    computed = computed || TakeOut(item->path, "spec.computed[", spec.computed);
    aggregations = aggregations || TakeOut(item->path, "spec.aggregations[", spec.aggregations);
  }
  if (spec.fields.empty()) spec.fields.push_back({.name = "depth", .path = ".status.depth", .type = "integer"});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const json::Value json = fuzz::ReadLines({reinterpret_cast<const char*>(data), size});
  Diagnostics diagnostics;
  const auto clusters = metricsource::ReadClusterSelector(json["clusters"], diagnostics);
  (void)clusters.Matches("edge-1", model::Labels());
  Spec spec = metricsource::ReadSpec(json, diagnostics);
  auto source = Compile(spec, diagnostics);
  for (int round = 0; source == nullptr && round < 3; ++round) {
    Mend(diagnostics, spec);
    diagnostics = {};
    source = Compile(spec, diagnostics);
  }
  if (source != nullptr) fuzz::CheckSource(*source);
  return 0;
}
