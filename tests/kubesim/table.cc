#include "tests/kubesim/table.h"

#include <functional>

#include <fmt/format.h>

#include "common/base/time_format.h"
#include "common/json/value.h"
#include "tests/kubesim/json_path.h"

namespace clusterpulse::kubesim {
namespace {

using json::Value;
using kube::PrinterColumn;

struct Column {
  std::string name, type;
  int priority = 0;
  std::function<Value(const Value& object)> cell;
};

// "45s", "12m", "7h", "3d": one unit is enough here.
std::string Age(std::string_view timestamp, base::SystemTime now) {
  const auto then = base::ParseRfc3339(timestamp);
  if (!then) return "<unknown>";
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - *then).count();
  if (seconds < 120) return fmt::format("{}s", std::max<long>(seconds, 0));
  if (seconds < 120 * 60) return fmt::format("{}m", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{}h", seconds / 3600);
  return fmt::format("{}d", seconds / 86400);
}

Column FromPath(const PrinterColumn& column, base::SystemTime now) {
  return {column.name, column.type, column.priority, [column, now](const Value& object) -> Value {
            const auto found = EvaluatePath(column.json_path, object);
            if (found.empty() || found.front()->IsNull()) return Value();
            if (column.type == "date") return Age(found.front()->StringOr(), now);
            if (column.type != "string" || found.front()->IsString()) return *found.front();
            return found.front()->Dump();
          }};
}

std::string NodeStatus(const Value& node) {
  const auto ready = EvaluatePath(".status.conditions[?(@.type==\"Ready\")].status", node);
  std::string status = ready.empty() ? "Unknown" : ready.front()->StringOr() == "True" ? "Ready" : "NotReady";
  if (node["spec"]["unschedulable"].BoolOr()) status += ",SchedulingDisabled";
  return status;
}

std::string NodeRoles(const Value& node) {
  constexpr std::string_view kPrefix = "node-role.kubernetes.io/";
  std::string roles;
  for (const auto& [key, value] : node["metadata"]["labels"].members()) {
    if (key.starts_with(kPrefix)) roles += (roles.empty() ? "" : ",") + key.substr(kPrefix.size());
  }
  return roles.empty() ? "<none>" : roles;
}

std::string PodReady(const Value& pod) {
  int ready = 0;
  for (const Value& status : pod["status"]["containerStatuses"].items()) ready += status["ready"].BoolOr() ? 1 : 0;
  return fmt::format("{}/{}", ready, pod["spec"]["containers"].items().size());
}

std::int64_t PodRestarts(const Value& pod) {
  std::int64_t restarts = 0;
  for (const Value& status : pod["status"]["containerStatuses"].items()) restarts += status["restartCount"].IntOr();
  return restarts;
}

std::string InvolvedObject(const Value& event) {
  std::string kind(event["involvedObject"]["kind"].StringOr());
  for (char& c : kind) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return kind + "/" + std::string(event["involvedObject"]["name"].StringOr());
}

std::vector<Column> Columns(const kube::ServedType& type, base::SystemTime now) {
  const auto path = [now](const char* name, const char* kind, const char* json_path) {
    return FromPath({name, kind, json_path, 0}, now);
  };
  std::vector<Column> columns{path("Name", "string", ".metadata.name")};
  const auto add = [&columns](Column column) { columns.push_back(std::move(column)); };
  const Column age = path("Age", "date", ".metadata.creationTimestamp");
  const std::string name = type.QualifiedName();
  if (type.custom && !type.columns.empty()) {
    for (const PrinterColumn& column : type.columns) add(FromPath(column, now));
    return columns;
  }
  if (name == "nodes") {
    add({"Status", "string", 0, NodeStatus});
    add({"Roles", "string", 0, NodeRoles});
    add(age);
    add(path("Version", "string", ".status.nodeInfo.kubeletVersion"));
  } else if (name == "pods") {
    add({"Ready", "string", 0, PodReady});
    add(path("Status", "string", ".status.phase"));
    add({"Restarts", "integer", 0, PodRestarts});
    add(age);
  } else if (name == "namespaces") {
    add(path("Status", "string", ".status.phase"));
    add(age);
  } else if (name == "deployments.apps") {
    add({"Ready", "string", 0, [](const Value& deployment) {
           return fmt::format("{}/{}", deployment["status"]["readyReplicas"].IntOr(),
                              deployment["spec"]["replicas"].IntOr(1));
         }});
    add(path("Up-to-date", "integer", ".status.updatedReplicas"));
    add(path("Available", "integer", ".status.availableReplicas"));
    add(age);
  } else if (name == "secrets") {
    add(path("Type", "string", ".type"));
    add({"Data", "integer", 0,
         [](const Value& secret) { return static_cast<std::int64_t>(secret["data"].members().size()); }});
    add(age);
  } else if (name == "events") {
    columns.clear();
    add(path("Last Seen", "date", ".lastTimestamp"));
    add(path("Type", "string", ".type"));
    add(path("Reason", "string", ".reason"));
    add({"Object", "string", 0, InvolvedObject});
    add(path("Message", "string", ".message"));
  } else if (name == "leases.coordination.k8s.io") {
    add(path("Holder", "string", ".spec.holderIdentity"));
    add(age);
  } else if (name == "customresourcedefinitions.apiextensions.k8s.io") {
    add(path("Created At", "string", ".metadata.creationTimestamp"));
  } else {
    add(age);
  }
  return columns;
}

}  // namespace

std::string RenderTable(const kube::ServedType& type, const std::vector<kube::ObjectPtr>& objects, std::int64_t version,
                        std::string_view continue_token, RowObject row_object, base::SystemTime now) {
  const std::vector<Column> columns = Columns(type, now);
  Value::Array definitions;
  for (const Column& column : columns) {
    definitions.emplace_back(Value::Object{{"name", column.name},
                                           {"type", column.type},
                                           {"format", column.name == "Name" ? "name" : ""},
                                           {"description", ""},
                                           {"priority", column.priority}});
  }
  Value metadata(Value::Object{{"resourceVersion", std::to_string(version)}});
  if (!continue_token.empty()) metadata.Mutable("continue") = continue_token;
  std::string table =
      fmt::format(R"({{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"columnDefinitions":{},"rows":[)",
                  metadata.Dump(), Value(definitions).Dump());
  bool first = true;
  for (const kube::ObjectPtr& stored : objects) {
    const auto object = Value::Parse(stored->json);
    if (!object.ok()) continue;
    Value::Array cells;
    for (const Column& column : columns) cells.push_back(column.cell(*object));
    table += fmt::format(R"({}{{"cells":{})", first ? "" : ",", Value(std::move(cells)).Dump());
    if (row_object == RowObject::kMetadata) table += ",\"object\":" + stored->MetadataOnly();
    if (row_object == RowObject::kObject) table += ",\"object\":" + stored->json;
    table += '}';
    first = false;
  }
  return table + "]}";
}

}  // namespace clusterpulse::kubesim
