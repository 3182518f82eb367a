#include "tests/kubesim/control.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <optional>

#include "common/base/status.h"

namespace clusterpulse::kubesim {

using json::Value;

const char* const kControlHelp = R"(Commands of the control port (server=NAME; without it: every managed cluster).
A command that is not understood, or that one of its servers cannot do, changes nothing:
  GET  /servers                          JSON: names, URLs, objects, requests, faults
  POST /fault?action=...&verb=...        add a fault rule (fields as in --fault)
  POST /faults/clear                     forget all fault rules
  POST /stop  /start                     end the server (connections reset, then refused); start it again
  POST /freeze  /resume                  hang as a stopped process does; go on
  POST /reset                            reset all connections once
  POST /watches/cut[?clean=true]         end all running watches once
  POST /compact                          forget the watch history: old versions and continue tokens become 410
  POST /certificate?change=renew|authority|expired|wrong-name
  POST /token[?value=T]                  another bearer token
  POST /node?name=N&ready=true|false     a node's Ready condition
  POST /cordon?name=N&on=true|false      a node's spec.unschedulable
  POST /churn?rate=R                     object changes a second
  POST /files                            write the kubeconfigs and connections.yaml again
)";

namespace {

// What follows the question mark. Each command takes what it knows; what is left over is an error.
class Parameters {
 public:
  explicit Parameters(std::map<std::string, std::string> all) : left_(std::move(all)) {}

  std::optional<std::string> Take(const std::string& name) {
    auto node = left_.extract(name);
    return node.empty() ? std::nullopt : std::optional(std::move(node.mapped()));
  }
  // "a=b,c=d"
  std::string TakeRest() {
    std::string text;
    for (const auto& [key, value] : left_) text += fmt::format("{}{}={}", text.empty() ? "" : ",", key, value);
    left_.clear();
    return text;
  }
  absl::StatusOr<bool> TakeBool(const std::string& name, std::optional<bool> fallback = std::nullopt) {
    const auto text = Take(name);
    if (!text && fallback) return *fallback;
    if (text == "true" || text == "false") return text == "true";
    return base::InvalidArgument("{}=\"{}\" is neither true nor false", name, text.value_or(""));
  }
  absl::Status CheckNoneLeft() const {
    if (left_.empty()) return absl::OkStatus();
    return base::InvalidArgument("unknown parameter \"{}\"", left_.begin()->first);
  }

 private:
  std::map<std::string, std::string> left_;
};

absl::StatusOr<CertificateChange> ParseChange(std::string_view text) {
  if (text == "renew") return CertificateChange::kRenew;
  if (text == "authority") return CertificateChange::kAuthority;
  if (text == "expired") return CertificateChange::kExpired;
  if (text == "wrong-name") return CertificateChange::kWrongName;
  return base::InvalidArgument("change=\"{}\" is not one of renew, authority, expired, wrong-name", text);
}

absl::StatusOr<double> ParseRate(std::string_view text) {
  constexpr double kMax = 1e6;
  double rate = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, rate);
  if (result.ec == std::errc() && result.ptr == end && rate >= 0 && rate <= kMax) return rate;
  return base::InvalidArgument("rate=\"{}\" is no number from 0 to {}", text, kMax);
}

absl::StatusOr<std::string> ParseToken(std::string text) {
  if (std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; })) return text;
  return base::InvalidArgument("a token has neither blanks nor control characters");
}

// A command that was understood. `check` is asked of every server it is meant for before `run` is called for any.
struct Command {
  std::function<absl::Status(SimCluster&)> run;
  std::function<absl::Status(SimCluster&)> check = [](SimCluster&) { return absl::OkStatus(); };
};

Command Always(std::function<void(SimCluster&)> run) {
  return {[run = std::move(run)](SimCluster& cluster) {
    run(cluster);
    return absl::OkStatus();
  }};
}

absl::StatusOr<Command> ParseCommand(const std::string& path, Parameters& parameters) {
  if (path == "/fault") {
    ASSIGN_OR_RETURN(const Fault fault, Fault::Parse(parameters.TakeRest()));
    return Always([fault](SimCluster& cluster) { cluster.api().faults().Add(fault); });
  }
  if (path == "/faults/clear") return Always([](SimCluster& cluster) { cluster.api().faults().Clear(); });
  if (path == "/stop") return Always([](SimCluster& cluster) { cluster.Stop(); });
  if (path == "/start") return Command{[](SimCluster& cluster) { return cluster.Start(); }};
  if (path == "/freeze") return Always([](SimCluster& cluster) { cluster.Freeze(); });
  if (path == "/resume") return Always([](SimCluster& cluster) { cluster.Resume(); });
  if (path == "/reset") return Always([](SimCluster& cluster) { cluster.ResetConnections(); });
  if (path == "/watches/cut") {
    ASSIGN_OR_RETURN(const bool clean, parameters.TakeBool("clean", false));
    return Always([clean](SimCluster& cluster) { cluster.api().CutWatches(clean); });
  }
  if (path == "/compact") return Always([](SimCluster& cluster) { cluster.store().Compact(); });
  if (path == "/certificate") {
    ASSIGN_OR_RETURN(const CertificateChange change, ParseChange(parameters.Take("change").value_or("")));
    return Command{[change](SimCluster& cluster) { return cluster.ChangeCertificate(change); },
                   [](SimCluster& cluster) {
                     return cluster.ca_pem().empty() ? base::InvalidArgument("{} serves plain text", cluster.name())
                                                     : absl::OkStatus();
                   }};
  }
  if (path == "/token") {
    ASSIGN_OR_RETURN(const std::string token, ParseToken(parameters.Take("value").value_or("")));
    return Always(
        [token](SimCluster& cluster) { cluster.api().SetToken(token.empty() ? cluster.token() + ".next" : token); });
  }
  if (path == "/node" || path == "/cordon") {
    const bool cordon = path == "/cordon";
    const std::string name = parameters.Take("name").value_or("");
    ASSIGN_OR_RETURN(const bool on, parameters.TakeBool(cordon ? "on" : "ready"));
    return Command{[=](SimCluster& cluster) {
                     return cordon ? SetCordoned(cluster.store(), name, on) : SetNodeReady(cluster.store(), name, on);
                   },
                   [name](SimCluster& cluster) {
                     return cluster.store().Get(kube::kNodes, {"", name}).ok()
                                ? absl::OkStatus()
                                : base::InvalidArgument("{} has no node \"{}\"", cluster.name(), name);
                   }};
  }
  if (path == "/churn") {
    ASSIGN_OR_RETURN(const double rate, ParseRate(parameters.Take("rate").value_or("")));
    return Command{[rate](SimCluster& cluster) {
                     cluster.SetChurn(rate);
                     return absl::OkStatus();
                   },
                   [](SimCluster& cluster) {
                     return cluster.has_fleet() ? absl::OkStatus()
                                                : base::InvalidArgument("{} has no fleet to change", cluster.name());
                   }};
  }
  return absl::InvalidArgumentError("no such command; GET / lists them");
}

}  // namespace

ControlServer::ControlServer(Kubesim& sim, std::string host, int port)
    : sim_(sim),
      http_({.host = std::move(host), .port = port, .tls = nullptr, .gzip = false}, gate_,
            [this](Exchange& exchange) { Handle(exchange); }) {}

std::string ControlServer::Describe() const {
  Value::Array servers;
  for (const auto& cluster : sim_.clusters()) {
    Value objects, requests;
    for (const auto& type : cluster->store().Types()) {
      const auto list = cluster->store().List(type->resource, {});
      if (list.ok() && !list->objects.empty()) {
        objects.Mutable(type->QualifiedName()) = static_cast<std::int64_t>(list->objects.size());
      }
    }
    for (const auto& [what, count] : cluster->api().RequestCounts()) requests.Mutable(what) = count;
    Value::Array faults;
    for (const Fault& fault : cluster->api().faults().List()) faults.emplace_back(fault.ToString());
    servers.emplace_back(Value::Object{{"name", cluster->name()},
                                       {"url", cluster->url()},
                                       {"resourceVersion", cluster->store().version()},
                                       {"objects", objects},
                                       {"requests", requests},
                                       {"faults", std::move(faults)}});
  }
  return Value(Value::Object{{"servers", std::move(servers)}}).Dump() + "\n";
}

absl::Status ControlServer::Run(const HttpRequest& request) {
  Parameters parameters(request.query);
  if (request.path == "/files") {
    RETURN_IF_ERROR(parameters.CheckNoneLeft());
    return sim_.WriteFiles();
  }
  const auto server = parameters.Take("server");
  ASSIGN_OR_RETURN(const Command command, ParseCommand(request.path, parameters));
  RETURN_IF_ERROR(parameters.CheckNoneLeft());
  std::vector<SimCluster*> targets;
  for (const auto& cluster : sim_.clusters()) {
    if (server ? cluster->name() == *server : cluster->name() != "hub") targets.push_back(cluster.get());
  }
  if (targets.empty()) {
    return server ? base::InvalidArgument("no server \"{}\"", *server)
                  : absl::InvalidArgumentError("there is no managed cluster");
  }
  for (SimCluster* cluster : targets) RETURN_IF_ERROR(command.check(*cluster));
  absl::Status status;
  for (SimCluster* cluster : targets) status.Update(command.run(*cluster));
  return status;
}

void ControlServer::Handle(Exchange& exchange) {
  constexpr std::string_view kText = "text/plain";
  const HttpRequest& request = exchange.request();
  if (request.method == "GET" && request.path == "/servers") {
    exchange.Respond(200, "application/json", Describe());
  } else if (request.method == "GET" && request.path == "/") {
    exchange.Respond(200, kText, fmt::format("{}Fault fields: {}\n", kControlHelp, kFaultFields));
  } else if (request.method != "POST") {
    exchange.Respond(405, kText, "commands are POST; GET / lists them\n");
  } else {
    const absl::Status status = Run(request);
    const int code = status.ok() ? 200 : status.code() == absl::StatusCode::kInvalidArgument ? 400 : 500;
    std::string line = status.ok() ? "ok" : base::Message(status);
    std::replace_if(
        line.begin(), line.end(), [](unsigned char c) { return c < ' '; }, '?');  // what was asked for
    exchange.Respond(code, kText, line + "\n");
  }
}

}  // namespace clusterpulse::kubesim
