#include "hub/app/command_line.h"

#include <fmt/format.h>

#include "common/app/version.h"
#include "common/base/status.h"
#include "hub/app/connect.h"
#include "hub/app/crds.h"
#include "hub/app/fleet.h"
#include "hub/app/metricsource_command.h"
#include "hub/app/reference.h"
#include "hub/app/uninstall.h"

namespace clusterpulse::app {
namespace {

constexpr int kFailed = 1, kRefused = 2;

using Args = std::span<const std::string>;

int Fail(Process& process, const absl::Status& status, int code) {
  process.err << "clusterpulse-hub: " << base::Message(status) << std::endl;
  return code;
}

int PrintVersion(Process& process) {
  process.out << "clusterpulse-hub " << kVersion << " (" << kRevision << ", " << kCompiler << ")" << std::endl;
  return 0;
}

int PrintCommandHelp(Process& process, std::string_view usage, const std::vector<config::Option>& options) {
  process.out << "Usage: clusterpulse-hub " << usage << "\n\nFlags [environment variable]:\n"
              << config::HelpText(options);
  return 0;
}

// The frame of the commands that talk to the hub's API: flags, help, the API, signals; then `body`.
template <typename Body>
int WithApi(Args args, Process& process, std::string_view usage, std::vector<config::Option> (*table)(ToolConfig&),
            Body body) {
  ToolConfig tool;
  const auto parsed = config::Parse(table(tool), args, process.environment);
  if (!parsed.ok()) return Fail(process, parsed.status(), kRefused);
  if (parsed->version) return PrintVersion(process);
  if (parsed->help) {
    ToolConfig defaults;
    return PrintCommandHelp(process, usage, table(defaults));
  }
  for (const std::string& warning : parsed->warnings) process.err << "warning: " << warning << "\n";
  if (!kube::IsPathSegment(tool.ns)) {
    return Fail(process, base::InvalidArgument("--namespace=\"{}\": allowed is the name of a namespace", tool.ns),
                kRefused);
  }
  base::StopSignal stop;
  const auto signals = process.signals(stop, {.limit = std::chrono::seconds(5)});
  if (!signals.ok()) return Fail(process, signals.status(), kFailed);
  const auto api = process.hub_api(tool.kubeconfig, "");
  if (!api.ok()) return Fail(process, api.status(), kFailed);
  if (const absl::Status status = body(**api, tool, stop.token()); !status.ok()) return Fail(process, status, kFailed);
  return 0;
}

int Run(Args args, Process& process) {
  const auto loaded = LoadConfig(args, process.environment);
  if (!loaded.ok()) return Fail(process, loaded.status(), kRefused);
  if (loaded->version) return PrintVersion(process);
  if (loaded->help) {
    process.out << Usage();
    return 0;
  }
  return process.run(*loaded, process);
}

int Crds(Args args, Process& process) {
  constexpr std::string_view kUsage = "crds apply|print [flags]";
  if (!args.empty() && args[0] == "print") {
    if (args.size() > 1) return Fail(process, base::InvalidArgument("crds print takes no arguments"), kRefused);
    PrintCrds(process.out);
    return 0;
  }
  if (!args.empty() && args[0] == "apply") {
    return WithApi(args.subspan(1), process, kUsage, CrdsOptions,
                   [&process](kube::KubeApi& api, const ToolConfig& tool, std::stop_token stop) {
                     return ApplyCrds(api, tool.timeout, process.out, stop);
                   });
  }
  if (!args.empty() && (args[0] == "--help" || args[0] == "-h")) {
    ToolConfig defaults;
    return PrintCommandHelp(process, kUsage, CrdsOptions(defaults));
  }
  return Fail(process, base::InvalidArgument("usage: clusterpulse-hub {}", kUsage), kRefused);
}

int Connect(Args args, Process& process) {
  constexpr std::string_view kUsage = "connect NAME --from KUBECONFIG [flags]";
  const bool named = !args.empty() && !args[0].starts_with("-");
  const std::string name = named ? args[0] : "";
  return WithApi(named ? args.subspan(1) : args, process, kUsage, ConnectOptions,
                 [&](kube::KubeApi& api, const ToolConfig& tool, std::stop_token stop) -> absl::Status {
                   if (!kube::IsPathSegment(name) || tool.from.empty()) {
                     return base::InvalidArgument("usage: clusterpulse-hub {}", kUsage);
                   }
                   ASSIGN_OR_RETURN(kube::ConnectionConfig target,
                                    kube::LoadConnectionConfig({.kubeconfig = tool.from, .context = tool.context}));
                   return ConnectCluster(api,
                                         {.ns = tool.ns,
                                          .name = name,
                                          .target = std::move(target),
                                          .push = tool.push,
                                          .ingester_address = tool.ingester_address},
                                         process.out, stop);
                 });
}

int Uninstall(Args args, Process& process) {
  return WithApi(args, process, "uninstall [flags]", UninstallOptions,
                 [&process](kube::KubeApi& api, const ToolConfig& tool, std::stop_token stop) {
                   return RemoveFinalizers(api, tool.all_namespaces ? "" : tool.ns, process.out, stop);
                 });
}

int Fleet(Args args, Process& process) {
  return WithApi(args, process, "fleet [flags]", FleetOptions,
                 [&process](kube::KubeApi& api, const ToolConfig& tool, std::stop_token stop) {
                   return ShowFleet(api,
                                    {.ns = tool.all_namespaces ? "" : tool.ns,
                                     .json = tool.output == "json",
                                     .watch = tool.watch,
                                     .interval = tool.interval,
                                     .clear_screen = tool.watch && process.out_is_terminal && tool.output != "json"},
                                    base::SystemClock(), process.out, stop);
                 });
}

int Metrics(Args args, Process& process) {
  if (!args.empty()) return Fail(process, base::InvalidArgument("metrics-reference takes no arguments"), kRefused);
  const auto text = MetricsReference();
  if (!text.ok()) return Fail(process, text.status(), kFailed);
  process.out << *text;
  return 0;
}

int Configuration(Args args, Process& process) {
  if (!args.empty())
    return Fail(process, base::InvalidArgument("configuration-reference takes no arguments"), kRefused);
  process.out << ConfigurationReference();
  return 0;
}

int Help(Args, Process& process) {
  process.out << Usage();
  return 0;
}

struct Command {
  std::string_view name, arguments, help;
  int (*execute)(Args, Process&);
};
constexpr Command kCommands[] = {
    {"run", "", "run the hub until stopped (also without a command)", Run},
    {"crds", "apply|print", "install the custom resource definitions, or print them", Crds},
    {"connect", "NAME", "add a cluster to the fleet from its kubeconfig", Connect},
    {"fleet", "", "show the clusters and their state; --watch refreshes", Fleet},
    {"uninstall", "", "remove the hub's finalizers, after the hub was stopped", Uninstall},
    {"metricsource", "check|try", "compile MetricSources, or run them on a cluster and show what they give",
     MetricSourceCommand},
    {"metrics-reference", "", "print the table of the hub's own metrics", Metrics},
    {"configuration-reference", "", "print the table of settings", Configuration},
    {"help", "", "print this", Help},
};

}  // namespace

std::string Usage() {
  std::string out =
      "clusterpulse-hub watches a fleet of Kubernetes clusters.\n\n"
      "Usage: clusterpulse-hub [command] [flags]\n\nCommands:\n";
  for (const Command& command : kCommands) {
    out += fmt::format("  {:<24} {}\n", fmt::format("{} {}", command.name, command.arguments), command.help);
  }
  out +=
      "\n`clusterpulse-hub COMMAND --help` lists a command's flags, --version prints the version.\n\n"
      "Flags of run [environment variable]. Flags win over the environment, the environment over the defaults:\n";
  Config defaults;
  return out + config::HelpText(ConfigOptions(defaults));
}

int Execute(Args args, Process& process) {
  if (args.empty() || args[0].starts_with("-")) return Run(args, process);
  for (const Command& command : kCommands) {
    if (args[0] == command.name) return command.execute(args.subspan(1), process);
  }
  return Fail(process, base::InvalidArgument("unknown command \"{}\"; `clusterpulse-hub help` lists all", args[0]),
              kRefused);
}

}  // namespace clusterpulse::app
