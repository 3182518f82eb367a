#include "hub/reconcile/metricsource/source_catalog.h"

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
    entry->is_current = true;
  } else if (before != nullptr && before->uid == entry->uid) {
    entry->source = before->source;
    entry->definition = before->definition;
    entry->clusters = before->clusters;
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
    entries_.erase(id);
    return IsCollected(before);
  }
  const bool is_known = before != nullptr && before->uid == object->meta.uid &&
                        before->generation == object->meta.generation &&
                        before->enabled == (object->spec["enabled"].BoolOr(true) && !object->meta.deleting());
  if (is_known) return false;
  Entry entry = Compile(*object, before);
  const bool changed = !CollectsTheSame(before, entry);
  base::MutexLock lock(mu_);
  entries_[id] = std::move(entry);
  return changed;
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

}  // namespace clusterpulse::reconcile
