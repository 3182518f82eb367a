#include "hub/app/source_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "common/base/status.h"
#include "common/base/utf8.h"
#include "common/kube/label_selector.h"
#include "common/wire/names.h"
#include "hub/app/object_schema.h"
#include "hub/app/yaml.h"

namespace clusterpulse::app {
namespace {

using metricsource::Diagnostic;
using metricsource::Diagnostics;

constexpr std::size_t kLargestFile = 4 << 20;
// What a message repeats of a word.
constexpr std::size_t kShown = 100;
constexpr std::size_t kLongestKey = 320;  // of a label, in a path

// `name` stands in messages. A pipe is waited for: `check <(helm template ...)` reads one.
absl::StatusOr<std::string> ReadSourceFile(const std::string& path, const std::string& name) {
  const bool is_input = path == "-";
  const int fd = is_input ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::string text;
  std::array<char, 16384> block;
  ssize_t got = fd < 0 ? -1 : 1;
  while (got > 0 && text.size() <= kLargestFile) {
    got = ::read(fd, block.data(), block.size());
    if (got > 0) text.append(block.data(), static_cast<std::size_t>(got));
  }
  const int error = errno;
  if (fd >= 0 && !is_input) ::close(fd);
  if (got < 0) return base::InvalidArgument("{}: cannot be read: {}", name, std::generic_category().message(error));
  if (text.size() > kLargestFile) return base::InvalidArgument("{}: larger than {} bytes", name, kLargestFile);
  return text;
}

// YAML would read binary data as far as it looks like something, and then say nothing that helps.
absl::Status CheckIsText(std::string_view text, const std::string& name) {
  const bool is_utf16 = text.starts_with("\xFE\xFF") || text.starts_with("\xFF\xFE");  // which YAML may be
  int line = 1;
  for (std::size_t i = 0; !is_utf16 && i < text.size();) {
    const std::size_t length = base::Utf8SequenceLength(text, i);
    const auto c = static_cast<unsigned char>(text[i]);
    if (length == 0 || (c < 0x20 && c != '\t' && c != '\n' && c != '\r')) {
      return base::InvalidArgument("{}:{}: is no text: byte 0x{:02X}", name, line, c);
    }
    line += c == '\n' ? 1 : 0;
    i += length;
  }
  return absl::OkStatus();
}

// The first line that is indented by a tab, from 1; 0: none. YAML often complains about something else then.
int TabbedLine(std::string_view text) {
  int line = 1;
  for (std::size_t at = 0; at < text.size(); ++line) {
    const std::size_t first = text.find_first_not_of(' ', at);
    if (first != std::string_view::npos && text[first] == '\t') return line;
    const std::size_t end = text.find('\n', at);
    if (end == std::string_view::npos) break;
    at = end + 1;
  }
  return 0;
}

absl::StatusOr<YamlText> ReadYaml(const std::string& text, const std::string& name) {
  RETURN_IF_ERROR(CheckIsText(text, name));
  auto yaml = YamlText::Parse(text);
  if (yaml.ok()) return yaml;
  std::string message = fmt::format("{}: {}", name, base::Message(yaml.status()));
  const bool is_about_tabs = message.find(" tab ") != std::string::npos;
  const int tabbed = is_about_tabs || text.starts_with('{') ? 0 : TabbedLine(text);  // JSON may have them
  if (tabbed > 0) message += fmt::format(" (line {} is indented by a tab; YAML takes blanks only)", tabbed);
  return absl::Status(yaml.status().code(), message);
}

struct Schemas {
  json::Value metadata, spec;
};

// A file that is read, and which of its objects is looked at.
struct Place {
  const std::string& file;
  const YamlText& text;
  const Schemas& schemas;
  std::size_t document;
  std::string prefix;  // of paths in the document: "items[2]." in a List

  int Line(std::string_view path) const { return text.Line(document, prefix + std::string(path)); }
  std::optional<std::string> Unquoted(std::string_view path) const {
    return text.Unquoted(document, prefix + std::string(path));
  }
};

bool IsWarning(const Diagnostic& diagnostic) { return diagnostic.severity == Diagnostic::Severity::kWarning; }

void CheckMetadata(const json::Value& metadata, const CheckedSource& checked, Diagnostics& diagnostics) {
  const json::Value &name = metadata["name"], &ns = metadata["namespace"];
  if (!ns.IsNull() && !ns.IsString()) {
    diagnostics.Error("metadata.namespace", "is no text");
  } else if (!wire::IsDnsLabel(checked.ns)) {
    diagnostics.Error("metadata.namespace",
                      fmt::format("\"{}\" is no name of a namespace", checked.ns.substr(0, kShown)));
  }
  if (!name.IsNull() && !name.IsString()) {
    diagnostics.Error("metadata.name", "is no text");
  } else if (checked.name.empty()) {
    diagnostics.Error("metadata.name", "is required");
  } else if (!wire::IsDnsSubdomain(checked.name)) {
    diagnostics.Error("metadata.name", fmt::format("\"{}\" is no name of an object: a-z, 0-9, \"-\" and \".\"",
                                                   checked.name.substr(0, kShown)));
  }
  json::Value labels;
  labels.Mutable("matchLabels") = metadata["labels"];
  std::vector<kube::LabelSelector::Problem> problems;
  if (metadata["labels"].IsObject()) (void)kube::LabelSelector::Read(labels, problems);  // only what is wrong with them
  for (const auto& problem : problems) {
    const std::string path = problem.path.substr(std::string_view("matchLabels").size());
    diagnostics.Error("metadata.labels" + base::CutUtf8(path, kLongestKey),
                      base::Shortened(problem.message, kLongestKey));
  }
}

// What the compiler found and what a server would refuse, each member once: the compiler says it better, but what it
// only warns of and a server refuses is an error.
Diagnostics Together(const Diagnostics& compiled, const Diagnostics& refused, const Place& place) {
  std::set<std::string, std::less<>> found, refused_paths, texts, told_texts;
  for (const Diagnostic& one : compiled.items()) {
    if (!IsWarning(one)) found.insert(one.path);
  }
  for (const Diagnostic& one : refused.items()) {
    refused_paths.insert(one.path);
    if (one.message.ends_with(kIsNoText)) texts.insert(one.path);
  }
  // What YAML took for something else although a text is meant.
  const auto told = [&](const Diagnostic& one) {
    const auto word = texts.contains(one.path) ? place.Unquoted(one.path) : std::nullopt;
    return one.message + (word ? fmt::format(": quote it (\"{}\")", base::CutUtf8(*word, kShown)) : "");
  };
  // An error of a list is that of its items; one below a member that is absent is that of the member.
  const auto is_found = [&](const Diagnostic& one) {
    const std::string& path = one.path;
    if (found.contains(path)) return true;
    if (path.ends_with(']') && found.contains(path.substr(0, path.rfind('[')))) return true;
    const auto below = found.lower_bound(path + ".");
    return one.message == kIsRequired && below != found.end() && below->starts_with(path + ".");
  };
  Diagnostics out;
  if (compiled.left_out() > 0) {
    out = compiled;  // it counts what it does not name
  } else {
    for (const Diagnostic& one : compiled.items()) {
      if (!IsWarning(one)) {
        // What is no text was read as an empty one, of which there is nothing to say.
        if (texts.contains(one.path) && !told_texts.insert(one.path).second) continue;
        out.ErrorAt(one.path, one.column, told(one), one.suggestion);
      } else if (!refused_paths.contains(one.path)) {
        out.WarningAt(one.path, one.column, one.message, one.suggestion);
      }
    }
  }
  for (const Diagnostic& one : refused.items()) {
    if (!is_found(one)) out.Error(one.path, told(one), one.suggestion);
  }
  return out;
}

CheckedSource Check(const Place& place, const json::Value& object, const std::string& ns) {
  const json::Value &metadata = object["metadata"], &enabled = object["spec"]["enabled"];
  CheckedSource out{.file = place.file,
                    .document = place.document,
                    .ns = std::string(metadata["namespace"].StringOr(ns)),
                    .name = std::string(metadata["name"].StringOr())};
  Diagnostics compiled, refused;
  CheckMetadata(metadata, out, compiled);
  if (!enabled.IsNull() && !enabled.IsBool()) compiled.Error("spec.enabled", "is neither true nor false");
  metricsource::Spec spec = metricsource::ReadSpec(object["spec"], compiled);
  metricsource::ReadClusterSelector(object["spec"]["clusters"], compiled);
  out.source = metricsource::Compile(out.ns, out.name, std::move(spec), compiled);
  ValidateBySchema(place.schemas.metadata, metadata, "metadata", refused);
  ValidateBySchema(place.schemas.spec, object["spec"], "spec", refused);
  out.diagnostics = Together(compiled, refused, place);
  if (out.diagnostics.has_errors()) out.source = nullptr;
  for (const Diagnostic& diagnostic : out.diagnostics.items()) out.lines.push_back(place.Line(diagnostic.path));
  return out;
}

// Adds the object if it is a MetricSource, or those that it holds.
absl::Status CheckObject(const Place& place, const json::Value& object, const std::string& ns,
                         std::vector<CheckedSource>& out) {
  const std::string_view kind = object["kind"].StringOr();
  if (place.prefix.empty() && (kind == "List" || kind == "MetricSourceList")) {
    std::size_t index = 0;
    for (const json::Value& item : object["items"].items()) {
      Place at{place.file, place.text, place.schemas, place.document, fmt::format("items[{}].", index++)};
      RETURN_IF_ERROR(CheckObject(at, item, ns, out));
    }
    return absl::OkStatus();
  }
  if (kind.empty()) return base::InvalidArgument("{}:{}: an object without a kind", place.file, place.Line("kind"));
  if (kind != "MetricSource") {
    constexpr std::array<std::string_view, 1> kMeant = {"MetricSource"};
    const bool is_ours = object["apiVersion"].StringOr().starts_with("clusterpulse.io/");
    if (!is_ours || metricsource::Nearest(kind, kMeant).empty()) return absl::OkStatus();
    return base::InvalidArgument("{}:{}: unknown kind \"{}\", did you mean \"MetricSource\"?", place.file,
                                 place.Line("kind"), kind);
  }
  if (object["apiVersion"].StringOr() != "clusterpulse.io/v1alpha1") {
    return base::InvalidArgument("{}:{}: apiVersion of a MetricSource is clusterpulse.io/v1alpha1", place.file,
                                 place.Line("apiVersion"));
  }
  out.push_back(Check(place, object, ns));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<CheckedSource>> CheckSourceFile(const std::string& file, const std::string& ns) {
  const std::string name = file == "-" ? "standard input" : file;
  ASSIGN_OR_RETURN(const std::string text, ReadSourceFile(file, name));
  ASSIGN_OR_RETURN(const YamlText yaml, ReadYaml(text, name));
  const std::vector<json::Value>& documents = yaml.documents();
  if (documents.empty()) return base::InvalidArgument("{}: there is nothing in it", name);
  Schemas schemas{.metadata = MetadataSchema(), .spec = {}};
  ASSIGN_OR_RETURN(schemas.spec, EmbeddedSpecSchema("MetricSource"));
  std::vector<CheckedSource> out;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    RETURN_IF_ERROR(CheckObject({name, yaml, schemas, i, ""}, documents[i], ns, out));
  }
  if (out.empty()) {
    return base::InvalidArgument("{}: there is no MetricSource in it; what comes first is a {}", name,
                                 documents[0]["kind"].StringOr().substr(0, kShown));
  }
  return out;
}

std::string Printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = base::Utf8SequenceLength(text, i);
    const auto c = static_cast<unsigned char>(text[i]);
    const bool is_control = c < 0x20 || c == 0x7F || (c == 0xC2 && length == 2 && text[i + 1] < '\xA0');
    out += length == 0 || is_control ? std::string_view("?") : text.substr(i, length);
    i += std::max<std::size_t>(length, 1);
  }
  return out;
}

std::string Counted(std::int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

void PrintProblems(const CheckedSource& checked, std::ostream& out) {
  for (std::size_t i = 0; i < checked.lines.size(); ++i) {
    const Diagnostic& diagnostic = checked.diagnostics.items()[i];
    out << Printable(fmt::format("{}:{}: {}{}", checked.file, checked.lines[i],
                                 IsWarning(diagnostic) ? "warning: " : "", diagnostic.ToString()))
        << '\n';
  }
  if (checked.diagnostics.left_out() > 0) {
    out << Printable(checked.file) << fmt::format(": {} more problems\n", checked.diagnostics.left_out());
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
