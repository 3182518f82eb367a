#include "hub/app/metricsource_command.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "common/base/random.h"
#include "common/base/status.h"
#include "common/config/options.h"
#include "common/json/writer.h"
#include "common/kube/discovery.h"
#include "common/metricsource/collect.h"
#include "hub/app/source_file.h"
#include "hub/app/source_trial.h"

namespace clusterpulse::app {
namespace {

using metricsource::Collection;
using metricsource::Source;
using Args = std::span<const std::string>;

constexpr int kFailed = 1, kRefused = 2;
constexpr std::string_view kUsage = "metricsource check|try FILE... [flags]";
constexpr std::string_view kCheckUsage = "metricsource check FILE... [flags]";
constexpr std::string_view kTryUsage = "metricsource try FILE... [flags]";
constexpr const char* kDefaultNamespace = "clusterpulse";
constexpr std::size_t kShownRows = 50;

struct CheckOptions {
  std::string ns = kDefaultNamespace;
  std::string output = "text";

  std::vector<config::Option> Table() {
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

struct TryOptions {
  std::string kubeconfig, context, ns;
  int limit = 0;
  std::string output = "table";

  std::vector<config::Option> Table() {
    return {{.flag = "kubeconfig",
             .target = &kubeconfig,
             .help = "kubeconfig of the cluster to run on",
             .default_text = "files of KUBECONFIG, else the pod's service account, else ~/.kube/config"},
            {.flag = "context",
             .target = &context,
             .help = "context of the kubeconfig",
             .default_text = "its current context"},
            {.flag = "namespace",
             .target = &ns,
             .help = "look at this namespace only",
             .alias = "n",
             .default_text = "those of the source"},
            {.flag = "limit",
             .target = &limit,
             .help = "take at most so many objects, and show them all",
             .min = 1,
             .default_text = "maxResources of the source; 50 of them are shown"},
            {.flag = "output",
             .target = &output,
             .help = "form of the answer: table (problems on stderr) or json (everything on stdout)",
             .alias = "o",
             .choices = {"table", "json"}}};
  }
};

int Fail(Process& process, const absl::Status& status, int code) {
  process.err << "clusterpulse-hub: " << base::Message(status) << std::endl;
  return code;
}

int FailUsage(Process& process, std::string_view usage) {
  return Fail(process, base::InvalidArgument("usage: clusterpulse-hub {}", usage), kRefused);
}

// Flags and files of a subcommand; an exit code: there is nothing left to do.
template <typename Options>
std::optional<int> ParseArgs(Args args, Process& process, std::string_view usage, std::string_view about,
                             Options& options, std::vector<std::string>& files) {
  const auto parsed = config::Parse(options.Table(), args, process.environment, &files);
  if (!parsed.ok()) return Fail(process, parsed.status(), kRefused);
  if (parsed->help) {
    Options defaults;
    process.out << "Usage: clusterpulse-hub " << usage << "\n\n"
                << about << "\n\nFlags [environment variable]:\n"
                << config::HelpText(defaults.Table());
    return 0;
  }
  if (files.empty()) return FailUsage(process, usage);
  return std::nullopt;
}

// The sources of all files; those of files that can be used when `ok` turns false.
std::vector<CheckedSource> ReadFiles(const std::vector<std::string>& files, const std::string& ns, Process& process,
                                     bool& ok) {
  std::vector<CheckedSource> sources;
  for (const std::string& file : files) {
    auto checked = CheckSourceFile(file, ns);
    if (!checked.ok()) {
      Fail(process, checked.status(), kFailed);
      ok = false;
      continue;
    }
    for (CheckedSource& one : *checked) {
      ok &= one.source != nullptr;
      sources.push_back(std::move(one));
    }
  }
  return sources;
}

// {"sources":[...]}; `write` gives the members of source i.
template <typename F>
void PrintJson(std::size_t count, Process& process, F write) {
  std::string text;
  json::Writer writer(text);
  writer.BeginObject().Key("sources").BeginArray();
  for (std::size_t i = 0; i < count; ++i) {
    writer.BeginObject();
    write(i, writer);
    writer.EndObject();
  }
  writer.EndArray().EndObject();
  process.out << text << std::endl;
}

void PrintChecked(const std::vector<CheckedSource>& sources, bool as_json, Process& process) {
  if (as_json) {
    PrintJson(sources.size(), process, [&](std::size_t i, json::Writer& writer) { WriteChecked(sources[i], writer); });
    return;
  }
  for (const CheckedSource& checked : sources) {
    PrintProblems(checked, process.err);
    if (checked.source == nullptr) {
      process.out << fmt::format("{}: {}/{}: {} error{}\n", checked.file, checked.ns, checked.name,
                                 checked.diagnostics.errors(), checked.diagnostics.errors() == 1 ? "" : "s");
    } else {
      const Source& source = *checked.source;
      process.out << fmt::format("{}: {}: ok, {} fields, {} computed, {} aggregations, hash {}\n", checked.file,
                                 source.id, source.spec.fields.size(), source.spec.computed.size(),
                                 source.aggregations.size(), source.hash);
    }
  }
  process.out.flush();
}

int CheckCommand(Args args, Process& process) {
  CheckOptions options;
  std::vector<std::string> files;
  const auto done =
      ParseArgs(args, process, kCheckUsage,
                "Compiles the MetricSources in YAML or JSON files (- is standard input) and says everything that is "
                "wrong with them.\nNo cluster is needed. Exit code 0: all are valid; 1: one is not.",
                options, files);
  if (done) return *done;
  bool ok = true;
  const std::vector<CheckedSource> sources = ReadFiles(files, options.ns, process, ok);
  PrintChecked(sources, options.output == "json", process);
  return ok ? 0 : kFailed;
}

// Says what a reader of the rows has to know about the run; false when a list failed.
bool Report(const Source& source, const Collection& run, const TryOptions& options, Process& process) {
  if (!run.failure.empty()) {
    process.err << fmt::format("clusterpulse-hub: {}: {}: {}", source.id, run.failure, run.message) << std::endl;
    return false;
  }
  for (const std::string& error : run.errors) {
    process.err << fmt::format("clusterpulse-hub: {}: {}", source.id, error) << std::endl;
  }
  if (!options.ns.empty() && !metricsource::TakesNamespace(source, options.ns)) {
    process.err << fmt::format("warning: {} does not take the namespace {}: spec.source.namespaces", source.id,
                               options.ns)
                << std::endl;
  }
  return run.errors.empty();
}

Collection RunOn(const Source& source, kube::KubeApi& api, kube::Discovery& discovery, const TryOptions& options,
                 Process& process, std::stop_token stop) {
  TrialProgress progress(source.id, {.print = [&](const std::string& line) { process.err << line << std::endl; }});
  metricsource::CollectOptions how{.stop = std::move(stop)};
  if (!options.ns.empty()) how.ns = options.ns;
  if (options.limit > 0) how.limit = options.limit;
  how.on_page = [&](const metricsource::CollectOptions::Progress& work) { progress.Update(work); };
  return metricsource::Collect(source, api, discovery, base::SystemClock(), base::SystemRandom(), how);
}

int TryCommand(Args args, Process& process) {
  TryOptions options;
  std::vector<std::string> files;
  const auto done = ParseArgs(
      args, process, kTryUsage,
      "Runs the MetricSources in YAML or JSON files (- is standard input) once on a cluster, as the hub or a collector "
      "would,\nand shows rows, aggregations, how the fields fit the objects, and what the run cost. Nothing is "
      "written; "
      "spec.clusters\nand spec.enabled do not count. Exit code 0: all ran; 1: one has an error, and then nothing is "
      "run, "
      "or a list failed.",
      options, files);
  if (done) return *done;
  if (!options.ns.empty() && !kube::IsPathSegment(options.ns)) {
    return Fail(process, base::InvalidArgument("--namespace=\"{}\": allowed is the name of a namespace", options.ns),
                kRefused);
  }
  const bool as_json = options.output == "json";
  bool ok = true;
  const std::vector<CheckedSource> sources = ReadFiles(files, kDefaultNamespace, process, ok);
  if (!ok) {
    PrintChecked(sources, as_json, process);
    return kFailed;
  }
  if (!as_json) {
    for (const CheckedSource& checked : sources) PrintProblems(checked, process.err);
  }

  base::StopSignal stop;
  const auto signals = process.signals(stop, {.limit = std::chrono::seconds(5)});
  if (!signals.ok()) return Fail(process, signals.status(), kFailed);
  const auto api = process.hub_api(options.kubeconfig, options.context);
  if (!api.ok()) return Fail(process, api.status(), kFailed);
  kube::Discovery discovery(**api, base::SystemClock(), {});
  std::vector<Collection> runs;
  for (const CheckedSource& checked : sources) {
    if (stop.stop_requested()) return kFailed;
    const Source& source = *checked.source;
    Collection run = RunOn(source, **api, discovery, options, process, stop.token());
    ok &= Report(source, run, options, process);
    if (as_json) {
      runs.push_back(std::move(run));
    } else if (run.failure.empty()) {
      const std::size_t most = options.limit > 0 ? std::numeric_limits<std::size_t>::max() : kShownRows;
      process.out << (&checked == &sources.front() ? "" : "\n") << TrialTable(source, run, most) << std::flush;
    }
  }
  if (as_json) {
    PrintJson(runs.size(), process, [&](std::size_t i, json::Writer& writer) {
      WriteChecked(sources[i], writer);
      WriteTrial(*sources[i].source, runs[i], writer);
    });
  }
  return ok ? 0 : kFailed;
}

}  // namespace

int MetricSourceCommand(Args args, Process& process) {
  const std::string_view command = args.empty() ? std::string_view() : std::string_view(args[0]);
  if (command == "check") return CheckCommand(args.subspan(1), process);
  if (command == "try") return TryCommand(args.subspan(1), process);
  if (command == "--help" || command == "-h") {
    process.out << "Usage: clusterpulse-hub " << kCheckUsage << "\n       clusterpulse-hub " << kTryUsage
                << "\n\nEach of them with --help says more. How to write a MetricSource: docs/metricsource.md\n";
    return 0;
  }
  return FailUsage(process, kUsage);
}

}  // namespace clusterpulse::app
