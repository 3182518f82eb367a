#include "common/metricsource/source.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <openssl/sha.h>

#include "common/base/time_format.h"
#include "common/base/wildcard.h"
#include "common/json/writer.h"
#include "common/kube/resource.h"
#include "common/metricsource/lexer.h"

namespace clusterpulse::metricsource {
namespace {

// Raised whenever the same spec begins to mean something else: part of the hash.
constexpr int kEngineVersion = 1;
constexpr std::size_t kMostParts = 500;  // fields, computed values or aggregations
// Names stand in every row, and are labels of series; what a default may be is in every row that has no value.
constexpr std::size_t kLongestName = 253, kLongestDefault = 4096;
// Of a definition: hundreds of them go to a collector in one message.
constexpr std::size_t kLargestDefinition = std::size_t{256} << 10;
constexpr std::int64_t kLongestTimeout = 600, kMostResources = 100'000, kLargestBatch = 10'000, kMostRetries = 20,
                       kMostParallel = 16;
constexpr std::int64_t kLongestInterval = std::int64_t{7} * 24 * 3600;
constexpr std::string_view kSpecialNames[] = {"_namespace", "_name"};
constexpr std::string_view kKeywords[] = {"true", "false", "null", "nil"};
constexpr std::string_view kScopes[] = {"Namespaced", "Cluster"};
// What policies and the API call the fleet's own data.
constexpr std::string_view kBuiltInTypes[] = {"nodes", "operators", "namespaces", "pods", "clusteroperators"};

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return lower(x) == lower(y);
  });
}

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

bool IsKeyword(std::string_view name) {
  return std::any_of(std::begin(kKeywords), std::end(kKeywords),
                     [&](std::string_view keyword) { return EqualsIgnoringCase(name, keyword); });
}

template <typename List>
bool Contains(const List& list, std::string_view word) {
  return std::find(std::begin(list), std::end(list), word) != std::end(list);
}

// Looks through one spec and says everything that is wrong with it.
class Compiler {
 public:
  Compiler(Source& source, Diagnostics& diagnostics) : source_(source), spec_(source.spec), diagnostics_(diagnostics) {}

  void Run() {
    CompileTarget();
    // What is too much is not looked through.
    if (!CheckCounts()) return;
    CheckNames();
    CompileFields();
    CompileComputed();
    CompileAggregations();
    CompileCollection();
    CheckRbac();
  }

 private:
  void CompileTarget() {
    const TargetSpec& target = spec_.target;
    if (target.api_version.empty()) {
      diagnostics_.Error("spec.source.apiVersion", "is required");
    } else {
      const auto slash = target.api_version.find('/');
      source_.group = slash == std::string::npos ? "" : target.api_version.substr(0, slash);
      source_.version = slash == std::string::npos ? target.api_version : target.api_version.substr(slash + 1);
      if (!kube::IsPathSegment(source_.version) ||
          (slash != std::string::npos && !kube::IsPathSegment(source_.group))) {
        diagnostics_.Error("spec.source.apiVersion",
                           fmt::format("{} is not of the form version or group/version", Quoted(target.api_version)));
      }
    }
    if (target.kind.empty()) {
      diagnostics_.Error("spec.source.kind", "is required");
    } else if (!kube::IsPathSegment(target.kind)) {
      diagnostics_.Error("spec.source.kind", fmt::format("{} is no kind", Quoted(target.kind)));
    }
    if (!target.resource.empty() && !kube::IsPathSegment(target.resource)) {
      diagnostics_.Error("spec.source.resource", fmt::format("{} is no name of a resource", Quoted(target.resource)));
    }
    source_.resource = target.resource.empty() ? GuessResource(target.kind) : target.resource;
    if (!target.scope.empty() && !Contains(kScopes, target.scope)) {
      diagnostics_.Error("spec.source.scope", fmt::format("unknown scope {}", Quoted(target.scope)),
                         Nearest(target.scope, kScopes));
    }
    source_.is_cluster_scoped = target.scope == "Cluster";
    source_.is_secret =
        source_.group.empty() && (EqualsIgnoringCase(target.kind, "Secret") || source_.resource == "secrets");
    if (source_.is_cluster_scoped && target.namespaces) {
      diagnostics_.Warning("spec.source.namespaces", "has no effect with the scope Cluster");
    }
  }

  // Every name that expressions and aggregations may use, and no name twice.
  void CheckNames() {
    if (spec_.fields.empty()) diagnostics_.Error("spec.fields", "at least one field is required");
    std::set<std::string_view> fields, computed, aggregations;
    for (std::size_t i = 0; i < spec_.fields.size(); ++i) {
      CheckName(fmt::format("spec.fields[{}].name", i), spec_.fields[i].name, "field", fields);
    }
    for (std::size_t i = 0; i < spec_.computed.size(); ++i) {
      const std::string path = fmt::format("spec.computed[{}].name", i);
      const std::string& name = spec_.computed[i].name;
      if (fields.contains(name)) {
        diagnostics_.Error(path, fmt::format("{} is the name of a field", Quoted(name)));
      } else {
        CheckName(path, name, "computed value", computed);
      }
    }
    for (std::size_t i = 0; i < spec_.aggregations.size(); ++i) {
      CheckName(fmt::format("spec.aggregations[{}].name", i), spec_.aggregations[i].name, "aggregation", aggregations);
    }
  }

  bool CheckCounts() {
    const auto is_allowed = [this](std::string_view path, std::size_t count) {
      if (count <= kMostParts) return true;
      diagnostics_.Error(path, fmt::format("{} entries; at most {} are allowed", count, kMostParts));
      return false;
    };
    const bool fields = is_allowed("spec.fields", spec_.fields.size());
    const bool computed = is_allowed("spec.computed", spec_.computed.size());
    return is_allowed("spec.aggregations", spec_.aggregations.size()) && fields && computed;
  }

  void CheckName(const std::string& path, std::string_view name, std::string_view what,
                 std::set<std::string_view>& seen) {
    if (name.empty()) {
      diagnostics_.Error(path, "is required");
    } else if (IsKeyword(name)) {
      diagnostics_.Error(path, fmt::format("\"{}\" is a word of the expression language", name));
    } else if (name.size() > kLongestName) {
      diagnostics_.Error(path, fmt::format("is longer than {} bytes", kLongestName));
    } else if (std::any_of(name.begin(), name.end(), IsControl)) {
      diagnostics_.Error(path, "has a control character");
    } else if (Contains(kSpecialNames, name)) {
      diagnostics_.Error(path, fmt::format("\"{}\" is the object's own", name));
    } else if (!seen.insert(name).second) {
      diagnostics_.Error(path, fmt::format("another {} is named {}", what, Quoted(name)));
    }
  }

  // Lists of the server's own kinds leave these out of their items; clients know them from the list.
  std::string ImpliedBy(const Path& path) const {
    if (path.segments().size() != 1) return {};
    const std::string& key = path.segments().front().key;
    return key == "kind" ? spec_.target.kind : key == "apiVersion" ? spec_.target.api_version : "";
  }

  static Path Placeholder() {
    Diagnostics none;
    return *Path::Compile(".metadata.name", "", none);
  }

  void CompileFields() {
    std::vector<ProjectedField> fields;
    for (std::size_t i = 0; i < spec_.fields.size(); ++i) {
      const FieldSpec& field = spec_.fields[i];
      const std::string at = fmt::format("spec.fields[{}]", i);
      const std::optional<FieldType> type = field.type.empty() ? FieldType::kString : ParseFieldType(field.type);
      if (!type) {
        diagnostics_.Error(at + ".type", fmt::format("unknown type {}", Quoted(field.type)),
                           Nearest(field.type, FieldTypeNames()));
      }
      std::optional<Path> path;
      if (field.path.empty()) {
        diagnostics_.Error(at + ".path", fmt::format("is required (field {})", Quoted(field.name)));
      } else {
        path = Path::Compile(field.path, at + ".path", diagnostics_);
      }
      const FieldType used = type.value_or(FieldType::kString);
      if (field.default_text && field.default_text->size() > kLongestDefault) {
        diagnostics_.Error(at + ".default", fmt::format("is longer than {} bytes", kLongestDefault));
      }
      // A field that does not compile still has a name, so that its users are not reported too, and its place, so that
      // the others are.
      source_.columns.push_back({field.name, type ? KindsOf(used) : kAnyKind, used == FieldType::kTimestamp});
      if (type && path) {
        std::string implied = ImpliedBy(*path);
        fields.push_back({field.name, *std::move(path), used, field.default_text, std::move(implied)});
      } else {
        fields.push_back({field.name, Placeholder(), FieldType::kString, std::nullopt});
      }
    }
    source_.metadata_only = std::all_of(fields.begin(), fields.end(), [](const ProjectedField& field) {
      const std::vector<Path::Segment>& segments = field.path.segments();
      return !segments.empty() && segments.front().key == "metadata";
    });
    source_.projection = Projection::Compile(std::move(fields), source_.is_secret, "spec.fields", diagnostics_);
  }

  void CompileComputed() {
    std::vector<ComputedField> computed;
    for (std::size_t i = 0; i < spec_.computed.size(); ++i) {
      const ComputedSpec& entry = spec_.computed[i];
      const std::string at = fmt::format("spec.computed[{}]", i);
      const std::optional<ResultType> type = entry.type.empty() ? ResultType::kFloat : ParseResultType(entry.type);
      if (!type) {
        diagnostics_.Error(at + ".type", fmt::format("unknown type {}", Quoted(entry.type)),
                           Nearest(entry.type, ResultTypeNames()));
      }
      computed.push_back({entry.name, entry.expression, type.value_or(ResultType::kFloat), at});
    }
    source_.computed = ComputedFields::Compile(computed, source_.columns, diagnostics_);
    for (std::size_t i = 0; i < computed.size(); ++i) {
      source_.columns.push_back({computed[i].name, KindsOf(computed[i].type), false});
    }
  }

  std::vector<std::string_view> ColumnNames() const {
    std::vector<std::string_view> names;
    for (const Column& column : source_.columns) names.push_back(column.name);
    return names;
  }

  void CompileAggregations() {
    for (std::size_t i = 0; i < spec_.aggregations.size(); ++i) {
      auto compiled = Aggregation::Compile(spec_.aggregations[i], source_.columns,
                                           fmt::format("spec.aggregations[{}]", i), diagnostics_);
      if (compiled) source_.aggregations.push_back(*std::move(compiled));
    }
  }

  // `floor`: what the schema holds new objects to; older ones are raised to it, and what makes no sense at all counts
  // as absent.
  // `ceiling`: what one source may cost a cluster and us.
  template <typename T>
  T Setting(std::string_view member, std::optional<std::int64_t> given, T fallback, std::int64_t floor,
            std::int64_t ceiling) {
    if (!given) return fallback;
    if (*given >= floor && *given <= ceiling) return static_cast<T>(*given);
    const std::int64_t used =
        *given <= 0 ? static_cast<std::int64_t>(fallback) : std::clamp<std::int64_t>(*given, floor, ceiling);
    diagnostics_.Warning(fmt::format("spec.collection.{}", member),
                         fmt::format("{} is not within {}..{}; {} is used", *given, floor, ceiling, used));
    return static_cast<T>(used);
  }

  void CompileCollection() {
    const CollectionSpec& spec = spec_.collection;
    const CollectionSettings defaults;
    CollectionSettings& out = source_.collection;
    out.interval = std::chrono::seconds(Setting<std::int64_t>("intervalSeconds", spec.interval_seconds,
                                                              defaults.interval.count(), 30, kLongestInterval));
    out.timeout = std::chrono::seconds(
        Setting<std::int64_t>("timeoutSeconds", spec.timeout_seconds, defaults.timeout.count(), 5, kLongestTimeout));
    out.max_resources =
        Setting<std::int64_t>("maxResources", spec.max_resources, defaults.max_resources, 1, kMostResources);
    out.batch_size = Setting<int>("batchSize", spec.batch_size, defaults.batch_size, 10, kLargestBatch);
    out.retry_attempts = Setting<int>("retryAttempts", spec.retry_attempts, defaults.retry_attempts, 0, kMostRetries);
    out.parallelism = Setting<int>("parallelism", spec.parallelism, defaults.parallelism, 1, kMostParallel);
  }

  void CheckRbac() {
    const RbacSpec& rbac = spec_.rbac;
    source_.filter_aggregations = rbac.filter_aggregations.value_or(true);
    if (rbac.resource_type_name.empty()) {
      diagnostics_.Warning("spec.rbac.resourceTypeName", "is absent: no policy can give access to what is collected");
    } else if (Contains(kBuiltInTypes, rbac.resource_type_name)) {
      diagnostics_.Warning("spec.rbac.resourceTypeName",
                           fmt::format("\"{}\" is what policies call the fleet's own data", rbac.resource_type_name));
    }
    const std::vector<std::string_view> names = ColumnNames();
    const std::set<std::string_view> known(names.begin(), names.end());
    for (std::size_t i = 0; i < rbac.filterable_fields.size(); ++i) {
      const std::string& field = rbac.filterable_fields[i];
      if (known.contains(field)) continue;
      // Looking through all names costs: not for what is only counted.
      const bool is_kept = diagnostics_.items().size() < Diagnostics::kMax;
      diagnostics_.Warning(fmt::format("spec.rbac.filterableFields[{}]", i),
                           fmt::format("unknown field {}", Quoted(field)), is_kept ? Nearest(field, names) : "");
    }
  }

  Source& source_;
  const Spec& spec_;
  Diagnostics& diagnostics_;
};

void WriteTexts(json::Writer& writer, json::Name key, const std::vector<std::string>& texts) {
  writer.Key(key).BeginArray();
  for (const std::string& text : texts) writer.String(text);
  writer.EndArray();
}

void WriteTarget(json::Writer& writer, const Source& source) {
  const TargetSpec& target = source.spec.target;
  writer.Key("source").BeginObject();
  writer.Member("apiVersion", target.api_version).Member("kind", target.kind);
  writer.Member("scope", source.is_cluster_scoped ? "Cluster" : "Namespaced");
  writer.Member("group", source.group).Member("version", source.version).Member("resource", source.resource);
  // Ours: "resource" may be a guess, this is not.
  if (!target.resource.empty()) writer.Member("plural", target.resource);
  if (!target.label_selector.empty()) writer.Member("labelSelector", target.label_selector);
  if (target.namespaces) {
    writer.Key("namespaces").BeginObject();
    if (!target.namespaces->include.empty()) WriteTexts(writer, "include", target.namespaces->include);
    if (!target.namespaces->exclude.empty()) WriteTexts(writer, "exclude", target.namespaces->exclude);
    writer.EndObject();
  }
  writer.EndObject();
}

// What an upstream collector goes by. It leaves nothing out of what it finds, so of objects and metadata as a whole,
// which may hold what is secret, it is led to nothing.
std::vector<std::string> SegmentsForUpstream(std::string_view path) {
  std::vector<std::string> segments = UpstreamPathSegments(path);
  const bool is_withheld = segments.empty() || segments == std::vector<std::string>{"metadata"} ||
                           segments == std::vector<std::string>{"metadata", "annotations"};
  if (is_withheld) segments = {"clusterpulse.io/withheld"};
  return segments;
}

void WriteFields(json::Writer& writer, const Source& source) {
  writer.Key("fields").BeginArray();
  std::int64_t index = 0;
  for (const FieldSpec& field : source.spec.fields) {
    writer.BeginObject().Member("name", field.name).Member("path", field.path).Key("pathSegments");
    writer.BeginArray();
    for (const std::string& segment : SegmentsForUpstream(field.path)) writer.String(segment);
    writer.EndArray();
    writer.Member("type", field.type.empty() ? Name(FieldType::kString) : std::string_view(field.type));
    if (field.default_text) writer.Member("default", *field.default_text);
    writer.Member("index", index++).EndObject();
  }
  writer.EndArray();
}

void WriteComputed(json::Writer& writer, const Source& source) {
  if (source.spec.computed.empty()) return;
  writer.Key("computed").BeginArray();
  for (const ComputedSpec& computed : source.spec.computed) {
    writer.BeginObject().Member("name", computed.name).Member("expression", computed.expression);
    writer.Member("type", computed.type.empty() ? Name(ResultType::kFloat) : std::string_view(computed.type));
    writer.EndObject();
  }
  writer.EndArray();
}

void WriteAggregations(json::Writer& writer, const Source& source) {
  if (source.spec.aggregations.empty()) return;
  writer.Key("aggregations").BeginArray();
  for (const AggregationSpec& aggregation : source.spec.aggregations) {
    writer.BeginObject().Member("name", aggregation.name);
    if (!aggregation.field.empty()) writer.Member("field", aggregation.field);
    writer.Member("function", aggregation.function);
    if (aggregation.filter) {
      writer.Key("filter").BeginObject().Member("field", aggregation.filter->field);
      writer.Member("operator", aggregation.filter->op).Member("value", aggregation.filter->value).EndObject();
    }
    if (!aggregation.group_by.empty()) writer.Member("groupBy", aggregation.group_by);
    if (aggregation.percentile.value_or(0) != 0) writer.Member("percentile", *aggregation.percentile);
    writer.EndObject();
  }
  writer.EndArray();
}

void WriteSettings(json::Writer& writer, const Source& source) {
  const CollectionSettings& collection = source.collection;
  writer.Key("collection").BeginObject();
  writer.Member("intervalSeconds", static_cast<std::int64_t>(collection.interval.count()));
  writer.Member("timeoutSeconds", static_cast<std::int64_t>(collection.timeout.count()));
  writer.Member("maxResources", collection.max_resources).Member("batchSize", collection.batch_size);
  writer.Member("retryAttempts", collection.retry_attempts).Member("parallelism", collection.parallelism);
  writer.EndObject();
  writer.Key("rbac").BeginObject().Member("resourceTypeName", source.spec.rbac.resource_type_name);
  if (!source.spec.rbac.filterable_fields.empty()) {
    WriteTexts(writer, "filterableFields", source.spec.rbac.filterable_fields);
  }
  writer.Member("filterAggregations", source.filter_aggregations).EndObject();
}

// All of the definition but when and what it is called.
void WriteContent(json::Writer& writer, const Source& source) {
  writer.Member("name", source.name).Member("namespace", source.ns);
  WriteTarget(writer, source);
  WriteFields(writer, source);
  WriteComputed(writer, source);
  WriteAggregations(writer, source);
  WriteSettings(writer, source);
}

std::string ContentOf(const Source& source) {
  std::string text;
  json::Writer writer(text);
  writer.BeginObject().Member("engine", kEngineVersion);
  WriteContent(writer, source);
  writer.EndObject();
  return text;
}

std::string HashOf(std::string_view text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::string hash;
  for (std::size_t i = 0; i < 8; ++i) hash += fmt::format("{:02x}", digest[i]);
  return hash;
}

}  // namespace

std::shared_ptr<const Source> Compile(std::string ns, std::string name, Spec spec, Diagnostics& diagnostics) {
  auto source = std::make_shared<Source>();
  source->id = fmt::format("{}/{}", ns, name);
  source->ns = std::move(ns);
  source->name = std::move(name);
  source->spec = std::move(spec);
  Compiler(*source, diagnostics).Run();
  if (diagnostics.has_errors()) return nullptr;
  const std::string content = ContentOf(*source);
  if (content.size() > kLargestDefinition) {
    diagnostics.Error(
        "spec", fmt::format("{} bytes when compiled; at most {} are allowed", content.size(), kLargestDefinition));
    return nullptr;
  }
  source->hash = HashOf(content);
  return source;
}

std::string Definition(const Source& source, base::SystemTime compiled_at) {
  std::string out;
  json::Writer writer(out);
  writer.BeginObject();
  WriteContent(writer, source);
  writer.Member("compiledAt", base::FormatSeconds(compiled_at)).Member("hash", source.hash);
  writer.EndObject();
  return out;
}

std::shared_ptr<const Source> CompileDefinition(std::string_view json, Diagnostics& diagnostics) {
  const auto definition = json::Value::Parse(json);
  if (!definition.ok() || !definition->IsObject()) {
    diagnostics.Error("definition", definition.ok() ? "is no object" : base::Message(definition.status()));
    return nullptr;
  }
  const std::string ns((*definition)["namespace"].StringOr()), name((*definition)["name"].StringOr());
  if (!kube::IsPathSegment(ns) || !kube::IsPathSegment(name)) {
    diagnostics.Error("definition",
                      fmt::format("{} is no name of a MetricSource", Quoted(fmt::format("{}/{}", ns, name))));
    return nullptr;
  }
  Spec spec = ReadDefinition(*definition, diagnostics);
  return Compile(ns, name, std::move(spec), diagnostics);
}

std::string GuessResource(std::string_view kind) {
  std::string word(kind);
  std::transform(word.begin(), word.end(), word.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (word.empty() || word == "endpoints" || word == "securitycontextconstraints") return word;
  if (word == "podmetrics" || word == "nodemetrics") return word.substr(0, word.find("metrics")) + "s";
  const auto ends_with = [&](std::string_view end) { return word.ends_with(end); };
  if (ends_with("s") || ends_with("x") || ends_with("ch") || ends_with("sh")) return word + "es";
  if (ends_with("y")) {
    // A vowel before it keeps it: gateways, keys.
    const bool is_kept = word.size() > 1 && std::string_view("aeiou").find(word[word.size() - 2]) != std::string::npos;
    return is_kept ? word + "s" : word.substr(0, word.size() - 1) + "ies";
  }
  return word + "s";
}

bool TakesNamespace(const Source& source, std::string_view ns) {
  if (ns.empty() || source.is_cluster_scoped || !source.spec.target.namespaces) return true;
  const auto matches = [ns](const std::string& pattern) { return base::MatchesWildcard(pattern, ns); };
  const NamespacesSpec& namespaces = *source.spec.target.namespaces;
  if (std::any_of(namespaces.exclude.begin(), namespaces.exclude.end(), matches)) return false;
  return namespaces.include.empty() || std::any_of(namespaces.include.begin(), namespaces.include.end(), matches);
}

}  // namespace clusterpulse::metricsource
