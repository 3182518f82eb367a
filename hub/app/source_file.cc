#include "hub/app/source_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "common/base/status.h"
#include "common/base/utf8.h"
#include "hub/app/yaml.h"

namespace clusterpulse::app {
namespace {

using metricsource::Diagnostic;

constexpr std::size_t kLargestFile = 4 << 20;
// What a message repeats of a word.
constexpr std::size_t kShown = 100;

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

absl::StatusOr<std::vector<json::Value>> ReadDocuments(const std::string& text, const std::string& name) {
  RETURN_IF_ERROR(CheckIsText(text, name));
  auto documents = YamlToJson(text);
  if (documents.ok()) return documents;
  std::string message = fmt::format("{}: {}", name, base::Message(documents.status()));
  const bool is_about_tabs = message.find(" tab ") != std::string::npos;
  const int tabbed = is_about_tabs || text.starts_with('{') ? 0 : TabbedLine(text);  // JSON may have them
  if (tabbed > 0) message += fmt::format(" (line {} is indented by a tab; YAML takes blanks only)", tabbed);
  return absl::Status(documents.status().code(), message);
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
  const json::Value &name = metadata["name"], &own_ns = metadata["namespace"];
  CheckedSource out{.file = place.file,
                    .document = place.document,
                    .ns = std::string(own_ns.StringOr(ns)),
                    .name = std::string(name.StringOr())};
  if (!own_ns.IsNull() && !own_ns.IsString()) {
    out.diagnostics.Error("metadata.namespace", "is no text");
  } else if (out.ns.empty() || !IsDnsName(out.ns)) {
    out.diagnostics.Error("metadata.namespace",
                          fmt::format("\"{}\" is no name of a namespace", out.ns.substr(0, kShown)));
  }
  if (!name.IsNull() && !name.IsString()) {
    out.diagnostics.Error("metadata.name", "is no text");
  } else if (out.name.empty()) {
    out.diagnostics.Error("metadata.name", "is required");
  } else if (!IsDnsName(out.name)) {
    out.diagnostics.Error("metadata.name", fmt::format("\"{}\" is no name of an object: a-z, 0-9, \"-\" and \".\"",
                                                       out.name.substr(0, kShown)));
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

bool IsWarning(const Diagnostic& diagnostic) { return diagnostic.severity == Diagnostic::Severity::kWarning; }

}  // namespace

absl::StatusOr<std::vector<CheckedSource>> CheckSourceFile(const std::string& file, const std::string& ns) {
  const std::string name = file == "-" ? "standard input" : file;
  ASSIGN_OR_RETURN(const std::string text, ReadSourceFile(file, name));
  ASSIGN_OR_RETURN(const std::vector<json::Value> documents, ReadDocuments(text, name));
  if (documents.empty()) return base::InvalidArgument("{}: there is nothing in it", name);
  std::vector<CheckedSource> out;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    RETURN_IF_ERROR(CheckObject({name, text, i, ""}, documents[i], ns, out));
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
