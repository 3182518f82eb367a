#include "hub/store/source_state.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"
#include "common/base/time_format.h"
#include "common/json/value.h"
#include "common/json/writer.h"
#include "hub/store/keys.h"

namespace clusterpulse::store {
namespace {

// What a late run may take beyond three intervals before its data goes.
constexpr std::chrono::seconds kSlack{60};

std::string IdOf(const std::string& ns, const std::string& name) { return fmt::format("{}/{}", ns, name); }

std::string EventText(std::string_view type, const std::string& source, std::string_view data_json,
                      base::SystemTime now) {
  std::string out;
  json::Writer writer(out);
  writer.BeginObject().Member("type", type).Member("sourceId", source).Member("timestamp", base::FormatSeconds(now));
  writer.Key("data").Raw(data_json).EndObject();
  return out;
}

std::string ResourcesDocument(const std::string& cluster, const model::SourceResult& result, base::SystemTime at) {
  std::string out;
  json::Writer writer(out);
  writer.BeginObject().Member("collectedAt", base::FormatNanos(at)).Member("sourceId", result.source);
  writer.Member("clusterName", cluster).Member("resourceCount", result.resource_count);
  writer.Member("truncated", result.truncated);
  writer.Member("durationMs", static_cast<std::int64_t>(result.duration.count()));
  writer.Key("resources").BeginArray();
  for (const model::SourceRow& row : result.rows) {
    writer.BeginObject().Member("_id", row.id);
    if (!row.ns.empty()) writer.Member("_namespace", row.ns);
    writer.Member("_name", row.name);
    if (!row.labels.empty()) {
      writer.Key("_labels").BeginObject();
      for (const auto& [key, value] : row.labels) writer.Member(key, value);
      writer.EndObject();
    }
    writer.Key("values").Raw(row.values_json.empty() ? "{}" : std::string_view(row.values_json)).EndObject();
  }
  writer.EndArray().EndObject();
  return out;
}

std::string AggregationsDocument(const model::SourceResult& result, base::SystemTime at) {
  std::string out;
  json::Writer writer(out);
  writer.BeginObject().Member("computedAt", base::FormatNanos(at)).Member("sourceId", result.source);
  writer.Member("durationMs", static_cast<std::int64_t>(result.duration.count()));
  writer.Key("values").Raw(result.aggregations_json).EndObject();
  return out;
}

std::string MetaDocument(const std::string& cluster, const std::string& source, const SourceRun& run) {
  std::string out;
  json::Writer writer(out);
  writer.BeginObject().Member("sourceId", source).Member("clusterName", cluster);
  writer.Member("lastCollectionTime", run.collected_at == base::SystemTime{} ? std::string(base::kZeroTime)
                                                                             : base::FormatNanos(run.collected_at));
  writer.Member("durationMs", static_cast<std::int64_t>(run.duration.count())).Member("resourceCount", run.resources);
  writer.Member("truncated", run.truncated).Member("errorCount", run.errors);
  if (!run.message.empty()) writer.Member("lastError", run.message);
  writer.Member("lastRunTime", base::FormatNanos(run.ran_at));
  if (!run.failure.empty()) writer.Member("failure", run.failure);
  if (!run.definition_hash.empty()) writer.Member("definitionHash", run.definition_hash);
  if (!run.fields.empty()) {
    writer.Key("fields").BeginArray();
    for (const model::SourceField& field : run.fields) {
      writer.BeginObject().Member("name", field.name);
      writer.Member("matched", static_cast<std::int64_t>(field.matched));
      writer.Member("empty", static_cast<std::int64_t>(field.empty));
      writer.Member("failed", static_cast<std::int64_t>(field.failed)).EndObject();
    }
    writer.EndArray();
  }
  writer.EndObject();
  return out;
}

base::SystemTime TimeOf(const json::Value& text) {
  if (text.StringOr() == base::kZeroTime) return {};
  return base::ParseRfc3339(text.StringOr()).value_or(base::SystemTime{});
}

std::optional<SourceRun> ReadRun(std::string_view document) {
  const auto value = json::Value::Parse(document);
  if (!value.ok() || !value->IsObject()) return std::nullopt;
  const json::Value& v = *value;
  SourceRun run{.collected_at = TimeOf(v["lastCollectionTime"]),
                .duration = std::chrono::milliseconds(v["durationMs"].IntOr()),
                .resources = v["resourceCount"].IntOr(),
                .truncated = v["truncated"].BoolOr(),
                .errors = v["errorCount"].IntOr(),
                .ran_at = TimeOf(v["lastRunTime"]),
                .definition_hash = std::string(v["definitionHash"].StringOr()),
                .failure = std::string(v["failure"].StringOr()),
                .message = std::string(v["lastError"].StringOr()),
                .fields = {}};
  if (run.ran_at == base::SystemTime{}) run.ran_at = run.collected_at;  // an upstream hub wrote it
  for (const json::Value& field : v["fields"].items()) {
    run.fields.push_back({std::string(field["name"].StringOr()), static_cast<std::uint64_t>(field["matched"].IntOr()),
                          static_cast<std::uint64_t>(field["empty"].IntOr()),
                          static_cast<std::uint64_t>(field["failed"].IntOr())});
  }
  return run;
}

}  // namespace

absl::Status SourceState::PutDefinition(const SourceDefinition& definition) {
  const std::string id = IdOf(definition.ns, definition.name);
  const std::string meta = keys::SourceMeta(definition.ns, definition.name);
  ASSIGN_OR_RETURN(const auto before, store_.HashGetAll(meta));
  std::vector<Write> writes{SetString{keys::Source(definition.ns, definition.name), definition.json, {}},
                            HashSet{meta,
                                    {{"compiledAt", base::FormatSeconds(definition.compiled_at)},
                                     {"hash", definition.hash},
                                     {"kind", definition.kind},
                                     {"apiVersion", definition.api_version},
                                     {"resourceTypeName", definition.resource_type},
                                     {"uid", definition.uid},
                                     {"clusters", definition.clusters_json}},
                                    {}},
                            SetAdd{std::string(keys::kSourcesAll), {id}},
                            SetAdd{std::string(keys::kSourcesEnabled), {id}}};
  if (const auto old = before.find("resourceTypeName");
      old != before.end() && !old->second.empty() && old->second != definition.resource_type) {
    writes.push_back(SetRemove{keys::SourcesByType(old->second), {id}});
  }
  if (!definition.resource_type.empty()) writes.push_back(SetAdd{keys::SourcesByType(definition.resource_type), {id}});
  return store_.Commit(writes);
}

absl::Status SourceState::Remove(const std::string& ns, const std::string& name,
                                 const std::vector<std::string>& clusters) {
  const std::string id = IdOf(ns, name), meta = keys::SourceMeta(ns, name);
  ASSIGN_OR_RETURN(const auto before, store_.HashGetAll(meta));
  std::vector<Write> writes{SetRemove{std::string(keys::kSourcesEnabled), {id}},
                            SetRemove{std::string(keys::kSourcesAll), {id}}};
  if (const auto type = before.find("resourceTypeName"); type != before.end() && !type->second.empty()) {
    writes.push_back(SetRemove{keys::SourcesByType(type->second), {id}});
  }
  writes.push_back(Delete{keys::Source(ns, name)});
  writes.push_back(Delete{meta});
  for (const std::string& cluster : clusters) {
    for (Write& write : DropWrites(cluster, id)) writes.push_back(std::move(write));
  }
  return store_.Commit(writes);
}

absl::StatusOr<std::vector<std::string>> SourceState::Definitions() {
  return store_.SetMembers(std::string(keys::kSourcesAll));
}

absl::StatusOr<std::optional<SourceDefinition>> SourceState::ReadDefinition(const std::string& ns,
                                                                            const std::string& name) {
  ASSIGN_OR_RETURN(std::optional<std::string> json, store_.Get(keys::Source(ns, name)));
  if (!json) return std::nullopt;
  ASSIGN_OR_RETURN(auto meta, store_.HashGetAll(keys::SourceMeta(ns, name)));
  return SourceDefinition{.ns = ns,
                          .name = name,
                          .json = *std::move(json),
                          .compiled_at = base::ParseRfc3339(meta["compiledAt"]).value_or(base::SystemTime{}),
                          .hash = std::move(meta["hash"]),
                          .kind = std::move(meta["kind"]),
                          .api_version = std::move(meta["apiVersion"]),
                          .resource_type = std::move(meta["resourceTypeName"]),
                          .uid = std::move(meta["uid"]),
                          .clusters_json = std::move(meta["clusters"])};
}

absl::StatusOr<SourceState::ResultWrite> SourceState::WriteOf(const std::string& cluster,
                                                              const model::SourceResult& result, base::SystemTime at,
                                                              std::chrono::seconds interval) {
  const std::chrono::seconds life = std::max(cache_ttl_, 3 * interval + kSlack);
  ASSIGN_OR_RETURN(const auto runs, ReadRuns(result.source, {cluster}));
  SourceRun run = runs.front().value_or(SourceRun());
  ResultWrite out;
  out.is_news = !runs.front() || run.definition_hash != result.definition_hash || run.failure != result.failure;
  std::vector<Write>& writes = out.writes;
  if (!result.failure.empty() && run.definition_hash != result.definition_hash) {
    // What is there is of another version, and would pass for this one's.
    run = SourceRun();
    writes.push_back(Delete{keys::SourceResult(cluster, result.source, "resources")});
    writes.push_back(Delete{keys::SourceResult(cluster, result.source, "aggregations")});
  }
  run.ran_at = at;
  run.definition_hash = result.definition_hash;
  run.failure = result.failure;
  run.message = result.message;
  run.errors = result.errors;
  if (result.failure.empty()) {
    run.collected_at = at;
    run.duration = result.duration;
    run.resources = result.resource_count;
    run.truncated = result.truncated;
    run.fields = result.fields;
    writes.push_back(SetString{keys::SourceResult(cluster, result.source, "resources"),
                               ResourcesDocument(cluster, result, at), life});
    const std::string aggregations = keys::SourceResult(cluster, result.source, "aggregations");
    if (result.aggregations_json.empty() || result.aggregations_json == "{}") {
      writes.push_back(Delete{aggregations});
    } else {
      writes.push_back(SetString{aggregations, AggregationsDocument(result, at), life});
    }
  }
  writes.push_back(
      SetString{keys::SourceResult(cluster, result.source, "meta"), MetaDocument(cluster, result.source, run), life});
  return out;
}

std::vector<Write> SourceState::DropWrites(const std::string& cluster, const std::string& source) {
  std::vector<Write> writes;
  for (const char* document : {"resources", "aggregations", "meta"}) {
    writes.push_back(Delete{keys::SourceResult(cluster, source, document)});
  }
  return writes;
}

absl::StatusOr<std::vector<std::optional<SourceRun>>> SourceState::ReadRuns(const std::string& source,
                                                                            const std::vector<std::string>& clusters) {
  std::vector<std::string> metas;
  metas.reserve(clusters.size());
  for (const std::string& cluster : clusters) metas.push_back(keys::SourceResult(cluster, source, "meta"));
  ASSIGN_OR_RETURN(const auto documents, store_.GetMany(metas));
  std::vector<std::optional<SourceRun>> runs;
  runs.reserve(documents.size());
  for (const std::optional<std::string>& document : documents) {
    runs.push_back(document ? ReadRun(*document) : std::nullopt);
  }
  return runs;
}

absl::Status SourceState::PublishEvent(std::string_view type, const std::string& source, std::string_view data_json,
                                       base::SystemTime now) {
  return store_.Commit({Publish{std::string(keys::kSourceEvents), EventText(type, source, data_json, now)}});
}

}  // namespace clusterpulse::store
