#pragma once

#include <chrono>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include "common/json/cursor.h"
#include "common/kube/api_error.h"
#include "common/kube/resource.h"

namespace clusterpulse::kube {

// Limits of one call. Every call ends by itself: with an answer, kDeadlineExceeded, or kCancelled after `stop`.
struct CallOptions {
  std::chrono::milliseconds timeout{30000};
  std::stop_token stop{};
  // False: a refusal (429, 503) is returned at once, for callers that count and space their attempts themselves; when
  // the server wants to be asked again is in GetApiError(status)->retry_after.
  bool repeats_refused = true;
};

struct ListQuery {
  ResourceType resource;
  std::string ns;  // empty: all namespaces
  std::string label_selector, field_selector;
  int limit = 500;             // page size, 1..10000
  std::string continue_token;  // from the previous page
  // Empty: the newest state (quorum read). "0": whatever the server's cache holds; servers ignore `limit` then.
  std::string resource_version;
  // Ask for metadata only (PartialObjectMetadata): Secrets are watched without their values ever coming here.
  bool metadata_only = false;
};

struct ListPage {
  std::string resource_version;
  std::string continue_token;  // empty: this was the last page
  std::size_t bytes = 0;       // of the answer, unpacked
};

// One call per object of the page, in the server's order. An error ends the call with that error.
using ItemVisitor = absl::FunctionRef<absl::Status(json::Cursor object)>;

struct WatchQuery {
  ResourceType resource;
  std::string ns;
  std::string label_selector, field_selector;
  std::string resource_version;       // events after this one
  std::chrono::seconds timeout{400};  // asked of the server, which then ends the watch cleanly
  bool metadata_only = false;
};

enum class WatchEventType { kAdded, kModified, kDeleted, kBookmark };

// One call per event. An ok status goes on; any other ends the watch with that status.
using WatchVisitor = absl::FunctionRef<absl::Status(WatchEventType type, json::Cursor object)>;

enum class PatchType {
  kMerge,        // application/merge-patch+json
  kServerApply,  // application/apply-patch+yaml; needs field_manager
};

struct PatchOptions {
  std::string subresource;    // "" or "status"
  std::string field_manager;  // written as the manager of the fields
  bool force = false;         // server-side apply: take over fields of other managers
};

struct DeleteOptions {
  std::string uid;                 // precondition; empty: none
  std::string propagation_policy;  // "", "Background", "Foreground", "Orphan"
};

// Port to one Kubernetes API server. Thread-safe; calls block the caller.
//
// Errors: those of api_error.h when the server answered; otherwise kUnavailable (cannot connect, connection lost),
// kDeadlineExceeded, kCancelled, kUnauthenticated (the server's certificate or our TLS material is refused: a person is
// needed), kDataLoss (an answer that is no JSON), kInvalidArgument (bad configuration or names). Requests that answer
// 429 or 503 are repeated inside the call while its deadline allows, after Retry-After, unless the call says otherwise.
//
// Adapters: HttpKubeApi (http_kube_api.h), FakeKubeApi (testing/fake_kube_api.h).
class KubeApi {
 public:
  virtual ~KubeApi() = default;

  // One page. On kOutOfRange the continue token is too old: start again without it, dropping what came so far (ListAll
  // in lister.h does).
  virtual absl::StatusOr<ListPage> List(const ListQuery& query, ItemVisitor visit, const CallOptions& options) = 0;

  // Blocks until the watch ends. Ok: the server ended it cleanly (time-out); watch again from the last version seen.
  // kOutOfRange: that version is too old; list again. options.timeout bounds the connection and the wait for the
  // response headers; a watch that the server has not ended query.timeout plus 30 s later ends with kDeadlineExceeded,
  // so that a connection which is there and silent is not kept for long.
  virtual absl::Status Watch(const WatchQuery& query, WatchVisitor visit, const CallOptions& options) = 0;

  // One object as JSON.
  virtual absl::StatusOr<std::string> Get(const ResourceType& resource, const ObjectKey& key,
                                          const CallOptions& options) = 0;
  // A path of the server that is no object: "/version", "/apis/apps/v1".
  virtual absl::StatusOr<std::string> GetPath(std::string_view path, const CallOptions& options) = 0;

  // All three return the object as the server now has it. `body` is JSON.
  virtual absl::StatusOr<std::string> Create(const ResourceType& resource, std::string_view ns, std::string_view body,
                                             const CallOptions& options) = 0;
  virtual absl::StatusOr<std::string> Replace(const ResourceType& resource, const ObjectKey& key, std::string_view body,
                                              const CallOptions& options) = 0;
  virtual absl::StatusOr<std::string> Patch(const ResourceType& resource, const ObjectKey& key, PatchType type,
                                            std::string_view body, const PatchOptions& patch,
                                            const CallOptions& options) = 0;

  virtual absl::Status Delete(const ResourceType& resource, const ObjectKey& key, const DeleteOptions& how,
                              const CallOptions& options) = 0;
};

}  // namespace clusterpulse::kube
