#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/json/writer.h"
#include "common/metricsource/diagnostics.h"
#include "common/metricsource/source.h"

namespace clusterpulse::app {

// One MetricSource of a file, judged as an API server would (by the schema of the definition that is compiled in) and
// compiled as the hub would.
struct CheckedSource {
  std::string file;          // "standard input" for "-"
  std::size_t document = 0;  // of the file, from 0
  std::string ns, name;
  metricsource::Diagnostics diagnostics;
  std::vector<int> lines;                              // of the file, one for each item of `diagnostics`
  std::shared_ptr<const metricsource::Source> source;  // null: it has errors
};

// The MetricSources of a YAML or JSON file ("-": standard input; at most 4 MiB), also within a List as kubectl writes
// it; objects of other kinds are left alone. `ns`: of those that name none. Fails, with a line for a person that names
// the file, when it cannot be read, is no text, no YAML, has no MetricSource in it, or an object whose kind is absent
// or a misspelt MetricSource. Blocks for as long as a pipe or a terminal has nothing to read.
absl::StatusOr<std::vector<CheckedSource>> CheckSourceFile(const std::string& file, const std::string& ns);

// Text of a file or a cluster as a terminal may have it: '?' for bytes that are no UTF-8 and characters that steer one.
std::string Printable(std::string_view text);
// "1 row", "2 rows".
std::string Counted(std::int64_t count, std::string_view what);

// A line for each problem: FILE:LINE: spec.computed[2].expression:14: unknown function ...
void PrintProblems(const CheckedSource& checked, std::ostream& out);
// What is known of it, as members of the JSON object that is being written.
void WriteChecked(const CheckedSource& checked, json::Writer& writer);

}  // namespace clusterpulse::app
