#include "collector/app/command_line.h"

#include <chrono>
#include <utility>

#include "collector/app/app.h"
#include "collector/spool/inspect.h"
#include "collector/spool/posix_file_system.h"
#include "common/app/reference.h"
#include "common/app/version.h"
#include "common/base/status.h"

namespace clusterpulse::collector {
namespace {

constexpr int kFailed = 1, kRefused = 2;
constexpr std::string_view kProgram = "clusterpulse-collector";

int Fail(Process& process, const absl::Status& status, int code) {
  process.err << kProgram << ": " << base::Message(status) << std::endl;
  return code;
}

void PrintUsage(std::ostream& out) {
  Config defaults;
  out << kProgram
      << " watches the Kubernetes cluster it runs in and reports to the ClusterPulse hub.\n\n"
         "Usage: clusterpulse-collector [command] [flags]\n\nCommands:\n"
         "  run                      run until stopped (also without a command)\n"
         "  spool inspect DIR        print what SPOOL_DIR holds and verify it; -o json: as JSON. The exit code is 1 "
         "when\n"
         "                           something is damaged. A collector may use the directory meanwhile\n"
         "  metrics-reference        print the table of the collector's own metrics\n"
         "  configuration-reference  print the table of settings\n"
         "  help                     print this\n\n"
         "Flags of run [environment variable]. Flags win over the environment, the environment over the defaults:\n"
      << config::HelpText(ConfigOptions(defaults));
}

int Run(std::span<const std::string> args, Process& process) {
  const auto loaded = LoadConfig(args, process.environment);
  if (!loaded.ok()) return Fail(process, loaded.status(), kRefused);
  if (loaded->version) {
    process.out << kProgram << " " << app::kVersion << " (" << app::kRevision << ", " << app::kCompiler << ")"
                << std::endl;
    return 0;
  }
  if (loaded->help) {
    PrintUsage(process.out);
    return 0;
  }
  return process.run(*loaded);
}

// `spool inspect DIR [-o text|json]`, the flag before or behind the directory.
int InspectSpool(std::span<const std::string> args, Process& process) {
  constexpr std::string_view kUsage = "usage: clusterpulse-collector spool inspect DIR [-o text|json]";
  std::string dir, output = "text";
  bool is_right = !args.empty() && args[0] == "inspect";
  for (std::size_t i = 1; i < args.size(); ++i) {
    if ((args[i] == "-o" || args[i] == "--output") && i + 1 < args.size()) {
      output = args[++i];
    } else if (args[i].starts_with("--output=")) {
      output = args[i].substr(args[i].find('=') + 1);
    } else if (args[i].starts_with("-") || !dir.empty()) {
      is_right = false;
    } else {
      dir = args[i];
    }
  }
  if (!is_right || dir.empty() || (output != "text" && output != "json")) {
    return Fail(process, base::InvalidArgument("{}", kUsage), kRefused);
  }
  const auto inspection = spool::Inspect(spool::PosixFileSystem(), dir, std::chrono::milliseconds(50));
  if (!inspection.ok()) return Fail(process, inspection.status(), kRefused);
  process.out << (output == "json" ? spool::ToJson(*inspection) : spool::ToText(*inspection)) << std::flush;
  return inspection->is_clean() ? 0 : kFailed;
}

}  // namespace

int Execute(std::span<const std::string> args, Process& process) {
  if (args.empty() || args[0].starts_with("-")) return Run(args, process);
  const std::string& command = args[0];
  if (command == "run") return Run(args.subspan(1), process);
  if (command == "spool") return InspectSpool(args.subspan(1), process);
  if (command != "help" && command != "metrics-reference" && command != "configuration-reference") {
    return Fail(process,
                base::InvalidArgument("unknown command \"{}\"; `clusterpulse-collector help` lists all",
                                      command.substr(0, 200)),
                kRefused);
  }
  if (args.size() > 1) return Fail(process, base::InvalidArgument("{} takes no arguments", command), kRefused);
  if (command == "help") {
    PrintUsage(process.out);
  } else if (command == "configuration-reference") {
    process.out << ConfigurationReference();
  } else {
    const auto text = MetricsReference();
    if (!text.ok()) return Fail(process, text.status(), kFailed);
    process.out << *text;
  }
  return 0;
}

std::string ConfigurationReference() {
  Config defaults;
  return app::ConfigurationDocument(
      kProgram, ConfigOptions(defaults),
      "- `CLUSTER_NAME` must be set. `COLLECTOR_TOKEN` and `COLLECTOR_TOKEN_FILE` exclude each other.\n"
      "- `INGESTER_TLS_CA` and `INGESTER_TLS_SERVER_NAME` need `INGESTER_TLS_ENABLED=true`.\n"
      "- A `BUFFER_SIZE` below 1 runs as 10.\n"
      "- Without `SPOOL_DIR` and `DATA_DIR` batches are kept in memory only, which the log says at the start. A "
      "folder\n"
      "  that cannot be used, or a disk that is full or fails, does not stop the collector: it keeps batches in "
      "memory\n"
      "  until it can use it again, and says so on `/readyz`, in its metrics and to the hub.\n"
      "- `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` (both cases, CIDRs too) hold for the hub and the API server.\n"
      "- Secrets are taken from the environment or from files, and never printed or logged.\n");
}

absl::StatusOr<std::string> MetricsReference() {
  Config config;
  config.cluster = "example";
  ASSIGN_OR_RETURN(Dependencies dependencies,
                   MakeDependencies(config, kube::ConnectionConfig{.server = "https://localhost"}, log::Logger()));
  App app(config, std::move(dependencies));
  return app::MetricsDocument(kProgram, app.registry(),
                              "`clusterpulse_collector_*` and the usual `process_*` tell of the\n"
                              "collector itself; data of the cluster goes to the hub.");
}

}  // namespace clusterpulse::collector
