#include "common/kube/testing/object_store.h"

#include <algorithm>
#include <charconv>

#include <absl/strings/escaping.h>

#include "common/base/status.h"
#include "common/base/time_format.h"
#include "common/json/writer.h"
#include "common/kube/api_error.h"
#include "common/kube/testing/crd_schema.h"
#include "common/kube/testing/merge.h"

namespace clusterpulse::kube {

using base::MutexLock;
using json::Value;

// The order of a real server's lists: that of its keys in etcd, "namespace/name". A namespace comes behind those that
// go on with '-' after its name, and before all others that begin with it.
struct StoreOrder {
  bool operator()(const ObjectKey& a, const ObjectKey& b) const {
    const auto [at_a, at_b] = std::mismatch(a.ns.begin(), a.ns.end(), b.ns.begin(), b.ns.end());
    if (at_a == a.ns.end() && at_b == b.ns.end()) return a.name < b.name;
    const unsigned char next_a = at_a == a.ns.end() ? '/' : *at_a, next_b = at_b == b.ns.end() ? '/' : *at_b;
    return next_a < next_b;
  }
};
using StoreObjects = std::map<ObjectKey, ObjectPtr, StoreOrder>;

// The objects of one type. Guarded by the store's lock.
struct StoreTable {
  struct Change {
    std::int64_t version = 0;
    WatchEventType type = WatchEventType::kAdded;
    ObjectPtr object;
    ObjectPtr previous;  // null: there was none
  };

  ServedTypePtr type;
  StoreObjects objects;
  std::deque<Change> history;
  std::int64_t dropped = 0;    // version of the newest change that left the history
  std::int64_t compacted = 0;  // nobody may start from a version below this one
  base::CondVar changed;
  bool gone = false;  // the type is no longer served
};

namespace {

absl::Status Refuse(int code, std::string reason, std::string message) {
  return ToStatus({.code = code, .reason = std::move(reason), .message = std::move(message), .retry_after = {}});
}

absl::Status NotFound(const ServedType& type, std::string_view name) {
  return Refuse(404, "NotFound", fmt::format("{} \"{}\" not found", type.QualifiedName(), name));
}

absl::Status NotServed() { return Refuse(404, "NotFound", "the server could not find the requested resource"); }

absl::Status Conflict(const ServedType& type, std::string_view name, std::string_view why) {
  return Refuse(409, "Conflict",
                fmt::format("Operation cannot be fulfilled on {} \"{}\": {}", type.QualifiedName(), name, why));
}

absl::Status Invalid(const ServedType& type, std::string_view name, std::string_view why) {
  return Refuse(422, "Invalid",
                fmt::format("{}{}{} \"{}\" is invalid: {}", type.resource.kind, type.resource.group.empty() ? "" : ".",
                            type.resource.group, name, why));
}

absl::Status Expired() {
  return Refuse(410, "Expired", "The resource version or continue parameter is too old: the history was compacted");
}

std::string ScalarText(const Value& value) {
  if (value.IsString()) return std::string(value.StringOr());
  return value.IsNull() || value.IsObject() || value.IsArray() ? std::string() : value.Dump();
}

const Value& AtPath(const Value& object, std::string_view path) {
  const Value* at = &object;
  while (!path.empty()) {
    const auto dot = std::min(path.find('.'), path.size());
    at = &(*at)[path.substr(0, dot)];
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  return *at;
}

ObjectPtr Render(const ServedType& type, std::int64_t version, const Value& object) {
  const Value& metadata = object["metadata"];
  auto stored = std::make_shared<StoredObject>();
  stored->key = {std::string(metadata["namespace"].StringOr()), std::string(metadata["name"].StringOr())};
  stored->uid = metadata["uid"].StringOr();
  stored->version = version;
  stored->deleting = metadata.Find("deletionTimestamp") != nullptr;
  for (const auto& [key, value] : metadata["labels"].members()) stored->labels.emplace_back(key, value.StringOr());
  for (const std::string& path : type.fields) {
    std::string text = ScalarText(AtPath(object, path));
    if (text.empty() && path == "spec.unschedulable") text = "false";
    stored->fields.emplace_back(path, std::move(text));
  }
  std::string& json = stored->json;
  json = fmt::format(R"({{"kind":"{}","apiVersion":"{}",)", type.resource.kind, type.resource.ApiVersion());
  stored->metadata_member = json.size();
  json += "\"metadata\":";
  stored->metadata_begin = json.size();
  metadata.AppendTo(json);
  stored->metadata_end = json.size();
  for (const auto& [key, member] : object.members()) {
    if (key == "kind" || key == "apiVersion" || key == "metadata") continue;
    json += ",\"";
    json::AppendEscaped(json, key);
    json += "\":";
    member.AppendTo(json);
  }
  json += '}';
  json.shrink_to_fit();
  return stored;
}

// What the store keeps parses.
Value ToValue(const StoredObject& object) {
  auto value = Value::Parse(object.json);
  return value.ok() ? *std::move(value) : Value();
}

bool Selected(const StoredObject& object, const StoreQuery& query, const Selector& labels, const Selector& fields) {
  if (!query.ns.empty() && object.key.ns != query.ns) return false;
  if (!labels.Matches(object.labels)) return false;
  if (fields.empty()) return true;
  FlatMap all = object.fields;
  all.emplace_back("metadata.name", object.key.name);
  all.emplace_back("metadata.namespace", object.key.ns);
  return fields.Matches(all);
}

absl::StatusOr<Selector> ParseFieldsFor(const ServedType& type, std::string_view text) {
  ASSIGN_OR_RETURN(Selector selector, Selector::ParseFields(text));
  for (const std::string& key : selector.Keys()) {
    const bool known = key == "metadata.name" || key == "metadata.namespace" ||
                       std::find(type.fields.begin(), type.fields.end(), key) != type.fields.end();
    if (!known) return Refuse(400, "BadRequest", fmt::format("field label not supported: {}", key));
  }
  return selector;
}

struct ContinueToken {
  std::int64_t version = 0;
  ObjectKey last;
};

std::string EncodeToken(const ContinueToken& token) {
  return absl::WebSafeBase64Escape(fmt::format("{} {} {}", token.version, token.last.ns, token.last.name));
}

std::optional<ContinueToken> DecodeToken(std::string_view text) {
  std::string plain;
  if (!absl::WebSafeBase64Unescape(absl::string_view(text.data(), text.size()), &plain)) return std::nullopt;
  const auto first = plain.find(' ');
  const auto second = plain.find(' ', first == plain.npos ? 0 : first + 1);
  if (first == plain.npos || second == plain.npos) return std::nullopt;
  ContinueToken token;
  const auto end = plain.data() + first;
  if (std::from_chars(plain.data(), end, token.version).ptr != end) return std::nullopt;
  token.last = {plain.substr(first + 1, second - first - 1), plain.substr(second + 1)};
  return token;
}

// The parts of two objects that count for the generation are equal.
bool SameSpec(const Value& a, const Value& b, bool ignore_status) {
  const auto relevant = [ignore_status](const Value& object) {
    Value copy = object;
    copy.Erase("metadata");
    copy.Erase("kind");
    copy.Erase("apiVersion");
    if (ignore_status) copy.Erase("status");
    return copy;
  };
  return relevant(a) == relevant(b);
}

void CopyMember(const Value& from, Value& to, std::string_view key) {
  if (const Value* member = from.Find(key)) {
    to.Mutable(key) = *member;
  } else {
    to.Erase(key);
  }
}

bool HasFinalizers(const Value& object) { return !object["metadata"]["finalizers"].items().empty(); }

void EncodeStringData(Value& secret) {
  for (const auto& [key, text] : secret["stringData"].members()) {
    const auto plain = text.StringOr();
    secret.Mutable("data").Mutable(key) = absl::Base64Escape(absl::string_view(plain.data(), plain.size()));
  }
  secret.Erase("stringData");
}

// The type a CustomResourceDefinition describes, in its storage version.
ServedType FromDefinition(const Value& definition) {
  const Value& spec = definition["spec"];
  ServedType type;
  type.custom = true;
  type.has_generation = true;
  type.resource.group = spec["group"].StringOr();
  type.resource.plural = spec["names"]["plural"].StringOr();
  type.resource.kind = spec["names"]["kind"].StringOr();
  type.resource.namespaced = spec["scope"].StringOr() != "Cluster";
  type.singular = spec["names"]["singular"].StringOr();
  for (const Value& name : spec["names"]["shortNames"].items()) type.short_names.emplace_back(name.StringOr());
  for (const Value& version : spec["versions"].items()) {
    if (!version["storage"].BoolOr()) continue;
    type.resource.version = version["name"].StringOr();
    type.has_status = version["subresources"].Find("status") != nullptr;
    if (const Value* schema = version["schema"].Find("openAPIV3Schema")) {
      type.schema = std::make_shared<const Value>(*schema);
    }
    for (const Value& column : version["additionalPrinterColumns"].items()) {
      type.columns.push_back({std::string(column["name"].StringOr()), std::string(column["type"].StringOr()),
                              std::string(column["jsonPath"].StringOr()),
                              static_cast<int>(column["priority"].IntOr())});
    }
  }
  return type;
}

// What the server's controllers write into a new definition.
void EstablishDefinition(Value& definition, const std::string& now) {
  const Value names = definition["spec"]["names"];
  Value& status = definition.Mutable("status");
  status.Mutable("acceptedNames") = names;
  status.Mutable("storedVersions") = Value::Array{Value(FromDefinition(definition).resource.version)};
  Value::Array conditions;
  for (const char* type : {"NamesAccepted", "Established"}) {
    conditions.emplace_back(
        Value::Object{{"type", type},
                      {"status", "True"},
                      {"reason", type == std::string_view("Established") ? "InitialNamesAccepted" : "NoConflicts"},
                      {"message", "accepted by the simulated server"},
                      {"lastTransitionTime", now}});
  }
  if (status["conditions"].items().empty()) status.Mutable("conditions") = std::move(conditions);
}

void FinishDefinitionDefaults(Value& definition) {
  Value& names = definition.Mutable("spec").Mutable("names");
  if (names["listKind"].StringOr().empty()) names.Mutable("listKind") = std::string(names["kind"].StringOr()) + "List";
  if (names["singular"].StringOr().empty()) {
    std::string singular(names["kind"].StringOr());
    std::transform(singular.begin(), singular.end(), singular.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    names.Mutable("singular") = singular;
  }
}

}  // namespace

std::string StoredObject::MetadataOnly() const {
  return fmt::format(R"({{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{}}})", Metadata());
}

// --- types ---

ObjectStore::ObjectStore(Options options) : options_(options), random_(options.seed) {
  MutexLock lock(mu_);
  for (const ServedType& type : BuiltInTypes()) ServeLocked(type);
  EnsureNamespaceLocked("default");
  EnsureNamespaceLocked("kube-system");
}

void ObjectStore::Serve(const std::vector<ServedType>& types) {
  MutexLock lock(mu_);
  for (const ServedType& type : types) ServeLocked(type);
}

void ObjectStore::ServeLocked(ServedType type) {
  TablePtr& table = tables_[{type.resource.group, type.resource.plural}];
  if (table == nullptr) table = std::make_shared<StoreTable>();
  table->type = std::make_shared<const ServedType>(std::move(type));
}

ServedTypePtr ObjectStore::FindType(std::string_view group, std::string_view version, std::string_view plural) const {
  MutexLock lock(mu_);
  const auto it = tables_.find({std::string(group), std::string(plural)});
  if (it == tables_.end() || it->second->type->resource.version != version) return nullptr;
  return it->second->type;
}

std::vector<ServedTypePtr> ObjectStore::Types() const {
  MutexLock lock(mu_);
  std::vector<ServedTypePtr> types;
  for (const auto& [name, table] : tables_) types.push_back(table->type);
  return types;
}

absl::StatusOr<ObjectStore::TablePtr> ObjectStore::TableLocked(const ResourceType& type) const {
  const auto it = tables_.find({type.group, type.plural});
  if (it == tables_.end() || it->second->type->resource.version != type.version) return NotServed();
  return it->second;
}

// --- reads ---

std::int64_t ObjectStore::version() const {
  MutexLock lock(mu_);
  return version_;
}

absl::StatusOr<ObjectPtr> ObjectStore::FindLocked(const StoreTable& table, const ObjectKey& key) const {
  const auto it = table.objects.find(key);
  if (it == table.objects.end()) return NotFound(*table.type, key.name);
  return it->second;
}

absl::StatusOr<ObjectPtr> ObjectStore::Get(const ResourceType& type, const ObjectKey& key) const {
  MutexLock lock(mu_);
  ASSIGN_OR_RETURN(const TablePtr table, TableLocked(type));
  return FindLocked(*table, key);
}

absl::StatusOr<StoreList> ObjectStore::List(const ResourceType& type, const StoreQuery& query, int limit,
                                            std::string_view continue_token) const {
  ASSIGN_OR_RETURN(const Selector labels, Selector::ParseLabels(query.label_selector));
  MutexLock lock(mu_);
  ASSIGN_OR_RETURN(const TablePtr table, TableLocked(type));
  ASSIGN_OR_RETURN(const Selector fields, ParseFieldsFor(*table->type, query.field_selector));

  ContinueToken from{version_, {query.ns, ""}};
  if (!continue_token.empty()) {
    const auto token = DecodeToken(continue_token);
    if (!token) return Refuse(400, "BadRequest", "continue key is not valid");
    if (token->version < table->compacted) return Expired();
    from = *token;
  }
  // The objects as they were at from.version: where something changed since, what was there before the first change.
  StoreObjects then;
  const auto first_change =
      std::upper_bound(table->history.begin(), table->history.end(), from.version,
                       [](std::int64_t version, const StoreTable::Change& change) { return version < change.version; });
  for (auto change = first_change; change != table->history.end(); ++change) {
    then.emplace(change->object->key, change->previous);
  }

  StoreList page;
  page.version = from.version;
  auto now_it = table->objects.upper_bound(from.last);
  auto then_it = then.upper_bound(from.last);
  while (now_it != table->objects.end() || then_it != then.end()) {
    ObjectPtr object;
    if (then_it == then.end() || (now_it != table->objects.end() && StoreOrder()(now_it->first, then_it->first))) {
      object = now_it++->second;
    } else {
      if (now_it != table->objects.end() && now_it->first == then_it->first) ++now_it;
      object = then_it++->second;
      if (object == nullptr) continue;
    }
    if (!query.ns.empty() && object->key.ns != query.ns) break;
    if (!Selected(*object, query, labels, fields)) continue;
    if (limit > 0 && page.objects.size() == static_cast<std::size_t>(limit)) {
      page.continue_token = EncodeToken({from.version, page.objects.back()->key});
      break;
    }
    page.objects.push_back(std::move(object));
  }
  return page;
}

absl::StatusOr<std::unique_ptr<StoreWatch>> ObjectStore::Watch(const ResourceType& type, StoreQuery query,
                                                               std::string_view version) {
  ASSIGN_OR_RETURN(Selector labels, Selector::ParseLabels(query.label_selector));
  MutexLock lock(mu_);
  ASSIGN_OR_RETURN(const TablePtr table, TableLocked(type));
  ASSIGN_OR_RETURN(Selector fields, ParseFieldsFor(*table->type, query.field_selector));
  std::unique_ptr<StoreWatch> watch(
      new StoreWatch(*this, table, std::move(query), std::move(labels), std::move(fields)));
  if (version.empty() || version == "0") {
    watch->position_ = version_;
    for (const auto& [key, object] : table->objects) {
      if (Selected(*object, watch->query_, watch->labels_, watch->fields_)) {
        watch->initial_.push_back({WatchEventType::kAdded, object});
      }
    }
    return watch;
  }
  const char* end = version.data() + version.size();
  if (std::from_chars(version.data(), end, watch->position_).ptr != end) {
    return Refuse(400, "BadRequest", fmt::format("invalid resource version \"{}\"", version));
  }
  if (watch->position_ < table->compacted) return Expired();
  return watch;
}

absl::StatusOr<std::vector<StoreEvent>> StoreWatch::Next(std::chrono::milliseconds limit, std::stop_token stop) {
  if (!initial_.empty()) return std::exchange(initial_, {});
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const std::stop_callback wake(stop, [this] {
    MutexLock lock(store_.mu_);
    table_->changed.NotifyAll();
  });
  std::vector<StoreEvent> events;
  MutexLock lock(store_.mu_);
  while (true) {
    if (stop.stop_requested()) return events;
    if (table_->gone) return NotServed();
    if (position_ < table_->dropped) return Expired();
    auto change = std::upper_bound(
        table_->history.begin(), table_->history.end(), position_,
        [](std::int64_t version, const StoreTable::Change& change) { return version < change.version; });
    for (; change != table_->history.end(); ++change) {
      const bool was = change->previous != nullptr && Selected(*change->previous, query_, labels_, fields_);
      const bool is = change->type != WatchEventType::kDeleted && Selected(*change->object, query_, labels_, fields_);
      if (is) {
        events.push_back({was ? WatchEventType::kModified : WatchEventType::kAdded, change->object});
      } else if (was) {
        events.push_back({WatchEventType::kDeleted, change->object});
      }
    }
    position_ = std::max(position_, store_.version_);
    if (!events.empty()) return events;
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) return events;
    table_->changed.WaitFor(store_.mu_, deadline - now);
  }
}

// --- writes ---

void ObjectStore::RecordLocked(StoreTable& table, WatchEventType type, ObjectPtr object, ObjectPtr previous) {
  table.history.push_back({object->version, type, std::move(object), std::move(previous)});
  while (table.history.size() > options_.history) {
    table.dropped = table.history.front().version;
    table.compacted = std::max(table.compacted, table.dropped);
    table.history.pop_front();
  }
  table.changed.NotifyAll();
}

ObjectPtr ObjectStore::WriteLocked(StoreTable& table, const ObjectPtr& previous, Value next) {
  if (table.type->resource == kCustomResourceDefinitions) {
    FinishDefinitionDefaults(next);
    EstablishDefinition(next, base::FormatSeconds(options_.clock->Now()));
    ServeLocked(FromDefinition(next));
  }
  Value& metadata = next.Mutable("metadata");
  if (previous != nullptr) {
    metadata.Mutable("resourceVersion") = std::to_string(previous->version);
    if (ObjectPtr same = Render(*table.type, previous->version, next); same->json == previous->json) return previous;
  }
  metadata.Mutable("resourceVersion") = std::to_string(++version_);
  ObjectPtr stored = Render(*table.type, version_, next);
  table.objects[stored->key] = stored;
  RecordLocked(table, previous == nullptr ? WatchEventType::kAdded : WatchEventType::kModified, stored, previous);
  return stored;
}

ObjectPtr ObjectStore::RemoveLocked(StoreTable& table, const ObjectPtr& previous, Value last) {
  last.Mutable("metadata").Mutable("resourceVersion") = std::to_string(++version_);
  ObjectPtr stored = Render(*table.type, version_, last);
  table.objects.erase(stored->key);
  RecordLocked(table, WatchEventType::kDeleted, stored, previous);
  FinishTerminatingLocked();
  return stored;
}

absl::Status ObjectStore::CheckNamespaceLocked(const StoreTable& table, std::string_view ns,
                                               std::string_view name) const {
  if (!table.type->resource.namespaced) return absl::OkStatus();
  if (ns.empty()) return Refuse(400, "BadRequest", "an empty namespace may not be set during creation");
  const StoreTable& namespaces = *tables_.at({"", "namespaces"});
  const auto it = namespaces.objects.find(ObjectKey{"", std::string(ns)});
  if (it == namespaces.objects.end()) return NotFound(*namespaces.type, ns);
  if (!it->second->deleting) return absl::OkStatus();
  return Refuse(403, "Forbidden",
                fmt::format("{} \"{}\" is forbidden: unable to create new content in namespace {} because it is being "
                            "terminated",
                            table.type->QualifiedName(), name, ns));
}

void ObjectStore::EnsureNamespaceLocked(std::string_view ns) {
  StoreTable& namespaces = *tables_.at({"", "namespaces"});
  if (ns.empty() || namespaces.objects.contains(ObjectKey{"", std::string(ns)})) return;
  // Cannot fail: the name is there and free.
  CreateLocked(namespaces, "", Value::Object{{"metadata", Value::Object{{"name", std::string(ns)}}}}, false)
      .IgnoreError();
}

std::string ObjectStore::NewUidLocked() {
  const std::uint64_t a = random_.Next(), b = random_.Next();
  return fmt::format("{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}", a >> 32, (a >> 16) & 0xffff, a & 0xfff, b >> 52,
                     b & 0xffffffffffff);
}

absl::StatusOr<ObjectPtr> ObjectStore::CreateLocked(StoreTable& table, std::string_view ns, Value object,
                                                    bool keep_status) {
  const ServedType& type = *table.type;
  Value& metadata = object.Mutable("metadata");
  std::string name(metadata["name"].StringOr());
  if (name.empty()) {
    const auto prefix = metadata["generateName"].StringOr();
    if (prefix.empty()) return Invalid(type, "", "metadata.name: Required value: name or generateName is required");
    name = fmt::format("{}{:05x}", prefix, random_.Next() & 0xfffff);
  }
  if (!IsPathSegment(name)) return Invalid(type, name, "metadata.name: Invalid value");
  if (const auto own = metadata["namespace"].StringOr(); !own.empty() && own != ns) {
    return Refuse(400, "BadRequest",
                  "the namespace of the provided object does not match the namespace sent on the request");
  }
  RETURN_IF_ERROR(CheckNamespaceLocked(table, ns, name));
  if (table.objects.contains(ObjectKey{std::string(ns), name})) {
    return Refuse(409, "AlreadyExists", fmt::format("{} \"{}\" already exists", type.QualifiedName(), name));
  }
  metadata.Mutable("name") = name;
  if (!ns.empty()) metadata.Mutable("namespace") = ns;
  metadata.Mutable("uid") = NewUidLocked();
  if (!keep_status || metadata["creationTimestamp"].IsNull()) {
    metadata.Mutable("creationTimestamp") = base::FormatSeconds(options_.clock->Now());
  }
  metadata.Erase("deletionTimestamp");
  if (type.has_generation) metadata.Mutable("generation") = 1;
  if (!keep_status && type.has_status && type.resource != kNodes) object.Erase("status");
  if (type.resource == kSecrets) EncodeStringData(object);
  if (type.resource == kNamespaces) object.Mutable("status").Mutable("phase") = "Active";
  if (type.resource == kPods && !keep_status) object.Mutable("status").Mutable("phase") = "Pending";
  if (type.schema != nullptr) {
    PruneUnknown(*type.schema, object);
    ApplyDefaults(*type.schema, object);
    const auto complaints = Validate(*type.schema, object);
    if (!keep_status && !complaints.empty()) return Invalid(type, name, fmt::format("{}", fmt::join(complaints, ", ")));
  }
  return WriteLocked(table, nullptr, std::move(object));
}

absl::StatusOr<ObjectPtr> ObjectStore::UpdateLocked(StoreTable& table, const ObjectPtr& previous, Value next,
                                                    std::string_view subresource) {
  const ServedType& type = *table.type;
  const std::string& name = previous->key.name;
  if (subresource != "" && !(subresource == "status" && type.has_status)) return NotServed();
  const Value old = ToValue(*previous);
  const Value& meta = next["metadata"];
  if (const auto v = meta["resourceVersion"].StringOr(); !v.empty() && v != std::to_string(previous->version)) {
    return Conflict(type, name,
                    "the object has been modified; please apply your changes to the latest version and try again");
  }
  if (const auto uid = meta["uid"].StringOr(); !uid.empty() && uid != previous->uid) {
    return Conflict(
        type, name,
        fmt::format("Precondition failed: UID in precondition: {}, UID in object meta: {}", uid, previous->uid));
  }
  if (subresource == "status") {
    Value merged = old;
    CopyMember(next, merged, "status");
    next = std::move(merged);
  } else if (type.has_status) {
    CopyMember(old, next, "status");
  }
  Value& metadata = next.Mutable("metadata");
  for (const char* kept : {"name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "generation",
                           "deletionGracePeriodSeconds"}) {
    CopyMember(old["metadata"], metadata, kept);
  }
  if (type.resource == kSecrets) EncodeStringData(next);
  if (type.schema != nullptr) {
    PruneUnknown(*type.schema, next);
    ApplyDefaults(*type.schema, next);
    const auto complaints = Validate(*type.schema, next);
    if (!complaints.empty()) return Invalid(type, name, fmt::format("{}", fmt::join(complaints, ", ")));
  }
  if (type.has_generation && !SameSpec(old, next, type.has_status)) {
    metadata.Mutable("generation") = old["metadata"]["generation"].IntOr() + 1;
  }
  if (previous->deleting) {
    const auto& before = old["metadata"]["finalizers"].items();
    for (const Value& finalizer : metadata["finalizers"].items()) {
      if (std::find(before.begin(), before.end(), finalizer) != before.end()) continue;
      return Invalid(type, name,
                     "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted");
    }
    const bool container = type.resource == kNamespaces || type.resource == kCustomResourceDefinitions;
    if (!HasFinalizers(next) && !container) return RemoveLocked(table, previous, std::move(next));
  }
  ObjectPtr stored = WriteLocked(table, previous, std::move(next));
  if (stored->deleting) FinishTerminatingLocked();
  return stored;
}

absl::StatusOr<ObjectPtr> ObjectStore::DeleteLocked(StoreTable& table, const ObjectPtr& previous) {
  const ResourceType& resource = table.type->resource;
  Value object = ToValue(*previous);
  const bool is_namespace = resource == kNamespaces;
  const bool is_definition = resource == kCustomResourceDefinitions;
  if (!HasFinalizers(object) && !is_namespace && !is_definition)
    return RemoveLocked(table, previous, std::move(object));
  if (previous->deleting) return previous;

  Value& metadata = object.Mutable("metadata");
  metadata.Mutable("deletionTimestamp") = base::FormatSeconds(options_.clock->Now());
  metadata.Mutable("deletionGracePeriodSeconds") = 0;
  if (const auto generation = metadata["generation"].IntOr(); generation > 0) {
    metadata.Mutable("generation") = generation + 1;
  }
  if (is_namespace) object.Mutable("status").Mutable("phase") = "Terminating";
  if (is_definition)
    object.Mutable("status")
        .Mutable("conditions")
        .MutableArray()
        .emplace_back(Value::Object{{"type", "Terminating"}, {"status", "True"}});
  ObjectPtr stored = WriteLocked(table, previous, std::move(object));

  std::vector<std::pair<TablePtr, ObjectPtr>> content;
  if (is_namespace) {
    terminating_namespaces_.insert(stored->key.name);
    for (const auto& [name, other] : tables_) {
      if (!other->type->resource.namespaced) continue;
      for (auto it = other->objects.lower_bound(ObjectKey{stored->key.name, ""});
           it != other->objects.end() && it->first.ns == stored->key.name; ++it) {
        content.emplace_back(other, it->second);
      }
    }
  } else if (is_definition) {
    terminating_definitions_.insert(stored->key.name);
    const ServedType type = FromDefinition(ToValue(*stored));
    const TablePtr instances = tables_.at({type.resource.group, type.resource.plural});
    for (const auto& [key, instance] : instances->objects) content.emplace_back(instances, instance);
  }
  for (const auto& [other, instance] : content) DeleteLocked(*other, instance).IgnoreError();  // finalizers may keep it
  FinishTerminatingLocked();
  return stored;
}

bool ObjectStore::NamespaceIsEmptyLocked(std::string_view ns) const {
  return std::all_of(tables_.begin(), tables_.end(), [ns](const auto& entry) {
    const auto& objects = entry.second->objects;
    const auto it = objects.lower_bound(ObjectKey{std::string(ns), ""});
    return !entry.second->type->resource.namespaced || it == objects.end() || it->first.ns != ns;
  });
}

bool ObjectStore::DropTerminatedLocked(StoreTable& table, const std::string& name) {
  const auto it = table.objects.find(ObjectKey{"", name});
  if (it == table.objects.end()) return true;
  const ObjectPtr object = it->second;
  Value last = ToValue(*object);
  if (HasFinalizers(last)) return false;
  last.Mutable("metadata").Mutable("resourceVersion") = std::to_string(++version_);
  table.objects.erase(it);
  RecordLocked(table, WatchEventType::kDeleted, Render(*table.type, version_, last), object);
  return true;
}

void ObjectStore::FinishTerminatingLocked() {
  StoreTable& namespaces = *tables_.at({"", kNamespaces.plural});
  for (auto it = terminating_namespaces_.begin(); it != terminating_namespaces_.end();) {
    const bool done = NamespaceIsEmptyLocked(*it) && DropTerminatedLocked(namespaces, *it);
    it = done ? terminating_namespaces_.erase(it) : std::next(it);
  }
  StoreTable& definitions = *tables_.at({kCustomResourceDefinitions.group, kCustomResourceDefinitions.plural});
  for (auto it = terminating_definitions_.begin(); it != terminating_definitions_.end();) {
    // "plural.group"
    const auto dot = it->find('.');
    const auto instances = tables_.find({it->substr(dot + 1), it->substr(0, dot)});
    const bool empty = instances == tables_.end() || instances->second->objects.empty();
    const bool done = empty && DropTerminatedLocked(definitions, *it);
    if (done && instances != tables_.end()) {
      instances->second->gone = true;
      instances->second->changed.NotifyAll();
      tables_.erase(instances);
    }
    it = done ? terminating_definitions_.erase(it) : std::next(it);
  }
}

absl::StatusOr<ObjectPtr> ObjectStore::Create(const ResourceType& type, std::string_view ns, Value object) {
  MutexLock lock(mu_);
  ASSIGN_OR_RETURN(const TablePtr table, TableLocked(type));
  if (!object["metadata"]["resourceVersion"].StringOr().empty()) {
    return Refuse(400, "BadRequest", "resourceVersion should not be set on objects to be created");
  }
  if (const auto kind = object["kind"].StringOr(); !kind.empty() && kind != table->type->resource.kind) {
    return Refuse(400, "BadRequest", fmt::format("no kind \"{}\" is served here", kind));
  }
  return CreateLocked(*table, ns, std::move(object), false);
}

absl::StatusOr<ObjectPtr> ObjectStore::Replace(const ResourceType& type, const ObjectKey& key, Value object,
                                               std::string_view subresource) {
  MutexLock lock(mu_);
  ASSIGN_OR_RETURN(const TablePtr table, TableLocked(type));
  ASSIGN_OR_RETURN(const ObjectPtr previous, FindLocked(*table, key));
  if (const auto name = object["metadata"]["name"].StringOr(); name != key.name) {
    return Refuse(400, "BadRequest",
                  fmt::format("the name of the object ({}) does not match the name on the URL ({})", name, key.name));
  }
  if (table->type->custom && object["metadata"]["resourceVersion"].StringOr().empty()) {
    return Invalid(*table->type, key.name,
                   "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update");
  }
  return UpdateLocked(*table, previous, std::move(object), subresource);
}

absl::StatusOr<ObjectPtr> ObjectStore::Patch(const ResourceType& type, const ObjectKey& key, StorePatch kind,
                                             const Value& patch, std::string_view subresource) {
  MutexLock lock(mu_);
  ASSIGN_OR_RETURN(const TablePtr table, TableLocked(type));
  if (!patch.IsObject()) return Refuse(400, "BadRequest", "the patch must be an object");
  if (kind == StorePatch::kApply && subresource.empty() && !table->objects.contains(key)) {
    Value object = patch;
    object.Mutable("metadata").Mutable("name") = key.name;
    return CreateLocked(*table, key.ns, std::move(object), false);
  }
  ASSIGN_OR_RETURN(const ObjectPtr previous, FindLocked(*table, key));
  Value next = ToValue(*previous);
  next.Mutable("metadata").Erase("resourceVersion");  // only the patch's own version is a precondition
  if (kind == StorePatch::kStrategic) {
    StrategicMergePatch(next, patch);
  } else {
    json::MergePatch(next, patch);
  }
  return UpdateLocked(*table, previous, std::move(next), subresource);
}

absl::StatusOr<ObjectPtr> ObjectStore::Delete(const ResourceType& type, const ObjectKey& key,
                                              const Preconditions& preconditions) {
  MutexLock lock(mu_);
  ASSIGN_OR_RETURN(const TablePtr table, TableLocked(type));
  ASSIGN_OR_RETURN(const ObjectPtr previous, FindLocked(*table, key));
  const auto& [uid, version] = preconditions;
  if ((!uid.empty() && uid != previous->uid) || (!version.empty() && version != std::to_string(previous->version))) {
    return Conflict(*table->type, key.name, "Precondition failed");
  }
  return DeleteLocked(*table, previous);
}

absl::StatusOr<ObjectPtr> ObjectStore::Put(const ResourceType& type, Value object) {
  MutexLock lock(mu_);
  ASSIGN_OR_RETURN(const TablePtr table, TableLocked(type));
  Value& metadata = object.Mutable("metadata");
  const std::string ns(table->type->resource.namespaced ? metadata["namespace"].StringOr("default") : "");
  const auto it = table->objects.find(ObjectKey{ns, std::string(metadata["name"].StringOr())});
  if (it == table->objects.end()) {
    EnsureNamespaceLocked(ns);
    return CreateLocked(*table, ns, std::move(object), true);
  }
  const Value old = ToValue(*it->second);
  for (const char* kept : {"namespace", "uid", "creationTimestamp", "deletionTimestamp"}) {
    CopyMember(old["metadata"], metadata, kept);
  }
  if (type.plural == "secrets") EncodeStringData(object);
  if (table->type->has_generation) {
    const bool same = SameSpec(old, object, table->type->has_status);
    metadata.Mutable("generation") = old["metadata"]["generation"].IntOr() + (same ? 0 : 1);
  }
  return WriteLocked(*table, it->second, std::move(object));
}

absl::StatusOr<ObjectPtr> ObjectStore::Edit(const ResourceType& type, const ObjectKey& key,
                                            absl::FunctionRef<void(Value&)> change) {
  // Optimistic: `change` runs without the lock.
  while (true) {
    ASSIGN_OR_RETURN(const ObjectPtr before, Get(type, key));
    Value object = ToValue(*before);
    change(object);
    MutexLock lock(mu_);
    ASSIGN_OR_RETURN(const TablePtr table, TableLocked(type));
    ASSIGN_OR_RETURN(const ObjectPtr now, FindLocked(*table, key));
    if (now != before) continue;
    if (table->type->has_generation) {
      const Value old = ToValue(*before);
      const bool same = SameSpec(old, object, table->type->has_status);
      object.Mutable("metadata").Mutable("generation") = old["metadata"]["generation"].IntOr() + (same ? 0 : 1);
    }
    return WriteLocked(*table, before, std::move(object));
  }
}

void ObjectStore::Compact() {
  MutexLock lock(mu_);
  for (const auto& [name, table] : tables_) {
    if (!table->history.empty()) table->dropped = table->history.back().version;
    table->history.clear();
    table->compacted = version_;
    table->changed.NotifyAll();
  }
}

}  // namespace clusterpulse::kube
