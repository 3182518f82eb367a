#include "common/kube/testing/fake_kube_api.h"

#include <algorithm>

#include "common/base/status.h"
#include "common/kube/testing/discovery_documents.h"

namespace clusterpulse::kube {

using base::MutexLock;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr std::size_t kCallsKept = 10000;

absl::Status Cancelled() { return absl::CancelledError("cancelled by the caller"); }

absl::StatusOr<std::string> Text(absl::StatusOr<ObjectPtr> object) {
  if (!object.ok()) return object.status();
  return (*object)->json;
}

// The object as a list or watch of a client shows it.
std::string Shown(const StoredObject& object, bool metadata_only) {
  return metadata_only ? object.MetadataOnly() : object.json;
}

}  // namespace

FakeKubeApi::FakeKubeApi() : own_(std::make_unique<ObjectStore>()), store_(*own_) {}

absl::Status FakeKubeApi::Enter(Call call, const CallOptions& options) {
  const auto deadline = steady_clock::now() + options.timeout;
  const std::stop_callback wake(options.stop, [this] {
    MutexLock lock(mu_);
    changed_.NotifyAll();
  });
  const Verb verb = call.verb;
  const std::string resource = call.resource;
  if (!call.key.ns.empty() && !IsPathSegment(call.key.ns)) return base::InvalidArgument("bad namespace");
  if (!call.key.name.empty() && !IsPathSegment(call.key.name)) return base::InvalidArgument("bad name");
  MutexLock lock(mu_);
  if (calls_.size() == kCallsKept) calls_.erase(calls_.begin(), calls_.begin() + kCallsKept / 2);
  calls_.push_back(std::move(call));
  changed_.NotifyAll();
  while (true) {
    if (options.stop.stop_requested()) return Cancelled();
    if (!held_.contains({verb, resource}) && !held_.contains({verb, ""})) break;
    const auto now = steady_clock::now();
    if (now >= deadline) return absl::DeadlineExceededError("deadline exceeded");
    changed_.WaitFor(mu_, deadline - now);
  }
  const auto fault = std::find_if(faults_.begin(), faults_.end(), [&](const Fault& f) {
    return f.verb == verb && (f.resource.empty() || f.resource == resource);
  });
  if (fault == faults_.end()) return absl::OkStatus();
  absl::Status status = fault->status;
  if (fault->times != kForever && --fault->times == 0) faults_.erase(fault);
  return status;
}

absl::StatusOr<ListPage> FakeKubeApi::List(const ListQuery& query, ItemVisitor visit, const CallOptions& options) {
  RETURN_IF_ERROR(Enter({.verb = Verb::kList,
                         .resource = query.resource.plural,
                         .key = {query.ns, ""},
                         .resource_version = query.resource_version},
                        options));
  const int limit = query.resource_version == "0" ? 0 : query.limit;
  ASSIGN_OR_RETURN(
      const StoreList list,
      store_.List(query.resource, {query.ns, query.label_selector, query.field_selector}, limit, query.continue_token));
  const ServedTypePtr type = store_.FindType(query.resource.group, query.resource.version, query.resource.plural);
  json::Parser parser;
  for (const ObjectPtr& object : list.objects) {
    if (options.stop.stop_requested()) return Cancelled();
    std::string item;
    if (query.metadata_only || type == nullptr || type->custom) {
      item = Shown(*object, query.metadata_only);
    } else {
      object->AppendWithoutType(item);
    }
    RETURN_IF_ERROR(parser.Parse(item, visit));
  }
  return ListPage{std::to_string(list.version), list.continue_token};
}

absl::Status FakeKubeApi::Watch(const WatchQuery& query, WatchVisitor visit, const CallOptions& options) {
  RETURN_IF_ERROR(Enter({.verb = Verb::kWatch,
                         .resource = query.resource.plural,
                         .key = {query.ns, ""},
                         .resource_version = query.resource_version},
                        options));
  std::list<RunningWatch>::iterator running;
  {
    MutexLock lock(mu_);
    running = watches_.insert(watches_.end(), RunningWatch{query.resource.plural, {}, {}, false});
    changed_.NotifyAll();
  }
  absl::Status status = RunWatch(query, visit, options, *running);
  MutexLock lock(mu_);
  watches_.erase(running);
  changed_.NotifyAll();
  return status;
}

absl::Status FakeKubeApi::RunWatch(const WatchQuery& query, WatchVisitor visit, const CallOptions& options,
                                   RunningWatch& running) {
  const auto deadline = steady_clock::now() + query.timeout;
  ASSIGN_OR_RETURN(
      const auto watch,
      store_.Watch(query.resource, {query.ns, query.label_selector, query.field_selector}, query.resource_version));
  json::Parser parser;
  const auto bookmark = [&] {
    const std::string object = fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{}"}}}})",
                                           query.resource.kind, query.resource.ApiVersion(), watch->position());
    return parser.Parse(object, [&](json::Cursor cursor) { return visit(WatchEventType::kBookmark, cursor); });
  };
  int delivered = 0;
  while (true) {
    std::stop_token wake;
    bool send_bookmark = false;
    {
      MutexLock lock(mu_);
      if (options.stop.stop_requested()) return Cancelled();
      if (running.end.has_value()) return *running.end;
      if (cut_after_ > 0 && delivered >= cut_after_) return cut_status_;
      running.wake = std::stop_source();
      wake = running.wake.get_token();
      send_bookmark = std::exchange(running.bookmark, false);
    }
    if (send_bookmark) RETURN_IF_ERROR(bookmark());
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now());
    if (left <= milliseconds::zero()) return bookmark();
    const std::stop_callback stop(options.stop, [this, &running] {
      MutexLock lock(mu_);
      running.wake.request_stop();
    });
    ASSIGN_OR_RETURN(const std::vector<StoreEvent> events, watch->Next(left, wake));
    for (const StoreEvent& event : events) {
      if (options.stop.stop_requested()) return Cancelled();
      RETURN_IF_ERROR(parser.Parse(Shown(*event.object, query.metadata_only),
                                   [&](json::Cursor cursor) { return visit(event.type, cursor); }));
      ++delivered;
      MutexLock lock(mu_);
      if (running.end.has_value()) return *running.end;
      if (cut_after_ > 0 && delivered >= cut_after_) return cut_status_;
    }
  }
}

absl::StatusOr<std::string> FakeKubeApi::Get(const ResourceType& resource, const ObjectKey& key,
                                             const CallOptions& options) {
  RETURN_IF_ERROR(Enter({.verb = Verb::kGet, .resource = resource.plural, .key = key}, options));
  return Text(store_.Get(resource, key));
}

absl::StatusOr<std::string> FakeKubeApi::GetPath(std::string_view path, const CallOptions& options) {
  RETURN_IF_ERROR(Enter({.verb = Verb::kGetPath, .resource = std::string(path)}, options));
  if (path == "/healthz" || path == "/livez" || path == "/readyz") return "ok";
  if (auto document = DiscoveryDocument(store_, path)) return *std::move(document);
  return ToStatus({.code = 404,
                   .reason = "NotFound",
                   .message = "the server could not find the requested resource",
                   .retry_after = {}});
}

absl::StatusOr<std::string> FakeKubeApi::Create(const ResourceType& resource, std::string_view ns,
                                                std::string_view body, const CallOptions& options) {
  RETURN_IF_ERROR(Enter(
      {.verb = Verb::kCreate, .resource = resource.plural, .key = {std::string(ns), ""}, .body = std::string(body)},
      options));
  auto object = json::Value::Parse(body);
  if (!object.ok()) return object.status();
  return Text(store_.Create(resource, ns, *std::move(object)));
}

absl::StatusOr<std::string> FakeKubeApi::Replace(const ResourceType& resource, const ObjectKey& key,
                                                 std::string_view body, const CallOptions& options) {
  RETURN_IF_ERROR(
      Enter({.verb = Verb::kReplace, .resource = resource.plural, .key = key, .body = std::string(body)}, options));
  auto object = json::Value::Parse(body);
  if (!object.ok()) return object.status();
  return Text(store_.Replace(resource, key, *std::move(object)));
}

absl::StatusOr<std::string> FakeKubeApi::Patch(const ResourceType& resource, const ObjectKey& key, PatchType type,
                                               std::string_view body, const PatchOptions& patch,
                                               const CallOptions& options) {
  const bool apply = type == PatchType::kServerApply;
  RETURN_IF_ERROR(Enter({.verb = apply ? Verb::kApply : Verb::kPatch,
                         .resource = resource.plural,
                         .key = key,
                         .subresource = patch.subresource,
                         .body = std::string(body)},
                        options));
  if (apply && patch.field_manager.empty()) return base::InvalidArgument("apply needs a field manager");
  const auto change = json::Value::Parse(body);
  if (!change.ok()) return change.status();
  return Text(store_.Patch(resource, key, apply ? StorePatch::kApply : StorePatch::kMerge, *change, patch.subresource));
}

absl::Status FakeKubeApi::Delete(const ResourceType& resource, const ObjectKey& key, const DeleteOptions& how,
                                 const CallOptions& options) {
  RETURN_IF_ERROR(Enter({.verb = Verb::kDelete, .resource = resource.plural, .key = key}, options));
  return store_.Delete(resource, key, {how.uid, ""}).status();
}

// --- faults ---

void FakeKubeApi::FailNext(Verb verb, std::string resource, absl::Status status, int times) {
  MutexLock lock(mu_);
  faults_.push_back({verb, std::move(resource), std::move(status), times});
}

void FakeKubeApi::Hold(Verb verb, std::string resource) {
  MutexLock lock(mu_);
  held_.emplace(verb, std::move(resource));
}

void FakeKubeApi::Release() {
  MutexLock lock(mu_);
  held_.clear();
  changed_.NotifyAll();
}

void FakeKubeApi::CutWatchesAfter(int events, absl::Status status) {
  MutexLock lock(mu_);
  cut_after_ = events;
  cut_status_ = std::move(status);
}

void FakeKubeApi::EndWatches(const absl::Status& status) {
  MutexLock lock(mu_);
  for (RunningWatch& watch : watches_) {
    watch.end = status;
    watch.wake.request_stop();
  }
}

void FakeKubeApi::SendBookmark() {
  MutexLock lock(mu_);
  for (RunningWatch& watch : watches_) {
    watch.bookmark = true;
    watch.wake.request_stop();
  }
}

void FakeKubeApi::ClearFaults() {
  MutexLock lock(mu_);
  faults_.clear();
  held_.clear();
  cut_after_ = 0;
  changed_.NotifyAll();
}

// --- what was called ---

std::vector<FakeKubeApi::Call> FakeKubeApi::calls() const {
  MutexLock lock(mu_);
  return calls_;
}

int FakeKubeApi::Count(Verb verb, std::string_view resource) const {
  MutexLock lock(mu_);
  return static_cast<int>(std::count_if(calls_.begin(), calls_.end(), [&](const Call& call) {
    return call.verb == verb && (resource.empty() || call.resource == resource);
  }));
}

void FakeKubeApi::ClearCalls() {
  MutexLock lock(mu_);
  calls_.clear();
}

bool FakeKubeApi::WaitForCalls(Verb verb, std::string_view resource, int count, milliseconds limit) const {
  const auto deadline = steady_clock::now() + limit;
  while (Count(verb, resource) < count) {
    const auto now = steady_clock::now();
    if (now >= deadline) return false;
    MutexLock lock(mu_);
    // Short: a call may have come between the count and the wait.
    changed_.WaitFor(mu_, std::min<steady_clock::duration>(deadline - now, milliseconds(5)));
  }
  return true;
}

bool FakeKubeApi::WaitForWatches(std::string_view resource, int count, milliseconds limit) const {
  const auto deadline = steady_clock::now() + limit;
  MutexLock lock(mu_);
  while (true) {
    const auto running = std::count_if(watches_.begin(), watches_.end(), [resource](const RunningWatch& watch) {
      return resource.empty() || watch.resource == resource;
    });
    if (running >= count) return true;
    const auto now = steady_clock::now();
    if (now >= deadline) return false;
    changed_.WaitFor(mu_, deadline - now);
  }
}

}  // namespace clusterpulse::kube
