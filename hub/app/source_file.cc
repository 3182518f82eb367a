#include "hub/app/source_file.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"
#include "hub/app/yaml.h"

namespace clusterpulse::app {
namespace {

using metricsource::Diagnostic;

constexpr std::size_t kLargestFile = 4 << 20;

absl::StatusOr<std::string> ReadSourceFile(const std::string& path) {
  std::ifstream file;
  if (path != "-") file.open(path, std::ios::binary);
  if (!file) return base::MakeStatus(absl::StatusCode::kNotFound, "{}: cannot be read", path);
  std::istream& in = path == "-" ? std::cin : file;
  std::string text(kLargestFile + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) return base::MakeStatus(absl::StatusCode::kDataLoss, "{}: cannot be read", path);
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kLargestFile) return base::InvalidArgument("{}: larger than {} bytes", path, kLargestFile);
  return text;
}

bool IsDnsName(std::string_view name) {
  const auto is_inner = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'; };
  const auto is_end = [](char c) { return c != '-' && c != '.'; };
  return name.size() <= 253 && std::all_of(name.begin(), name.end(), is_inner) && is_end(name.front()) &&
         is_end(name.back());
}

// A file as text, and which of its objects is looked at.
struct Place {
  const std::string& file;
  const std::string& text;
  std::size_t document;
  std::string prefix;  // of paths in the document: "items[2]." in a List

  int Line(std::string_view path) const { return YamlLine(text, document, prefix + std::string(path)); }
};

CheckedSource Check(const Place& place, const json::Value& object, const std::string& ns) {
  const json::Value &metadata = object["metadata"], &enabled = object["spec"]["enabled"];
  CheckedSource out{.file = place.file,
                    .document = place.document,
                    .ns = std::string(metadata["namespace"].StringOr(ns)),
                    .name = std::string(metadata["name"].StringOr())};
  if (out.name.empty()) {
    out.diagnostics.Error("metadata.name", "is required");
  } else if (!IsDnsName(out.name)) {
    out.diagnostics.Error("metadata.name",
                          fmt::format("\"{}\" is no name of an object: a-z, 0-9, \"-\" and \".\"", out.name));
  }
  if (!enabled.IsNull() && !enabled.IsBool()) out.diagnostics.Error("spec.enabled", "is neither true nor false");
  metricsource::Spec spec = metricsource::ReadSpec(object["spec"], out.diagnostics);
  metricsource::ReadClusterSelector(object["spec"]["clusters"], out.diagnostics);
  out.source = metricsource::Compile(out.ns, out.name, std::move(spec), out.diagnostics);
  for (const Diagnostic& diagnostic : out.diagnostics.items()) {
    out.lines.push_back(place.Line(diagnostic.path));
  }
  return out;
}

// Adds the object if it is a MetricSource, or those that it holds.
absl::Status CheckObject(const Place& place, const json::Value& object, const std::string& ns,
                         std::vector<CheckedSource>& out) {
  const std::string_view kind = object["kind"].StringOr();
  if (place.prefix.empty() && (kind == "List" || kind == "MetricSourceList")) {
    std::size_t index = 0;
    for (const json::Value& item : object["items"].items()) {
      Place at{place.file, place.text, place.document, fmt::format("items[{}].", index++)};
      RETURN_IF_ERROR(CheckObject(at, item, ns, out));
    }
    return absl::OkStatus();
  }
  if (kind != "MetricSource") return absl::OkStatus();
  if (object["apiVersion"].StringOr() != "clusterpulse.io/v1alpha1") {
    return base::InvalidArgument("{}:{}: apiVersion of a MetricSource is clusterpulse.io/v1alpha1", place.file,
                                 place.Line("apiVersion"));
  }
  out.push_back(Check(place, object, ns));
  return absl::OkStatus();
}

bool IsWarning(const Diagnostic& diagnostic) { return diagnostic.severity == Diagnostic::Severity::kWarning; }

}  // namespace

absl::StatusOr<std::vector<CheckedSource>> CheckSourceFile(const std::string& file, const std::string& ns) {
  ASSIGN_OR_RETURN(const std::string text, ReadSourceFile(file));
  ASSIGN_OR_RETURN(const std::vector<json::Value> documents, YamlToJson(text), file);
  std::vector<CheckedSource> out;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    RETURN_IF_ERROR(CheckObject({file, text, i, ""}, documents[i], ns, out));
  }
  if (out.empty()) return base::InvalidArgument("{}: there is no MetricSource in it", file);
  return out;
}

void PrintProblems(const CheckedSource& checked, std::ostream& out) {
  for (std::size_t i = 0; i < checked.lines.size(); ++i) {
    const Diagnostic& diagnostic = checked.diagnostics.items()[i];
    out << fmt::format("{}:{}: {}{}\n", checked.file, checked.lines[i], IsWarning(diagnostic) ? "warning: " : "",
                       diagnostic.ToString());
  }
  if (checked.diagnostics.left_out() > 0) {
    out << fmt::format("{}: {} more problems\n", checked.file, checked.diagnostics.left_out());
  }
  out.flush();
}

void WriteChecked(const CheckedSource& checked, json::Writer& writer) {
  writer.Member("file", checked.file).Member("document", static_cast<std::int64_t>(checked.document));
  writer.Member("namespace", checked.ns).Member("name", checked.name).Member("valid", checked.source != nullptr);
  if (checked.source != nullptr) writer.Member("hash", checked.source->hash);
  writer.Key("diagnostics").BeginArray();
  for (std::size_t i = 0; i < checked.lines.size(); ++i) {
    const Diagnostic& diagnostic = checked.diagnostics.items()[i];
    writer.BeginObject();
    writer.Member("severity", IsWarning(diagnostic) ? "warning" : "error");
    writer.Member("path", diagnostic.path).Member("line", checked.lines[i]).Member("column", diagnostic.column);
    writer.Member("message", diagnostic.message);
    if (!diagnostic.suggestion.empty()) writer.Member("suggestion", diagnostic.suggestion);
    writer.EndObject();
  }
  writer.EndArray();
  if (checked.diagnostics.left_out() > 0) {
    writer.Member("leftOut", static_cast<std::int64_t>(checked.diagnostics.left_out()));
  }
}

}  // namespace clusterpulse::app
