#include "hub/app/metricsource_command.h"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <system_error>
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
constexpr std::size_t kLongestName = 253;              // of an object
constexpr std::size_t kShownErrors = 10;               // of namespaces; mostly all say the same
constexpr std::int64_t kHighestLimit = 1'000'000'000;  // a number that a message can name; maxResources is far below

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
             .help = "form of the answer: text (problems on stderr) or json (sources and problems on stdout)",
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
             .max = kHighestLimit,
             .default_text = "maxResources of the source; 50 of them are shown"},
            {.flag = "output",
             .target = &output,
             .help = "form of the answer: table (problems on stderr) or json (rows and problems on stdout)",
             .alias = "o",
             .choices = {"table", "json"}}};
  }
};

int Fail(Process& process, const absl::Status& status, int code) {
  process.err << "clusterpulse-hub: " << Printable(base::Message(status)) << std::endl;
  return code;
}

void Warn(Process& process, std::string_view text) { process.err << "warning: " << Printable(text) << std::endl; }

// False: standard output takes no more, which is said; of a reader that has gone, as `head` does, there is no more to
// say.
bool Print(Process& process, std::string_view text) {
  errno = 0;
  process.out << text << std::flush;
  const int error = errno;
  if (process.out) return true;
  if (error != EPIPE) {
    Fail(process,
         base::MakeStatus(absl::StatusCode::kDataLoss, "standard output: cannot be written: {}",
                          std::generic_category().message(error == 0 ? EIO : error)),
         kFailed);
  }
  return false;
}

int FailUsage(Process& process, std::string_view usage) {
  return Fail(process, base::InvalidArgument("usage: clusterpulse-hub {}", usage), kRefused);
}

int RefuseNamespace(Process& process, std::string_view ns) {
  return Fail(process, base::InvalidArgument("--namespace=\"{}\": allowed is the name of a namespace", ns), kRefused);
}

// Flags and files of a subcommand; an exit code: there is nothing left to do.
template <typename Options>
std::optional<int> ParseArgs(Args args, Process& process, std::string_view usage, std::string_view about,
                             Options& options, std::vector<std::string>& files) {
  const auto parsed = config::Parse(options.Table(), args, process.environment, &files);
  if (!parsed.ok()) return Fail(process, parsed.status(), kRefused);
  if (parsed->version) {
    const std::string version = "--version";
    return Execute(std::span(&version, 1), process);
  }
  if (parsed->help) {
    Options defaults;
    return Print(process, fmt::format("Usage: clusterpulse-hub {}\n\n{}\n\nFlags [environment variable]:\n{}", usage,
                                      about, config::HelpText(defaults.Table())))
               ? 0
               : kFailed;
  }
  if (files.empty()) return FailUsage(process, usage);
  return std::nullopt;
}

// The sources of all files; those of files that can be used when `ok` turns false. A signal ends the process at once:
// nobody else ends the wait for a terminal or a pipe that has nothing to read.
std::vector<CheckedSource> ReadFiles(const std::vector<std::string>& files, const std::string& ns, Process& process,
                                     bool& ok) {
  std::vector<CheckedSource> sources;
  base::StopSignal stop;
  const auto signals = process.signals(stop, {.limit = std::chrono::milliseconds(0)});
  if (!signals.ok()) {
    Fail(process, signals.status(), kFailed);
    ok = false;
    return sources;
  }
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
bool PrintJson(std::size_t count, Process& process, F write) {
  std::string text;
  json::Writer writer(text);
  writer.BeginObject().Key("sources").BeginArray();
  for (std::size_t i = 0; i < count; ++i) {
    writer.BeginObject();
    write(i, writer);
    writer.EndObject();
  }
  writer.EndArray().EndObject();
  text += '\n';
  return Print(process, text);
}

bool PrintChecked(const std::vector<CheckedSource>& sources, bool as_json, Process& process) {
  if (as_json) {
    return PrintJson(sources.size(), process,
                     [&](std::size_t i, json::Writer& writer) { WriteChecked(sources[i], writer); });
  }
  for (const CheckedSource& checked : sources) {
    PrintProblems(checked, process.err);
    std::string line = fmt::format("{}: {}/{}: ", checked.file, checked.ns.substr(0, kLongestName),
                                   checked.name.substr(0, kLongestName));
    if (checked.source == nullptr) {
      line += Counted(static_cast<std::int64_t>(checked.diagnostics.errors()), "error");
    } else {
      const Source& source = *checked.source;
      line += fmt::format("ok, {}, {} computed, {}, hash {}",
                          Counted(static_cast<std::int64_t>(source.spec.fields.size()), "field"),
                          source.spec.computed.size(),
                          Counted(static_cast<std::int64_t>(source.aggregations.size()), "aggregation"), source.hash);
    }
    if (!Print(process, Printable(line) + "\n")) return false;
  }
  return true;
}

int CheckCommand(Args args, Process& process) {
  CheckOptions options;
  std::vector<std::string> files;
  const auto done =
      ParseArgs(args, process, kCheckUsage,
                "Compiles the MetricSources in YAML or JSON files (- is standard input) and says everything that is "
                "wrong with them,\nalso what an API server would refuse. No cluster is needed.\n\n"
                "Exit code 0: all are valid; 1: one is not, or a file cannot be used; 2: the command line is wrong.",
                options, files);
  if (done) return *done;
  if (!kube::IsPathSegment(options.ns)) return RefuseNamespace(process, options.ns);
  bool ok = true;
  const std::vector<CheckedSource> sources = ReadFiles(files, options.ns, process, ok);
  if (!PrintChecked(sources, options.output == "json", process)) return kFailed;
  return ok ? 0 : kFailed;
}

// Says what a reader of the rows has to know about the run; false when a list failed.
bool Report(const Source& source, const Collection& run, const TryOptions& options, Process& process) {
  const auto fail = [&](const std::string& what) {
    Fail(process, base::MakeStatus(absl::StatusCode::kUnknown, "{}: {}", source.id, what), kFailed);
  };
  if (!run.failure.empty()) {
    fail(fmt::format("{}: {}", run.failure, run.message));
    return false;
  }
  for (std::size_t i = 0; i < run.errors.size(); ++i) {
    if (i == kShownErrors) {
      fail(fmt::format("{} more namespaces failed; -o json has all", run.errors.size() - i));
      break;
    }
    fail(run.errors[i]);
  }
  if (!options.ns.empty() && !metricsource::TakesNamespace(source, options.ns)) {
    Warn(process, fmt::format("{} does not take the namespace {}: spec.source.namespaces", source.id, options.ns));
  }
  if (!options.ns.empty() && run.rows.size() > 0 && run.rows.meta(0).ns.empty()) {
    Warn(process,
         fmt::format("{}: {} has no namespaces; --namespace does not count", source.id, source.spec.target.kind));
  }
  return run.errors.empty();
}

Collection RunOn(const Source& source, kube::KubeApi& api, kube::Discovery& discovery, const TryOptions& options,
                 Process& process, std::stop_token stop) {
  TrialProgress progress(source.id, {.print = [&](const std::string& line) { process.err << line << std::endl; }});
  metricsource::CollectOptions how{.stop = std::move(stop)};
  if (!options.ns.empty()) how.ns = options.ns;
  if (options.limit > 0) how.limit = options.limit;
  how.on_call = [&](const metricsource::CollectOptions::Progress& work) { progress.Update(work); };
  return metricsource::Collect(source, api, discovery, base::SystemClock(), base::SystemRandom(), how);
}

int TryCommand(Args args, Process& process) {
  TryOptions options;
  std::vector<std::string> files;
  const auto done = ParseArgs(
      args, process, kTryUsage,
      "Runs the MetricSources in YAML or JSON files (- is standard input) once on a cluster, as the hub or a collector "
      "would,\nand shows rows, aggregations, how the fields fit the objects, and what the run cost. Nothing is "
      "written;\nspec.clusters and spec.enabled do not count.\n\n"
      "Exit code 0: all ran; 1: a source has an error or a file cannot be used, and then nothing is run, or a list "
      "failed;\n2: the command line is wrong.",
      options, files);
  if (done) return *done;
  if (!options.ns.empty() && !kube::IsPathSegment(options.ns)) return RefuseNamespace(process, options.ns);
  const bool as_json = options.output == "json";
  bool ok = true;
  const std::vector<CheckedSource> sources = ReadFiles(files, kDefaultNamespace, process, ok);
  if (!ok) {
    (void)PrintChecked(sources, as_json, process);  // it has failed already
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
    if (stop.stop_requested()) {
      ok = false;
      break;
    }
    const Source& source = *checked.source;
    Collection run = RunOn(source, **api, discovery, options, process, stop.token());
    ok &= Report(source, run, options, process);
    if (as_json) {
      runs.push_back(std::move(run));
    } else if (run.failure.empty()) {
      const std::size_t most = options.limit > 0 ? std::numeric_limits<std::size_t>::max() : kShownRows;
      const std::string_view gap = &checked == &sources.front() ? "" : "\n";
      if (!Print(process, fmt::format("{}{}", gap, TrialTable(source, run, most)))) return kFailed;
    }
  }
  if (as_json) {
    ok &= PrintJson(runs.size(), process, [&](std::size_t i, json::Writer& writer) {
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
                << "\n\nEach of them with --help says more. Exit code of both: 0 all is well; 1 it is not; 2 the "
                   "command line is wrong.\nHow to write a MetricSource: docs/metricsource.md\n";
    return 0;
  }
  return FailUsage(process, kUsage);
}

}  // namespace clusterpulse::app
