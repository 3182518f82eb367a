#include "tests/kubesim/api_server.h"

#include <algorithm>

#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/kube/api_error.h"
#include "common/kube/testing/discovery_documents.h"
#include "tests/kubesim/openapi.h"
#include "tests/kubesim/table.h"

namespace clusterpulse::kubesim {

using base::MutexLock;
using json::Value;
using kube::ObjectPtr;
using kube::StoreEvent;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr std::string_view kJson = "application/json";
// How often a quiet watch looks whether its client is still there.
constexpr milliseconds kWatchTick{250};

absl::Status Refuse(int code, std::string reason, std::string message) {
  return kube::ToStatus({.code = code, .reason = std::move(reason), .message = std::move(message), .retry_after = {}});
}

// What kubectl shows of an object that was refused: `KIND "NAME" is invalid: COMPLAINTS`, taken apart again.
Value InvalidDetails(const std::string& message) {
  constexpr std::string_view kInvalid = "\" is invalid: ";
  const auto quote = message.find(" \"");
  const auto behind = message.find(kInvalid);
  if (quote == message.npos || behind == message.npos) return Value();
  const Value cause(
      Value::Object{{"reason", "FieldValueInvalid"}, {"message", message.substr(behind + kInvalid.size())}});
  return Value::Object{{"kind", message.substr(0, message.find_first_of(". "))},
                       {"name", message.substr(quote + 2, behind - quote - 2)},
                       {"causes", Value::Array{cause}}};
}

Value StatusDocument(const kube::ApiError& error) {
  Value status(Value::Object{{"kind", "Status"},
                             {"apiVersion", "v1"},
                             {"metadata", Value::Object()},
                             {"status", "Failure"},
                             {"message", error.message},
                             {"reason", error.reason},
                             {"code", error.code}});
  if (error.reason == "Invalid") status.Mutable("details") = InvalidDetails(error.message);
  if (error.retry_after) {
    status.Mutable("details").Mutable("retryAfterSeconds") = static_cast<std::int64_t>(error.retry_after->count());
  }
  return status;
}

kube::ApiError ErrorOf(const absl::Status& status) {
  if (auto error = kube::GetApiError(status)) return *error;
  return {.code = status.code() == absl::StatusCode::kInvalidArgument ? 400 : 500,
          .reason = status.code() == absl::StatusCode::kInvalidArgument ? "BadRequest" : "InternalError",
          .message = base::Message(status),
          .retry_after = {}};
}

std::string_view WatchTypeName(kube::WatchEventType type) {
  switch (type) {
    case kube::WatchEventType::kAdded:
      return "ADDED";
    case kube::WatchEventType::kModified:
      return "MODIFIED";
    case kube::WatchEventType::kDeleted:
      return "DELETED";
    case kube::WatchEventType::kBookmark:
      return "BOOKMARK";
  }
  return "";
}

std::vector<std::string> SplitPath(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const auto end = std::min(path.find('/'), path.size());
    if (end > 0) parts.emplace_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return parts;
}

// What the Accept header asks for.
enum class Shape { kObject, kTable, kMetadata };

Shape WantedShape(std::string_view accept) {
  if (accept.find("as=Table") != accept.npos) return Shape::kTable;
  return accept.find("as=PartialObjectMetadata") != accept.npos ? Shape::kMetadata : Shape::kObject;
}

RowObject WantedRows(std::string_view include) {
  if (include == "None") return RowObject::kNone;
  return include == "Object" ? RowObject::kObject : RowObject::kMetadata;
}

}  // namespace

// What a request path names.
struct ApiServer::Target {
  kube::ServedTypePtr type;
  kube::ObjectKey key;  // without a name: the collection
  std::string subresource;
  std::string verb;
  Shape shape = Shape::kObject;

  const kube::ResourceType& resource() const { return type->resource; }
};

ApiServer::ApiServer(Options options)
    : options_(std::move(options)),
      store_({.seed = options_.seed, .history = options_.history}),
      faults_(options_.seed),
      token_(options_.token) {}

std::string ApiServer::token() const {
  MutexLock lock(mu_);
  return token_;
}

void ApiServer::SetToken(std::string token) {
  MutexLock lock(mu_);
  token_ = std::move(token);
}

void ApiServer::CutWatches(bool clean) { ++(clean ? clean_cuts_ : cuts_); }

std::map<std::string, std::int64_t> ApiServer::RequestCounts() const {
  MutexLock lock(mu_);
  return counts_;
}

bool ApiServer::Authorized(const HttpRequest& request) const {
  MutexLock lock(mu_);
  return token_.empty() || request.Header("authorization") == "Bearer " + token_;
}

void RespondError(Exchange& exchange, const absl::Status& status) {
  const kube::ApiError error = ErrorOf(status);
  HttpHeaders headers;
  if (error.retry_after) headers.emplace_back("Retry-After", std::to_string(error.retry_after->count()));
  exchange.Respond(error.code, kJson, StatusDocument(error).Dump(), headers);
}

bool ApiServer::HandleNonResource(Exchange& exchange) {
  const HttpRequest& request = exchange.request();
  const std::string& path = request.path;
  if (path == "/healthz" || path == "/livez" || path == "/readyz") {
    exchange.Respond(200, "text/plain", "ok");
    return true;
  }
  if (path == "/openapi/v2") {
    const bool proto = request.Header("accept").find("proto-openapi") != std::string_view::npos;
    const Value document = OpenApiDocument(store_);
    exchange.Respond(200, proto ? "application/octet-stream" : kJson, proto ? OpenApiProto(document) : document.Dump());
    return true;
  }
  const auto document = kube::DiscoveryDocument(store_, path);
  if (document) exchange.Respond(200, kJson, *document);
  return document.has_value();
}

void ApiServer::Handle(Exchange& exchange) {
  const HttpRequest& request = exchange.request();
  const std::string& path = request.path;
  const bool open = path == "/version" || path == "/healthz" || path == "/livez" || path == "/readyz";
  const bool is_read = request.method == "GET";

  // /api/v1/... or /apis/GROUP/VERSION/..., then [namespaces/NS/]PLURAL[/NAME[/SUBRESOURCE]]
  Target target;
  auto parts = SplitPath(path);
  std::string group, version;
  std::size_t at = 0;
  if (parts.size() > 2 && parts[0] == "api") {
    version = parts[1];
    at = 2;
  } else if (parts.size() > 3 && parts[0] == "apis") {
    group = parts[1];
    version = parts[2];
    at = 3;
  }
  if (at > 0) {
    if (parts[at] == "namespaces" && parts.size() > at + 2 && parts[at + 2] != "status" &&
        parts[at + 2] != "finalize") {
      target.key.ns = parts[at + 1];
      at += 2;
    }
    target.type = store_.FindType(group, version, parts[at]);
    if (parts.size() > at + 1) target.key.name = parts[at + 1];
    if (parts.size() > at + 2) target.subresource = parts[at + 2];
  }
  if (is_read && target.key.name.empty()) {
    target.verb = request.QueryBool("watch") ? "watch" : "list";
  } else {
    target.verb = is_read                      ? "get"
                  : request.method == "POST"   ? "create"
                  : request.method == "PUT"    ? "update"
                  : request.method == "PATCH"  ? "patch"
                  : request.method == "DELETE" ? "delete"
                                               : "other";
  }
  target.shape = WantedShape(request.Header("accept"));
  const std::string resource = target.type != nullptr ? target.resource().plural : path;
  if (target.type == nullptr && is_read) target.verb = "get";
  {
    MutexLock lock(mu_);
    // Paths that name nothing are counted together: a bounded map.
    ++counts_[target.verb + " " + (target.type != nullptr ? resource : "other")];
  }

  const auto faults = faults_.Draw(target.verb, resource);
  if (!ApplyFaults(exchange, target, faults)) return;
  if (!open && !Authorized(request)) return RespondError(exchange, Refuse(401, "Unauthorized", "Unauthorized"));
  if (is_read && target.type == nullptr && HandleNonResource(exchange)) return;
  if (target.type == nullptr) {
    return RespondError(exchange, Refuse(404, "NotFound", "the server could not find the requested resource"));
  }
  if (!request.Query("dryRun").empty()) {
    return RespondError(exchange, Refuse(400, "BadRequest", "the simulated server has no dry runs"));
  }
  if (target.verb == "watch") return HandleWatch(exchange, target, faults);
  if (target.verb == "list") return HandleList(exchange, target, faults);
  if (target.verb == "delete") return HandleDelete(exchange, target);
  const auto object = target.verb == "get" ? store_.Get(target.resource(), target.key) : HandleWrite(request, target);
  if (!object.ok()) return RespondError(exchange, object.status());
  const bool created = target.verb == "create";
  RespondObject(exchange, target, created ? 201 : 200, *object, faults);
}

bool ApiServer::ApplyFaults(Exchange& exchange, const Target& target, const std::vector<Fault>& faults) {
  for (const Fault& fault : faults) {
    switch (fault.action) {
      case FaultAction::kLatency:
        if (base::StopSignal(exchange.stop()).WaitFor(milliseconds(fault.ms))) return false;
        break;
      case FaultAction::kStatus: {
        kube::ApiError error{.code = fault.code, .reason = "", .message = "refused by a fault rule", .retry_after = {}};
        error.reason = fault.code == 429   ? "TooManyRequests"
                       : fault.code == 410 ? "Expired"
                       : fault.code == 403 ? "Forbidden"
                       : fault.code == 401 ? "Unauthorized"
                       : fault.code == 404 ? "NotFound"
                       : fault.code == 503 ? "ServiceUnavailable"
                                           : "InternalError";
        if (fault.retry_after > 0) error.retry_after = std::chrono::seconds(fault.retry_after);
        RespondError(exchange, kube::ToStatus(error));
        return false;
      }
      case FaultAction::kExpired:
        if (target.verb != "watch") {
          RespondError(exchange, Refuse(410, "Expired", "too old resource version (a fault rule)"));
          return false;
        }
        break;
      case FaultAction::kReset:
        if (target.verb != "watch") {
          exchange.Reset();
          return false;
        }
        break;
      case FaultAction::kHalf:
      case FaultAction::kSlow:
      case FaultAction::kCut:
        break;  // where the answer is written
    }
  }
  return true;
}

void ApiServer::RespondObject(Exchange& exchange, const Target& target, int code, const ObjectPtr& object,
                              const std::vector<Fault>& faults) {
  std::string body;
  if (target.shape == Shape::kTable) {
    body = RenderTable(*target.type, {object}, object->version, "",
                       WantedRows(exchange.request().Query("includeObject")), base::SystemClock().Now());
  } else if (target.shape == Shape::kMetadata) {
    body = object->MetadataOnly();
  }
  const std::string& shown = target.shape == Shape::kObject ? object->json : body;
  if (Find(faults, FaultAction::kHalf) != nullptr) {
    exchange.RespondHalf(code, kJson, shown);
  } else {
    exchange.Respond(code, kJson, shown);
  }
}

void ApiServer::HandleList(Exchange& exchange, const Target& target, const std::vector<Fault>& faults) {
  const HttpRequest& request = exchange.request();
  const kube::StoreQuery query{target.key.ns, std::string(request.Query("labelSelector")),
                               std::string(request.Query("fieldSelector"))};
  // A list out of the watch cache has no pages.
  const bool cached = request.Query("resourceVersion") == "0";
  const int limit = cached ? 0 : static_cast<int>(std::clamp<std::int64_t>(request.QueryInt("limit", 0), 0, 1000000));
  const auto list = store_.List(target.resource(), query, limit, request.Query("continue"));
  if (!list.ok()) return RespondError(exchange, list.status());

  std::string body;
  if (target.shape == Shape::kTable) {
    body = RenderTable(*target.type, list->objects, list->version, list->continue_token,
                       WantedRows(request.Query("includeObject")), base::SystemClock().Now());
  } else {
    const bool partial = target.shape == Shape::kMetadata;
    std::size_t size = 256;
    for (const ObjectPtr& object : list->objects) size += object->json.size() + 1;
    body.reserve(size);
    body = fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{}")",
                       partial ? "PartialObjectMetadataList" : target.resource().kind + "List",
                       partial ? "meta.k8s.io/v1" : target.resource().ApiVersion(), list->version);
    if (!list->continue_token.empty()) body += fmt::format(R"(,"continue":"{}")", list->continue_token);
    body += R"(},"items":[)";
    for (const ObjectPtr& object : list->objects) {
      if (body.back() != '[') body += ',';
      if (partial) {
        body += object->MetadataOnly();
      } else if (target.type->custom) {
        body += object->json;
      } else {
        object->AppendWithoutType(body);
      }
    }
    body += "]}";
  }
  if (Find(faults, FaultAction::kHalf) != nullptr) {
    exchange.RespondHalf(200, kJson, body);
  } else {
    exchange.Respond(200, kJson, body);
  }
}

void ApiServer::HandleWatch(Exchange& exchange, const Target& target, const std::vector<Fault>& faults) {
  const HttpRequest& request = exchange.request();
  const kube::StoreQuery query{target.key.ns, std::string(request.Query("labelSelector")),
                               std::string(request.Query("fieldSelector"))};
  const auto now = base::SystemClock().Now();
  const RowObject rows = WantedRows(request.Query("includeObject"));
  const auto line = [](std::string_view type, std::string_view object) {
    return fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", type, object);
  };
  const auto error_line = [&](const absl::Status& status) {
    return line("ERROR", StatusDocument(ErrorOf(status)).Dump());
  };
  const auto event_line = [&](const StoreEvent& event) {
    const auto& object = event.object;
    if (target.shape == Shape::kTable) {
      return line(WatchTypeName(event.type), RenderTable(*target.type, {object}, object->version, "", rows, now));
    }
    if (target.shape == Shape::kMetadata) return line(WatchTypeName(event.type), object->MetadataOnly());
    return line(WatchTypeName(event.type), object->json);
  };

  const auto watch = store_.Watch(target.resource(), query, request.Query("resourceVersion"));
  if (!watch.ok() && !kube::IsExpired(watch.status())) return RespondError(exchange, watch.status());
  if (!exchange.BeginStream(200, kJson)) return;
  // A version that is too old is told inside the stream, as servers with a watch cache do.
  if (!watch.ok() || Find(faults, FaultAction::kExpired) != nullptr) {
    exchange.Write(
        error_line(watch.ok() ? Refuse(410, "Expired", "too old resource version (a fault rule)") : watch.status()));
    exchange.EndStream();
    return;
  }

  const auto start = steady_clock::now();
  // Real servers draw 30 to 60 minutes when the client names no limit.
  const auto end = start + std::chrono::seconds(request.QueryInt("timeoutSeconds", 1800));
  const bool bookmarks = request.QueryBool("allowWatchBookmarks");
  // The last bookmark comes a second before the end, so that the client resumes from as new a version as can be.
  const auto last_bookmark = end - std::chrono::seconds(1);
  auto next_bookmark = start + options_.bookmark_interval;
  if (last_bookmark > start) next_bookmark = std::min(next_bookmark, last_bookmark);
  const Fault* cut = Find(faults, FaultAction::kCut);
  const Fault* slow = Find(faults, FaultAction::kSlow);
  const std::int64_t cuts = cuts_, clean_cuts = clean_cuts_;
  base::StopSignal stop(exchange.stop());
  while (true) {
    const auto at = steady_clock::now();
    if (at >= end || clean_cuts != clean_cuts_) break;
    if (cut != nullptr && at >= start + milliseconds(cut->ms)) {
      if (cut->clean) break;
      return exchange.Close();
    }
    if (cuts != cuts_ || exchange.PeerGone() || stop.stop_requested()) return exchange.Close();
    if (bookmarks && at >= next_bookmark) {
      exchange.Write(line(
          "BOOKMARK",
          fmt::format(
              R"({{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{}","creationTimestamp":null}}}})",
              target.shape == Shape::kMetadata ? "PartialObjectMetadata" : target.resource().kind,
              target.shape == Shape::kMetadata ? "meta.k8s.io/v1" : target.resource().ApiVersion(),
              (*watch)->position())));
      next_bookmark = at + options_.bookmark_interval;
      if (last_bookmark > at) next_bookmark = std::min(next_bookmark, last_bookmark);
    }
    auto wait = std::min<steady_clock::duration>(kWatchTick, end - at);
    if (cut != nullptr) wait = std::min(wait, start + milliseconds(cut->ms) - at);
    const auto events = (*watch)->Next(std::chrono::ceil<milliseconds>(wait), exchange.stop());
    if (!events.ok()) {
      exchange.Write(error_line(events.status()));
      break;
    }
    for (const StoreEvent& event : *events) {
      const std::string text = event_line(event);
      if (Find(faults, FaultAction::kHalf) != nullptr) {
        exchange.Write(std::string_view(text).substr(0, text.size() / 2));
        return exchange.Close();
      }
      if (!exchange.Write(text)) return;
      if (Find(faults, FaultAction::kReset) != nullptr) return exchange.Reset();
      if (slow != nullptr && stop.WaitFor(milliseconds(slow->ms))) return exchange.Close();
    }
  }
  exchange.EndStream();
}

absl::StatusOr<ObjectPtr> ApiServer::HandleWrite(const HttpRequest& request, const Target& target) {
  auto body = Value::Parse(request.body);
  if (!body.ok()) return Refuse(400, "BadRequest", base::Message(body.status()));
  if (target.verb == "create") {
    if (!target.key.name.empty()) return Refuse(405, "MethodNotAllowed", "this subresource is not simulated");
    return store_.Create(target.resource(), target.key.ns, *std::move(body));
  }
  if (target.key.name.empty()) return Refuse(405, "MethodNotAllowed", "the server does not allow this method here");
  if (target.verb == "update") {
    return store_.Replace(target.resource(), target.key, *std::move(body), target.subresource);
  }
  if (target.verb != "patch") return Refuse(405, "MethodNotAllowed", "the server does not allow this method here");
  const auto type = request.Header("content-type");
  kube::StorePatch kind = kube::StorePatch::kMerge;
  if (type.starts_with("application/apply-patch+yaml")) {
    if (request.Query("fieldManager").empty()) {
      return Refuse(400, "BadRequest", "fieldManager is required for apply patch");
    }
    kind = kube::StorePatch::kApply;
  } else if (type.starts_with("application/strategic-merge-patch+json")) {
    // Real servers know the merge keys of built-in types only.
    if (target.type->custom)
      return Refuse(415, "UnsupportedMediaType", "the body of the request was in an unknown format");
    kind = kube::StorePatch::kStrategic;
  } else if (!type.starts_with("application/merge-patch+json")) {
    return Refuse(415, "UnsupportedMediaType", "the body of the request was in an unknown format");
  }
  return store_.Patch(target.resource(), target.key, kind, *body, target.subresource);
}

void ApiServer::HandleDelete(Exchange& exchange, const Target& target) {
  if (target.key.name.empty() || !target.subresource.empty()) {
    return RespondError(exchange, Refuse(405, "MethodNotAllowed", "collections are not deleted in one go here"));
  }
  kube::ObjectStore::Preconditions preconditions;
  if (const auto options = Value::Parse(exchange.request().body); options.ok()) {
    preconditions.uid = (*options)["preconditions"]["uid"].StringOr();
    preconditions.resource_version = (*options)["preconditions"]["resourceVersion"].StringOr();
  }
  const auto object = store_.Delete(target.resource(), target.key, preconditions);
  if (!object.ok()) return RespondError(exchange, object.status());
  if ((*object)->deleting && store_.Get(target.resource(), target.key).ok()) {
    exchange.Respond(200, kJson, (*object)->json);
    return;
  }
  const Value details(Value::Object{{"name", target.key.name},
                                    {"group", target.resource().group},
                                    {"kind", target.resource().plural},
                                    {"uid", (*object)->uid}});
  exchange.Respond(200, kJson,
                   Value(Value::Object{{"kind", "Status"},
                                       {"apiVersion", "v1"},
                                       {"metadata", Value::Object()},
                                       {"status", "Success"},
                                       {"details", details}})
                       .Dump());
}

}  // namespace clusterpulse::kubesim
