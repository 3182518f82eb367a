#pragma once

#include <cstddef>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "common/json/writer.h"
#include "common/metricsource/diagnostics.h"
#include "common/metricsource/source.h"

namespace clusterpulse::app {

// One MetricSource of a file, compiled as the hub would.
struct CheckedSource {
  std::string file;
  std::size_t document = 0;  // of the file, from 0
  std::string ns, name;
  metricsource::Diagnostics diagnostics;
  std::vector<int> lines;                              // of the file, one for each item of `diagnostics`
  std::shared_ptr<const metricsource::Source> source;  // null: it has errors
};

// The MetricSources of a YAML or JSON file ("-": standard input; at most 4 MiB), also within a List as kubectl writes
// it; objects of other kinds are left alone. `ns`: of those that name none. Fails, with a line for a person that names
// the file, when it cannot be read, is no YAML, or has no MetricSource in it.
absl::StatusOr<std::vector<CheckedSource>> CheckSourceFile(const std::string& file, const std::string& ns);

// A line for each problem: FILE:LINE: spec.computed[2].expression:14: unknown function ...
void PrintProblems(const CheckedSource& checked, std::ostream& out);
// What is known of it, as members of the JSON object that is being written.
void WriteChecked(const CheckedSource& checked, json::Writer& writer);

}  // namespace clusterpulse::app
