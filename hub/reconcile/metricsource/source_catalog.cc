#include "hub/reconcile/metricsource/source_catalog.h"

#include <algorithm>
#include <utility>

#include "common/base/time_format.h"

namespace clusterpulse::reconcile {
namespace {

// Every replica writes the same text: no clock of its own.
base::SystemTime CompiledAt(const MetricSource& object) {
  return base::ParseRfc3339(object.meta.creation_timestamp).value_or(base::SystemTime{});
}

SourceCatalog::Entry Compile(const MetricSource& object, const SourceCatalog::Entry& before) {
  auto entry = std::make_shared<CatalogEntry>();
  entry->id = object.key().ToString();
  entry->uid = object.meta.uid;
  entry->generation = object.meta.generation;
  entry->enabled = object.spec["enabled"].BoolOr(true) && !object.meta.deleting();
  metricsource::Spec spec = metricsource::ReadSpec(object.spec, entry->problems);
  entry->clusters = metricsource::ReadClusterSelector(object.spec["clusters"], entry->problems);
  auto source = metricsource::Compile(object.meta.ns, object.meta.name, std::move(spec), entry->problems);
  if (source != nullptr) {
    entry->definition = metricsource::Definition(*source, CompiledAt(object));
    entry->source = std::move(source);
    entry->clusters_json = object.spec["clusters"].Dump();
    entry->is_current = true;
  } else if (before != nullptr && before->uid == entry->uid) {
    entry->source = before->source;
    entry->is_sought = before->is_sought;
    entry->definition = before->definition;
    entry->clusters = before->clusters;
    entry->clusters_json = before->clusters_json;
  }
  return entry;
}

bool IsCollected(const SourceCatalog::Entry& entry) { return entry != nullptr && entry->enabled && entry->source; }

bool CollectsTheSame(const SourceCatalog::Entry& a, const SourceCatalog::Entry& b) {
  if (!IsCollected(a) || !IsCollected(b)) return IsCollected(a) == IsCollected(b);
  return a->definition == b->definition && a->clusters == b->clusters;
}

}  // namespace

bool SourceCatalog::Update(const kube::ObjectKey& key, const MetricSource* object) {
  const std::string id = key.ToString();
  const Entry before = Find(id);
  if (object == nullptr) {
    base::MutexLock lock(mu_);
    EraseLocked(id);
    return IsCollected(before);
  }
  const bool is_known = before != nullptr && before->uid == object->meta.uid &&
                        before->generation == object->meta.generation &&
                        before->enabled == (object->spec["enabled"].BoolOr(true) && !object->meta.deleting());
  if (is_known) return false;
  Entry entry = Compile(*object, before);
  const bool changed = !CollectsTheSame(before, entry);
  base::MutexLock lock(mu_);
  PutLocked(std::move(entry));
  return changed;
}

void SourceCatalog::PutLocked(Entry entry) {
  EraseLocked(entry->id);
  definition_bytes_ += entry->definition.size();
  std::string id = entry->id;
  entries_[std::move(id)] = std::move(entry);
}

void SourceCatalog::EraseLocked(const std::string& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  definition_bytes_ -= found->second->definition.size();
  entries_.erase(found);
}

std::vector<SourceCatalog::Entry> SourceCatalog::WithoutVersion() const {
  std::vector<Entry> entries;
  base::MutexLock lock(mu_);
  for (const auto& [id, entry] : entries_) {
    if (entry->LacksVersion()) entries.push_back(entry);
  }
  return entries;
}

bool SourceCatalog::Recover(const Entry& entry, const std::optional<store::SourceDefinition>& stored) {
  auto recovered = std::make_shared<CatalogEntry>(*entry);
  recovered->is_sought = true;
  if (stored && (stored->uid.empty() || stored->uid == entry->uid)) {
    // It was judged when it was stored.
    metricsource::Diagnostics ignored;
    recovered->source = metricsource::CompileDefinition(stored->json, ignored);
    if (recovered->source != nullptr && recovered->source->id != entry->id) recovered->source = nullptr;
    if (recovered->source != nullptr) {
      recovered->definition = stored->json;
      // An upstream hub knows no spec.clusters: the present ones are the best there are.
      if (const auto clusters = json::Value::Parse(stored->clusters_json); clusters.ok()) {
        recovered->clusters_json = stored->clusters_json;
        recovered->clusters = metricsource::ReadClusterSelector(*clusters, ignored);
      }
    }
  }
  const bool is_found = recovered->source != nullptr;
  base::MutexLock lock(mu_);
  const auto found = entries_.find(entry->id);
  if (found == entries_.end() || found->second != entry) return false;
  PutLocked(std::move(recovered));
  return is_found;
}

SourceCatalog::Entry SourceCatalog::Find(std::string_view id) const {
  base::MutexLock lock(mu_);
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : found->second;
}

std::vector<SourceCatalog::Entry> SourceCatalog::All() const {
  std::vector<Entry> all;
  base::MutexLock lock(mu_);
  all.reserve(entries_.size());
  for (const auto& [id, entry] : entries_) all.push_back(entry);
  return all;
}

std::vector<SourceCatalog::Entry> SourceCatalog::For(std::string_view cluster, const model::Labels& labels) const {
  std::vector<Entry> chosen = All();
  std::erase_if(chosen, [&](const Entry& entry) { return !entry->IsFor(cluster, labels); });
  return chosen;
}

std::vector<SourceCatalog::Entry> SourceCatalog::GivenTo(std::string_view cluster, const model::Labels& labels) const {
  std::vector<Entry> given = For(cluster, labels);
  std::size_t bytes = 0;
  const auto is_too_much = [&](const Entry& entry) {
    bytes += entry->definition.size();
    return bytes > kMostDefinitionBytes;
  };
  given.erase(std::find_if(given.begin(), given.end(), is_too_much), given.end());
  return given;
}

bool SourceCatalog::IsLeftOut(const CatalogEntry& entry, std::string_view cluster, const model::Labels& labels) const {
  {
    base::MutexLock lock(mu_);
    if (definition_bytes_ <= kMostDefinitionBytes) return false;
  }
  const std::vector<Entry> given = GivenTo(cluster, labels);
  return entry.IsFor(cluster, labels) && (given.empty() || given.back()->id < entry.id);
}

std::vector<std::string> SourceCatalog::Namesakes(const CatalogEntry& entry) const {
  std::vector<std::string> ids;
  if (entry.source == nullptr || entry.source->spec.rbac.resource_type_name.empty()) return ids;
  for (const Entry& other : All()) {
    if (IsCollected(other) && other->id != entry.id &&
        other->source->spec.rbac.resource_type_name == entry.source->spec.rbac.resource_type_name) {
      ids.push_back(other->id);
    }
  }
  return ids;
}

}  // namespace clusterpulse::reconcile
