#include "collector/sources/watched_source.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/base/wildcard.h"
#include "common/kube/object_meta.h"

namespace clusterpulse::sources {
namespace {

using metricsource::FieldCounts;
using metricsource::Kind;
using metricsource::Value;

// In a row: some ten minutes of a line that carries lists and no watches. While the server is away, watching costs no
// more than listing. One that refuses watches is listed anew each time.
constexpr int kMostFailures = 20;
constexpr std::uint64_t kMostRelists = 3;
constexpr std::size_t kEntryBytes = 96;  // of an object, beside its key and record

enum class Outcome : std::uint8_t { kMatched, kMissing, kNull, kFailed };

// Of one object.
Outcome OutcomeOf(const FieldCounts& counts) {
  if (counts.matched > 0) return Outcome::kMatched;
  if (counts.missing > 0) return Outcome::kMissing;
  return counts.null > 0 ? Outcome::kNull : Outcome::kFailed;
}

void Count(Outcome outcome, FieldCounts& counts) {
  switch (outcome) {
    case Outcome::kMatched:
      ++counts.matched;
      return;
    case Outcome::kMissing:
      ++counts.missing;
      return;
    case Outcome::kNull:
      ++counts.null;
      return;
    case Outcome::kFailed:
      ++counts.failed;
      return;
  }
}

// A record: the labels as they were read, then for each field its outcome, the kind of its value and the value. Numbers
// as the machine has them.
template <typename T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void PutText(std::string& out, std::string_view text) {
  Put(out, static_cast<std::uint32_t>(text.size()));
  out.append(text);
}
void PutValue(std::string& out, Value value) {
  Put(out, value.kind());
  switch (value.kind()) {
    case Kind::kNull:
      return;
    case Kind::kBool:
      return Put(out, value.AsBool());
    case Kind::kInt:
      return Put(out, value.AsInt());
    case Kind::kDouble:
      return Put(out, value.AsDouble());
    case Kind::kText:
      return PutText(out, value.AsText());
  }
}

class RecordReader {
 public:
  explicit RecordReader(std::string_view bytes) : bytes_(bytes) {}
  template <typename T>
  T Get() {
    T value;
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
    return value;
  }
  std::string_view GetText() {
    const auto size = Get<std::uint32_t>();
    const std::string_view text = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return text;
  }
  Value GetValue() {
    switch (Get<Kind>()) {
      case Kind::kNull:
        break;
      case Kind::kBool:
        return Value::Bool(Get<bool>());
      case Kind::kInt:
        return Value::Int(Get<std::int64_t>());
      case Kind::kDouble:
        return Value::Double(Get<double>());
      case Kind::kText:
        return Value::Text(GetText());
    }
    return Value::Null();
  }

 private:
  std::string_view bytes_;
};

kube::Reflector::Options ReflectorOptions(const metricsource::Source& source, const kube::ResourceType& resource,
                                          const WatchedSource::Options& options) {
  return {.resource = resource,
          .label_selector = source.spec.target.label_selector,
          .metadata_only = source.metadata_only,
          .page_size = std::min(source.collection.batch_size, 10000),
          .min_watch = options.longest_watch / 2,
          .max_watch = options.longest_watch,
          .backoff = options.backoff,
          .log = options.log,
          .clock = options.clock,
          .random = options.random};
}

}  // namespace

bool WatchedSource::CanWatch(const metricsource::Source& source, const kube::ResourceType& resource) {
  const auto reads_type = [](const metricsource::ProjectedField& field) {
    const std::vector<metricsource::Path::Segment>& path = field.path.segments();
    return path.empty() || path[0].key == "kind" || path[0].key == "apiVersion";
  };
  if (std::ranges::any_of(source.projection->fields(), reads_type)) return false;
  if (!resource.namespaced || source.is_cluster_scoped || !source.spec.target.namespaces) return true;
  const std::vector<std::string>& include = source.spec.target.namespaces->include;
  return include.empty() || std::any_of(include.begin(), include.end(), base::HasWildcard);
}

WatchedSource::WatchedSource(std::shared_ptr<const metricsource::Source> source, const kube::ResourceType& resource,
                             kube::KubeApi& api, Options options)
    : source_(std::move(source)),
      options_(std::move(options)),
      projector_(*source_, {}),
      cache_(api, ReflectorOptions(*source_, resource, options_),
             [this](json::Cursor object, kube::ObjectMeta& meta, Record& out) { return Project(object, meta, out); }) {}

absl::Status WatchedSource::Project(json::Cursor object, kube::ObjectMeta& meta, Record& out) {
  ASSIGN_OR_RETURN(const std::string_view raw, object.Raw());
  RETURN_IF_ERROR(meta_parser_.Parse(raw, [&](json::Cursor copy) {
    return copy.ForEachMember([&](std::string_view key, json::Cursor value) {
      return key == "metadata" ? kube::ReadMeta(value, kube::MetaParts::kIdentity, meta) : absl::OkStatus();
    });
  }));
  projector_.ResetCounts();
  return row_parser_.Parse(raw, [&](json::Cursor copy) -> absl::Status {
    ASSIGN_OR_RETURN(const bool is_taken, projector_.Read(copy));
    if (!is_taken) return absl::OkStatus();
    std::string record;
    PutText(record, projector_.meta().labels);
    const std::span<const Value> fields = projector_.fields();
    for (std::size_t i = 0; i < fields.size(); ++i) {
      Put(record, OutcomeOf(projector_.counts()[i]));
      PutValue(record, fields[i]);
    }
    record.shrink_to_fit();
    out = std::make_shared<const std::string>(std::move(record));
    return absl::OkStatus();
  });
}

std::optional<metricsource::Collection> WatchedSource::Read() {
  const std::uint64_t relists = cache_.stats().relists;
  const auto silence = cache_.SinceKnownGood();
  if (!cache_.HasSynced() || !silence || *silence > options_.believed_for || !cache_.LastError().ok() ||
      cache_.stats().bad_objects > 0) {
    return std::nullopt;
  }
  const base::SteadyTime begin = options_.clock->Steady();
  metricsource::Collection out(*source_);
  out.started = options_.clock->Now();
  struct Object {
    std::string key;  // "namespace/name", as a server's store has them in order
    std::size_t name = 0;
    Record record;
  };
  std::vector<Object> objects;
  objects.reserve(cache_.size());
  cache_.ForEach([&](std::string_view ns, std::string_view name, const Record& record) {
    if (record == nullptr) return;
    Object& object = objects.emplace_back();
    object.key.reserve(ns.size() + name.size() + 1);
    if (!ns.empty()) object.key.append(ns).append("/");
    object.name = object.key.size();
    object.key.append(name);
    object.record = record;
  });
  // While all is listed anew, some is new and some is old; the check above may have been just before.
  if (cache_.stats().relists != relists) return std::nullopt;
  std::sort(objects.begin(), objects.end(), [](const Object& a, const Object& b) { return a.key < b.key; });

  metricsource::RowReader reader(*source_, out.started);
  const std::span<Value> fields = reader.fields();
  out.fields.resize(fields.size());
  for (const Object& object : objects) {
    if (static_cast<std::int64_t>(out.rows.size()) >= source_->collection.max_resources || out.rows.IsFull()) {
      out.truncated = true;
      break;
    }
    RecordReader record(*object.record);
    const std::string_view key(object.key);
    const metricsource::RowMeta meta{.ns = key.substr(0, object.name == 0 ? 0 : object.name - 1),
                                     .name = key.substr(object.name),
                                     .labels = record.GetText()};
    for (std::size_t i = 0; i < fields.size(); ++i) {
      Count(record.Get<Outcome>(), out.fields[i]);
      fields[i] = record.GetValue();
    }
    reader.Compute();
    out.rows.Append(meta, reader.values());
  }
  out.evaluation = reader.evaluation();
  out.duration = std::chrono::duration_cast<std::chrono::milliseconds>(options_.clock->Steady() - begin);
  return out;
}

WatchedSource::Size WatchedSource::size() const {
  Size size;
  cache_.ForEach([&](std::string_view ns, std::string_view name, const Record& record) {
    ++size.objects;
    size.bytes += kEntryBytes + ns.size() + name.size() + (record == nullptr ? 0 : record->capacity());
  });
  return size;
}

bool WatchedSource::IsUseless() const {
  const kube::ReflectorStats stats = cache_.stats();
  return stats.failures_in_a_row >= kMostFailures || stats.relists >= kMostRelists || stats.bad_objects > 0;
}

}  // namespace clusterpulse::sources
