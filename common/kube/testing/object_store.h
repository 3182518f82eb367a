#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/json/value.h"
#include "common/kube/kube_api.h"
#include "common/kube/testing/selector.h"
#include "common/kube/testing/served_type.h"

namespace clusterpulse::kube {

// One version of one object, rendered once and shared by every list and watch that shows it. Immutable.
struct StoredObject {
  ObjectKey key;
  std::string uid;
  std::int64_t version = 0;
  bool deleting = false;
  FlatMap labels;
  FlatMap fields;    // what field selectors of the type may name, beyond name and namespace
  std::string json;  // starts with kind, apiVersion, metadata

  // {"metadata":...}: an item of a list of a built-in type, whose items carry neither kind nor apiVersion.
  void AppendWithoutType(std::string& out) const {
    out.push_back('{');
    out.append(json, metadata_member, std::string::npos);
  }
  // The value of "metadata".
  std::string_view Metadata() const {
    return std::string_view(json).substr(metadata_begin, metadata_end - metadata_begin);
  }
  // The object as PartialObjectMetadata.
  std::string MetadataOnly() const;

  std::size_t metadata_member = 0, metadata_begin = 0, metadata_end = 0;  // byte offsets in json
};
using ObjectPtr = std::shared_ptr<const StoredObject>;
using ServedTypePtr = std::shared_ptr<const ServedType>;

struct StoreQuery {
  std::string ns;  // empty: all
  std::string label_selector, field_selector;
};

struct StoreTable;

struct StoreList {
  std::int64_t version = 0;
  std::string continue_token;
  std::vector<ObjectPtr> objects;
};

struct StoreEvent {
  WatchEventType type = WatchEventType::kAdded;  // never kBookmark
  ObjectPtr object;
};

enum class StorePatch { kMerge, kStrategic, kApply };

class ObjectStore;

// One running watch. Confined to one thread; the store must outlive it.
class StoreWatch {
 public:
  // The next events, at least one; none when `limit` passed or `stop` was requested. kOutOfRange (410 Expired) when the
  // store no longer has the events behind the position; kNotFound when the type is no longer served.
  absl::StatusOr<std::vector<StoreEvent>> Next(std::chrono::milliseconds limit, std::stop_token stop);
  // Every event up to this version was given out: what a bookmark says.
  std::int64_t position() const { return position_; }

 private:
  friend class ObjectStore;
  StoreWatch(ObjectStore& store, std::shared_ptr<StoreTable> table, StoreQuery query, Selector labels, Selector fields)
      : store_(store),
        table_(std::move(table)),
        query_(std::move(query)),
        labels_(std::move(labels)),
        fields_(std::move(fields)) {}

  ObjectStore& store_;
  std::shared_ptr<StoreTable> table_;
  StoreQuery query_;
  Selector labels_, fields_;
  std::int64_t position_ = 0;
  std::vector<StoreEvent> initial_;
};

// The objects of one simulated API server, in memory: versions, optimistic locks, generations, finalizers, selectors,
// pages pinned to a version and in the order of "namespace/name", a bounded history for watches, and
// CustomResourceDefinitions that add types. FakeKubeApi calls it directly, kubesim serves it over HTTP. Thread-safe.
//
// Errors are those of a real server (ApiError inside the status: NotFound, AlreadyExists, Conflict, Invalid,
// BadRequest, Forbidden, Expired).
//
// Not imitated: field ownership (an apply is create-or-merge; a list in it replaces the stored list), admission,
// validation of built-in types, garbage collection by owner references, graceful deletion of pods (they go at once),
// conversion between versions (a custom resource is served in its storage version only), quotas.
//
// "default" and "kube-system" exist from the start; others are made by creating a Namespace, or by Put.
class ObjectStore {
 public:
  struct Options {
    const base::Clock* clock = &base::SystemClock();  // borrowed; stamps creation and deletion
    std::uint64_t seed = 1;                           // of uids and generated names
    // Events kept for each type. What is older is gone: resuming there, or continuing a list from there, is 410.
    std::size_t history = 1024;
  };

  ObjectStore() : ObjectStore(Options()) {}
  explicit ObjectStore(Options options);
  ObjectStore(const ObjectStore&) = delete;
  ObjectStore& operator=(const ObjectStore&) = delete;

  // Types.
  void Serve(const std::vector<ServedType>& types);
  ServedTypePtr FindType(std::string_view group, std::string_view version, std::string_view plural) const;
  std::vector<ServedTypePtr> Types() const;

  // Reads. `limit` 0: everything. kOutOfRange for a continue token whose version is forgotten.
  absl::StatusOr<ObjectPtr> Get(const ResourceType& type, const ObjectKey& key) const;
  absl::StatusOr<StoreList> List(const ResourceType& type, const StoreQuery& query, int limit = 0,
                                 std::string_view continue_token = "") const;
  // Events after `version`. Without a version, or with "0": first everything there is, as kAdded.
  absl::StatusOr<std::unique_ptr<StoreWatch>> Watch(const ResourceType& type, StoreQuery query,
                                                    std::string_view version);
  std::int64_t version() const;

  // Writes, as clients make them. A write that changes nothing keeps the version. `subresource` is "" or "status".
  absl::StatusOr<ObjectPtr> Create(const ResourceType& type, std::string_view ns, json::Value object);
  absl::StatusOr<ObjectPtr> Replace(const ResourceType& type, const ObjectKey& key, json::Value object,
                                    std::string_view subresource = "");
  absl::StatusOr<ObjectPtr> Patch(const ResourceType& type, const ObjectKey& key, StorePatch kind,
                                  const json::Value& patch, std::string_view subresource = "");
  struct Preconditions {
    std::string uid, resource_version;  // empty: none
  };
  // The object as it was when it went, or as it is now when finalizers keep it.
  absl::StatusOr<ObjectPtr> Delete(const ResourceType& type, const ObjectKey& key, const Preconditions& preconditions);
  absl::StatusOr<ObjectPtr> Delete(const ResourceType& type, const ObjectKey& key) { return Delete(type, key, {}); }

  // For fixtures and fleets: creates or replaces the whole object, status included, whatever its version, and makes its
  // namespace when missing. Fails only for a type that is not served or an object without a name.
  absl::StatusOr<ObjectPtr> Put(const ResourceType& type, json::Value object);
  // Reads an object, lets `change` edit it, and stores it, status included.
  absl::StatusOr<ObjectPtr> Edit(const ResourceType& type, const ObjectKey& key,
                                 absl::FunctionRef<void(json::Value&)> change);
  // Forgets all history, as etcd's compaction does: every older version and continue token is now 410. Running watches
  // that had already seen everything go on.
  void Compact();

 private:
  friend class StoreWatch;
  using TablePtr = std::shared_ptr<StoreTable>;

  absl::StatusOr<TablePtr> TableLocked(const ResourceType& type) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ServeLocked(ServedType type) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<ObjectPtr> FindLocked(const StoreTable& table, const ObjectKey& key) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<ObjectPtr> CreateLocked(StoreTable& table, std::string_view ns, json::Value object, bool keep_status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<ObjectPtr> UpdateLocked(StoreTable& table, const ObjectPtr& previous, json::Value next,
                                         std::string_view subresource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<ObjectPtr> DeleteLocked(StoreTable& table, const ObjectPtr& previous)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  ObjectPtr WriteLocked(StoreTable& table, const ObjectPtr& previous, json::Value next)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  ObjectPtr RemoveLocked(StoreTable& table, const ObjectPtr& previous, json::Value last)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RecordLocked(StoreTable& table, WatchEventType type, ObjectPtr object, ObjectPtr previous)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckNamespaceLocked(const StoreTable& table, std::string_view ns, std::string_view name) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EnsureNamespaceLocked(std::string_view ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Removes namespaces and definitions that are being deleted and have become empty.
  void FinishTerminatingLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // False when finalizers keep it.
  bool DropTerminatedLocked(StoreTable& table, const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool NamespaceIsEmptyLocked(std::string_view ns) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string NewUidLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  mutable base::Mutex mu_;
  base::SeededRandom random_;
  std::int64_t version_ ABSL_GUARDED_BY(mu_) = 1000;
  std::map<std::pair<std::string, std::string>, TablePtr> tables_ ABSL_GUARDED_BY(mu_);  // by group and plural
  std::set<std::string> terminating_namespaces_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> terminating_definitions_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::kube
