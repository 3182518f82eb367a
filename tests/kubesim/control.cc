#include "tests/kubesim/control.h"

#include <functional>

#include "common/base/status.h"

namespace clusterpulse::kubesim {

using json::Value;

const char* const kControlHelp = R"(Commands of the control port (server=NAME; without it: every managed cluster):
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

absl::StatusOr<CertificateChange> ParseChange(std::string_view text) {
  if (text == "renew") return CertificateChange::kRenew;
  if (text == "authority") return CertificateChange::kAuthority;
  if (text == "expired") return CertificateChange::kExpired;
  if (text == "wrong-name") return CertificateChange::kWrongName;
  return base::InvalidArgument("change=\"{}\" is not one of renew, authority, expired, wrong-name", text);
}

// The fault of a query like action=status&code=429.
absl::StatusOr<Fault> FaultFrom(const HttpRequest& request) {
  std::string text;
  for (const auto& [key, value] : request.query) {
    if (key != "server") text += fmt::format("{}{}={}", text.empty() ? "" : ",", key, value);
  }
  return Fault::Parse(text);
}

absl::Status Command(SimCluster& cluster, const HttpRequest& request) {
  const std::string& path = request.path;
  const std::string name(request.Query("name"));
  if (path == "/fault") {
    ASSIGN_OR_RETURN(Fault fault, FaultFrom(request));
    cluster.api().faults().Add(std::move(fault));
  } else if (path == "/faults/clear") {
    cluster.api().faults().Clear();
  } else if (path == "/stop") {
    cluster.Stop();
  } else if (path == "/start") {
    return cluster.Start();
  } else if (path == "/freeze") {
    cluster.Freeze();
  } else if (path == "/resume") {
    cluster.Resume();
  } else if (path == "/reset") {
    cluster.ResetConnections();
  } else if (path == "/watches/cut") {
    cluster.api().CutWatches(request.QueryBool("clean"));
  } else if (path == "/compact") {
    cluster.store().Compact();
  } else if (path == "/certificate") {
    ASSIGN_OR_RETURN(const CertificateChange change, ParseChange(request.Query("change")));
    return cluster.ChangeCertificate(change);
  } else if (path == "/token") {
    const std::string value(request.Query("value"));
    cluster.api().SetToken(value.empty() ? cluster.token() + ".next" : value);
  } else if (path == "/node") {
    return SetNodeReady(cluster.store(), name, request.QueryBool("ready"));
  } else if (path == "/cordon") {
    return SetCordoned(cluster.store(), name, request.QueryBool("on"));
  } else if (path == "/churn") {
    cluster.SetChurn(std::strtod(std::string(request.Query("rate")).c_str(), nullptr));
  } else {
    return absl::NotFoundError("no such command; GET / lists them");
  }
  return absl::OkStatus();
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

void ControlServer::Handle(Exchange& exchange) {
  const HttpRequest& request = exchange.request();
  if (request.method == "GET") {
    if (request.path == "/servers") {
      exchange.Respond(200, "application/json", Describe());
    } else {
      exchange.Respond(request.path == "/" ? 200 : 404, "text/plain", kControlHelp);
    }
    return;
  }
  absl::Status status;
  if (request.path == "/files") {
    status = sim_.WriteFiles();
  } else if (const auto server = request.Query("server"); !server.empty()) {
    SimCluster* cluster = sim_.Find(server);
    status = cluster != nullptr ? Command(*cluster, request) : absl::NotFoundError("no such server");
  } else {
    for (const auto& cluster : sim_.clusters()) {
      if (cluster->name() != "hub") status.Update(Command(*cluster, request));
    }
  }
  exchange.Respond(status.ok() ? 200 : 400, "text/plain", status.ok() ? "ok\n" : base::Message(status) + "\n");
}

}  // namespace clusterpulse::kubesim
