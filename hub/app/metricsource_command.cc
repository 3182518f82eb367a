#include "hub/app/metricsource_command.h"

#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "common/base/status.h"
#include "common/config/options.h"
#include "common/json/writer.h"
#include "common/metricsource/source.h"
#include "hub/app/yaml.h"

namespace clusterpulse::app {
namespace {

using metricsource::Diagnostic;
using metricsource::Diagnostics;
using metricsource::Source;

constexpr int kFailed = 1, kRefused = 2;
constexpr std::string_view kUsage = "metricsource check FILE... [flags]";
constexpr std::streamoff kLargestFile = 4 << 20;

struct Options {
  std::string ns = "clusterpulse";
  std::string output = "text";

  std::vector<config::Option> CheckTable() {
    return {{.flag = "namespace",
             .env = "NAMESPACE",
             .target = &ns,
             .help = "namespace of sources that name none",
             .alias = "n"},
            {.flag = "output",
             .target = &output,
             .help = "form of the answer: text (problems on stderr) or json (everything on stdout)",
             .alias = "o",
             .choices = {"text", "json"}}};
  }
};

int Fail(Process& process, const absl::Status& status, int code) {
  process.err << "clusterpulse-hub: " << base::Message(status) << std::endl;
  return code;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ostringstream text;
  if (path == "-") {
    text << std::cin.rdbuf();
    return std::move(text).str();
  }
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return base::MakeStatus(absl::StatusCode::kNotFound, "{}: cannot be read", path);
  if (file.tellg() > kLargestFile) return base::InvalidArgument("{}: larger than {} bytes", path, kLargestFile);
  file.seekg(0);
  text << file.rdbuf();
  if (file.bad()) return base::MakeStatus(absl::StatusCode::kDataLoss, "{}: cannot be read to its end", path);
  return std::move(text).str();
}

// One MetricSource of a file.
struct Checked {
  std::string file;
  std::size_t document = 0;
  std::string ns, name;
  Diagnostics diagnostics;
  std::shared_ptr<const Source> source;  // null: it has errors
  std::vector<int> lines;                // of the diagnostics
};

Checked Check(const std::string& file, const std::string& text, std::size_t document, const json::Value& object,
              const Options& options) {
  const json::Value& metadata = object["metadata"];
  Checked out{.file = file,
              .document = document,
              .ns = std::string(metadata["namespace"].StringOr(options.ns)),
              .name = std::string(metadata["name"].StringOr())};
  if (out.name.empty()) out.diagnostics.Error("metadata.name", "is required");
  metricsource::Spec spec = metricsource::ReadSpec(object["spec"], out.diagnostics);
  metricsource::ReadClusterSelector(object["spec"]["clusters"], out.diagnostics);
  out.source = metricsource::Compile(out.ns, out.name, std::move(spec), out.diagnostics);
  for (const Diagnostic& diagnostic : out.diagnostics.items()) {
    out.lines.push_back(YamlLine(text, document, diagnostic.path));
  }
  return out;
}

// The MetricSources of a file; other objects are left alone.
absl::StatusOr<std::vector<Checked>> CheckFile(const std::string& file, const Options& options) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  ASSIGN_OR_RETURN(const std::vector<json::Value> documents, YamlToJson(text), file);
  std::vector<Checked> out;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    if (documents[i]["kind"].StringOr() != "MetricSource") continue;
    if (documents[i]["apiVersion"].StringOr() != "clusterpulse.io/v1alpha1") {
      return base::InvalidArgument("{}:{}: apiVersion of a MetricSource is clusterpulse.io/v1alpha1", file,
                                   YamlLine(text, i, "apiVersion"));
    }
    out.push_back(Check(file, text, i, documents[i], options));
  }
  if (out.empty()) return base::InvalidArgument("{}: there is no MetricSource in it", file);
  return out;
}

void PrintText(const std::vector<Checked>& sources, Process& process) {
  for (const Checked& checked : sources) {
    for (std::size_t i = 0; i < checked.lines.size(); ++i) {
      const Diagnostic& diagnostic = checked.diagnostics.items()[i];
      process.err << fmt::format("{}:{}: {}{}\n", checked.file, checked.lines[i],
                                 diagnostic.severity == Diagnostic::Severity::kWarning ? "warning: " : "",
                                 diagnostic.ToString());
    }
    if (checked.diagnostics.left_out() > 0) {
      process.err << fmt::format("{}: {} more problems\n", checked.file, checked.diagnostics.left_out());
    }
    if (checked.source == nullptr) {
      process.out << fmt::format("{}: {}/{}: {} errors\n", checked.file, checked.ns, checked.name,
                                 checked.diagnostics.errors());
    } else {
      const Source& source = *checked.source;
      process.out << fmt::format("{}: {}: ok, {} fields, {} computed, {} aggregations, hash {}\n", checked.file,
                                 source.id, source.spec.fields.size(), source.spec.computed.size(),
                                 source.aggregations.size(), source.hash);
    }
  }
  process.err.flush();
  process.out.flush();
}

void PrintJson(const std::vector<Checked>& sources, Process& process) {
  std::string text;
  json::Writer writer(text);
  writer.BeginObject().Key("sources").BeginArray();
  for (const Checked& checked : sources) {
    writer.BeginObject().Member("file", checked.file).Member("document", static_cast<std::int64_t>(checked.document));
    writer.Member("namespace", checked.ns).Member("name", checked.name).Member("valid", checked.source != nullptr);
    if (checked.source != nullptr) writer.Member("hash", checked.source->hash);
    writer.Key("diagnostics").BeginArray();
    for (std::size_t i = 0; i < checked.lines.size(); ++i) {
      const Diagnostic& diagnostic = checked.diagnostics.items()[i];
      writer.BeginObject();
      writer.Member("severity", diagnostic.severity == Diagnostic::Severity::kWarning ? "warning" : "error");
      writer.Member("path", diagnostic.path).Member("line", checked.lines[i]).Member("column", diagnostic.column);
      writer.Member("message", diagnostic.message);
      if (!diagnostic.suggestion.empty()) writer.Member("suggestion", diagnostic.suggestion);
      writer.EndObject();
    }
    writer.EndArray();
    if (checked.diagnostics.left_out() > 0) {
      writer.Member("leftOut", static_cast<std::int64_t>(checked.diagnostics.left_out()));
    }
    writer.EndObject();
  }
  writer.EndArray().EndObject();
  process.out << text << std::endl;
}

int CheckCommand(std::span<const std::string> args, Process& process) {
  Options options;
  std::vector<std::string> files;
  const auto parsed = config::Parse(options.CheckTable(), args, process.environment, &files);
  if (!parsed.ok()) return Fail(process, parsed.status(), kRefused);
  if (parsed->help) {
    Options defaults;
    process.out
        << "Usage: clusterpulse-hub " << kUsage
        << "\n\nCompiles the MetricSources in YAML or JSON files (- is standard input) and says everything that is "
           "wrong with them.\nNo cluster is needed. Exit code 0: all are valid; 1: one is not.\n\nFlags "
           "[environment variable]:\n"
        << config::HelpText(defaults.CheckTable());
    return 0;
  }
  if (files.empty()) return Fail(process, base::InvalidArgument("usage: clusterpulse-hub {}", kUsage), kRefused);
  std::vector<Checked> sources;
  bool is_valid = true;
  for (const std::string& file : files) {
    auto checked = CheckFile(file, options);
    if (!checked.ok()) {
      Fail(process, checked.status(), kFailed);
      is_valid = false;
      continue;
    }
    for (Checked& one : *checked) {
      is_valid &= one.source != nullptr;
      sources.push_back(std::move(one));
    }
  }
  options.output == "json" ? PrintJson(sources, process) : PrintText(sources, process);
  return is_valid ? 0 : kFailed;
}

}  // namespace

int MetricSourceCommand(std::span<const std::string> args, Process& process) {
  if (!args.empty() && args[0] == "check") return CheckCommand(args.subspan(1), process);
  if (!args.empty() && (args[0] == "--help" || args[0] == "-h")) {
    process.out << "Usage: clusterpulse-hub " << kUsage << std::endl;
    return 0;
  }
  return Fail(process, base::InvalidArgument("usage: clusterpulse-hub {}", kUsage), kRefused);
}

}  // namespace clusterpulse::app
