#include "common/metricsource/collect.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "common/base/backoff.h"
#include "common/base/mutex.h"
#include "common/base/parallel.h"
#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/base/wildcard.h"
#include "common/json/writer.h"
#include "common/kube/lister.h"
#include "common/kube/resource.h"

namespace clusterpulse::metricsource {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLongestRetry{10000};
constexpr milliseconds kShortestCall{5000};
constexpr int kLargestPage = 10000;  // kube::ListQuery::limit
// A field selector of more is longer than some proxies let through.
constexpr std::size_t kMostExcluded = 40;

// Whether trying again may help, without anybody doing anything.
bool IsTransient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnknown:
      return true;
    default:
      return false;
  }
}

// What one list found.
struct Chunk {
  explicit Chunk(const Source& source) : rows(source.columns) {}
  Table rows;
  bool truncated = false;
  std::vector<FieldCounts> fields;
  EvaluationCounts evaluation;
  absl::Status status;
};

class Run {
 public:
  Run(const Source& source, kube::KubeApi& api, kube::Discovery& discovery, const base::Clock& clock,
      base::Random& random, const CollectOptions& options)
      : source_(source),
        api_(api),
        discovery_(discovery),
        clock_(clock),
        random_(random),
        options_(options),
        deadline_(clock.Steady() + source.collection.timeout),
        now_(clock.Now()),
        most_(std::min(source.collection.max_resources, options.limit.value_or(source.collection.max_resources))) {}

  Collection Execute() {
    Collection out(source_);
    const base::SteadyTime begin = clock_.Steady();
    out.started = now_;
    if (const absl::Status status = FindResource(); !status.ok()) {
      Fail(out, status);
    } else {
      const std::vector<std::string> namespaces = NamedNamespaces();
      namespaces.empty() ? ListWhole(out) : ListEach(namespaces, out);
    }
    out.duration = std::chrono::duration_cast<milliseconds>(clock_.Steady() - begin);
    base::MutexLock lock(mu_);
    out.work = work_;
    return out;
  }

 private:
  void Fail(Collection& out, const absl::Status& status) const {
    // A stop may come while a failure waits to be tried again.
    const bool is_stopped = options_.stop.stop_requested() && status.code() != absl::StatusCode::kCancelled;
    out.failure = FailureWord(is_stopped ? absl::CancelledError() : status);
    out.message = (is_stopped ? "stopped, after: " : "") + base::Message(status);
  }

  // One call gets half of the time at most, so that a server that falls silent is asked once more.
  kube::CallOptions Call() const {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - clock_.Steady());
    const milliseconds most = std::max<milliseconds>(kShortestCall, source_.collection.timeout / 2);
    return {.timeout = std::clamp(left, milliseconds(1), most), .stop = options_.stop, .repeats_refused = false};
  }

  // Resource and scope as the server has them. One that forbids to ask is taken at the source's word.
  absl::Status FindResource() {
    const TargetSpec& target = source_.spec.target;
    auto found = Retry([&] {
      std::int64_t calls = 0;
      auto answer = discovery_.Find(target.api_version, target.kind, Call(), &calls);
      if (calls > 0) AddWork({.calls = calls});
      return answer;
    });
    if (found.ok()) {
      resource_ = *std::move(found);
      if (resource_.group.empty() && resource_.plural == "secrets" && !source_.is_secret) {
        return absl::InvalidArgumentError("the kind of Secrets is Secret");
      }
      return absl::OkStatus();
    }
    if (!target.resource.empty() || found.status().code() == absl::StatusCode::kPermissionDenied) {
      resource_ = {source_.group, source_.version, source_.resource, target.kind, !source_.is_cluster_scoped};
      return absl::OkStatus();
    }
    if (kube::IsNotFound(found.status())) {
      return absl::FailedPreconditionError(base::Message(found.status()));
    }
    return found.status();
  }

  template <typename F>
  auto Retry(F f) -> decltype(f()) {
    base::Backoff backoff({.initial = options_.first_retry, .max = kLongestRetry}, random_);
    for (int attempts = source_.collection.retry_attempts;; --attempts) {
      auto result = f();
      if (result.ok() || attempts <= 0 || !WaitAfter(result.status(), backoff)) return result;
    }
  }

  // Before another attempt, for as long as the server asked for, if it did. False: it would be for nothing, or there is
  // no time for it.
  bool WaitAfter(const absl::Status& status, base::Backoff& backoff) const {
    if (!IsTransient(status)) return false;
    milliseconds time = backoff.Next();
    if (const auto error = kube::GetApiError(status); error && error->retry_after) {
      time = std::max<milliseconds>(time, *error->retry_after);
    }
    if (clock_.Steady() + time >= deadline_) return false;
    base::StopSignal stop(options_.stop);
    return !stop.WaitFor(time);
  }

  // The namespaces that are to be listed one by one; empty: all are listed as a whole.
  std::vector<std::string> NamedNamespaces() const {
    if (!resource_.namespaced) return {};
    if (options_.ns.has_value()) return {*options_.ns};
    if (source_.is_cluster_scoped || !source_.spec.target.namespaces) return {};
    const NamespacesSpec& namespaces = *source_.spec.target.namespaces;
    if (!std::all_of(namespaces.include.begin(), namespaces.include.end(),
                     [](const std::string& name) { return kube::IsPathSegment(name) && !base::HasWildcard(name); })) {
      return {};
    }
    std::set<std::string> names;
    for (const std::string& name : namespaces.include) {
      if (TakesNamespace(source_, name)) names.insert(name);
    }
    return {names.begin(), names.end()};
  }

  // What the server can do of the choice of namespaces.
  struct ServerFilter {
    std::string field_selector;  // names to leave out; patterns and more of them are filtered here
    bool is_all = true;          // nothing is left to filter here
  };
  ServerFilter FilterOf(const std::string& ns) const {
    if (!ns.empty() || !resource_.namespaced) return {"", TakesNamespace(source_, ns)};
    if (source_.is_cluster_scoped || !source_.spec.target.namespaces) return {};
    ServerFilter filter{"", source_.spec.target.namespaces->include.empty()};
    std::size_t names = 0;
    for (const std::string& name : source_.spec.target.namespaces->exclude) {
      if (base::HasWildcard(name) || !kube::IsPathSegment(name) || names == kMostExcluded) {
        filter.is_all = false;
        continue;
      }
      filter.field_selector += fmt::format("{}metadata.namespace!={}", names++ == 0 ? "" : ",", name);
    }
    return filter;
  }

  void ListWhole(Collection& out) {
    Chunk chunk(source_);
    List("", most_, chunk);
    if (!chunk.status.ok()) return Fail(out, chunk.status);
    out.rows = std::move(chunk.rows);
    out.truncated = chunk.truncated;
    out.fields = std::move(chunk.fields);
    out.evaluation = chunk.evaluation;
  }

  // Each into its own rows, which are put together in the order of the names: the same objects give the same rows.
  void ListEach(const std::vector<std::string>& namespaces, Collection& out) {
    std::vector<std::unique_ptr<Chunk>> chunks(namespaces.size());
    std::vector<std::function<void()>> tasks;
    for (std::size_t i = 0; i < namespaces.size(); ++i) {
      tasks.emplace_back([this, &namespaces, &chunks, i] {
        auto chunk = std::make_unique<Chunk>(source_);
        List(namespaces[i], most_ - RowsBefore(chunks, i), *chunk);
        if (!chunk->status.ok()) chunk->rows = Table(source_.columns);  // they count for nothing
        base::MutexLock lock(mu_);
        chunks[i] = std::move(chunk);
      });
    }
    base::RunParallel(tasks, source_.collection.parallelism);

    absl::Status first_error;
    std::size_t failed = 0;
    std::vector<Value> row(source_.columns.size());
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      Chunk& chunk = *chunks[i];
      if (!chunk.status.ok()) {
        if (failed++ == 0) first_error = chunk.status;
        out.errors.push_back(fmt::format("namespace {}: {}", namespaces[i], base::Message(chunk.status)));
        continue;
      }
      out.truncated |= chunk.truncated;
      Add(chunk, out);
      for (std::size_t r = 0; r < chunk.rows.size(); ++r) {
        if (static_cast<std::int64_t>(out.rows.size()) >= most_ || out.rows.IsFull()) {
          out.truncated = true;
          break;
        }
        chunk.rows.ReadRow(r, row);
        out.rows.Append(chunk.rows.meta(r), row);
      }
      chunks[i].reset();
    }
    if (failed == chunks.size()) Fail(out, first_error);
  }

  // As far as is known by now; what comes behind the bound is not kept.
  std::int64_t RowsBefore(const std::vector<std::unique_ptr<Chunk>>& chunks, std::size_t end) {
    base::MutexLock lock(mu_);
    std::int64_t rows = 0;
    for (std::size_t i = 0; i < end; ++i) {
      if (chunks[i] != nullptr) rows += static_cast<std::int64_t>(chunks[i]->rows.size());
    }
    return std::min(rows, most_);
  }

  static void Add(const Chunk& chunk, Collection& out) {
    if (out.fields.empty()) out.fields.resize(chunk.fields.size());
    for (std::size_t f = 0; f < chunk.fields.size(); ++f) {
      out.fields[f].matched += chunk.fields[f].matched;
      out.fields[f].missing += chunk.fields[f].missing;
      out.fields[f].null += chunk.fields[f].null;
      out.fields[f].failed += chunk.fields[f].failed;
    }
    out.evaluation += chunk.evaluation;
  }

  void List(const std::string& ns, std::int64_t most, Chunk& chunk) {
    const ServerFilter filter = FilterOf(ns);
    const int whole_page = std::min(source_.collection.batch_size, kLargestPage);
    kube::ListQuery query{.resource = resource_,
                          .ns = ns,
                          .label_selector = source_.spec.target.label_selector,
                          .field_selector = filter.field_selector,
                          .limit = whole_page,
                          .metadata_only = source_.metadata_only};
    if (filter.is_all && most < whole_page) query.limit = static_cast<int>(most) + 1;
    base::Backoff backoff({.initial = options_.first_retry, .max = kLongestRetry}, random_);
    RowReader reader(source_, now_);
    int attempts = source_.collection.retry_attempts;
    const auto restart = [&] {
      chunk.rows = Table(source_.columns);
      reader.ResetCounts();
      query.continue_token.clear();
    };
    for (int pages = 0;;) {
      const std::size_t before = chunk.rows.size();
      absl::StatusOr<kube::ListPage> page = ListPage(query, most, reader, chunk);
      if (chunk.truncated) break;
      if (!page.ok() && page.status().code() == absl::StatusCode::kInvalidArgument && !query.field_selector.empty()) {
        // Some servers cannot filter by namespace.
        query.field_selector.clear();
        query.limit = whole_page;
        restart();
        continue;
      }
      if (!page.ok()) {
        chunk.status = page.status();
        if (attempts-- <= 0 || !WaitAfter(page.status(), backoff)) return;
        chunk.status = absl::OkStatus();
        // From this page on, unless half of it was used or its token is too old.
        if (kube::IsExpired(page.status()) || chunk.rows.size() != before) restart();
        continue;
      }
      if (page->continue_token.empty()) break;
      if (page->continue_token == query.continue_token || ++pages >= kube::kMaxListPages) {
        chunk.status = base::MakeStatus(absl::StatusCode::kDataLoss, "the list of {} does not end", resource_.plural);
        return;
      }
      query.continue_token = std::move(page->continue_token);
    }
    chunk.fields.assign(reader.counts().begin(), reader.counts().end());
    if (!chunk.truncated) chunk.evaluation = reader.evaluation();
  }

  absl::StatusOr<kube::ListPage> ListPage(const kube::ListQuery& query, std::int64_t most, RowReader& reader,
                                          Chunk& chunk) {
    if (clock_.Steady() >= deadline_) {
      return base::MakeStatus(absl::StatusCode::kDeadlineExceeded, "not done within {} s",
                              source_.collection.timeout.count());
    }
    std::int64_t objects = 0;
    const auto visit = [&](json::Cursor object) -> absl::Status {
      ++objects;
      // The rest of the page is here already; an error would end the call without the page's size.
      if (chunk.truncated) return absl::OkStatus();
      const EvaluationCounts before = reader.evaluation();
      ASSIGN_OR_RETURN(const bool is_taken, reader.Read(object));
      if (!is_taken) return absl::OkStatus();
      const std::size_t rows = chunk.rows.size();
      if (static_cast<std::int64_t>(rows) >= most || chunk.rows.IsFull()) {
        chunk.truncated = true;
        chunk.evaluation = before;
        reader.Uncount();
        return absl::OkStatus();
      }
      chunk.rows.Append(reader.meta(), reader.values());
      return absl::OkStatus();
    };
    absl::StatusOr<kube::ListPage> page = api_.List(query, visit, Call());
    AddWork({.objects = objects, .bytes = page.ok() ? static_cast<std::int64_t>(page->bytes) : 0, .calls = 1});
    return page;
  }

  void AddWork(const CollectOptions::Progress& work) {
    base::MutexLock lock(mu_);
    work_.objects += work.objects;
    work_.bytes += work.bytes;
    work_.calls += work.calls;
    if (options_.on_call) options_.on_call(work_);
  }

  const Source& source_;
  kube::KubeApi& api_;
  kube::Discovery& discovery_;
  const base::Clock& clock_;
  base::Random& random_;
  const CollectOptions& options_;
  const base::SteadyTime deadline_;
  const base::SystemTime now_;  // of expressions, and of the run
  const std::int64_t most_;
  kube::ResourceType resource_;

  base::Mutex mu_;
  CollectOptions::Progress work_ ABSL_GUARDED_BY(mu_);
};

// Sets rows and their number.
void SetRows(const Table& rows, model::SourceResult& out) {
  out.resource_count = static_cast<std::int32_t>(rows.size());
  out.rows.clear();
  out.rows.reserve(rows.size());
  AppendRows(rows, 0, rows.size(), out.rows);
}

void Tell(const std::string& what, model::SourceResult& out) {
  out.message += (out.message.empty() ? "" : "; ") + what;
}

// What a result takes among others as JSON, with its name and a comma.
std::size_t WrittenBytes(const Aggregation& aggregation, const AggregationResult& result) {
  std::string alone;
  AppendResults({&aggregation, 1}, {&result, 1}, alone);
  return alone.size() - 1;
}

// Sets both forms of the aggregations of `out` to what they are over these rows.
void Summarise(const Source& source, const Table& rows, model::SourceResult& out) {
  std::vector<AggregationResult> results = Aggregate(rows, source.aggregations);
  out.aggregations.clear();
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i].is_grouped || !results[i].value.IsNumber()) continue;
    out.aggregations.emplace(source.aggregations[i].name, results[i].value.Number());
  }
  std::vector<std::size_t> bytes;
  std::size_t all = 1;
  for (std::size_t i = 0; i < results.size(); ++i) {
    bytes.push_back(WrittenBytes(source.aggregations[i], results[i]));
    all += bytes.back();
  }
  while (all > kMostAggregationBytes) {
    const auto most = static_cast<std::size_t>(std::max_element(bytes.begin(), bytes.end()) - bytes.begin());
    const Aggregation& aggregation = source.aggregations[most];
    ++out.errors;
    Tell(fmt::format("{} is left out: its {} groups are more than the {} MiB of aggregations have room for",
                     aggregation.name, results[most].groups.size(), kMostAggregationBytes >> 20),
         out);
    results[most] = AggregationResult();
    all -= bytes[most];
    bytes[most] = WrittenBytes(aggregation, results[most]);
    all += bytes[most];
  }
  out.aggregations_json.clear();
  AppendResults(source.aggregations, results, out.aggregations_json);
}

}  // namespace

std::string_view FailureWord(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kFailedPrecondition:
      return "NotInstalled";
    case absl::StatusCode::kPermissionDenied:
      return "Forbidden";
    case absl::StatusCode::kUnauthenticated:
      return "Unauthorized";
    case absl::StatusCode::kNotFound:
      return "NotFound";
    case absl::StatusCode::kOutOfRange:
      return "Expired";
    case absl::StatusCode::kResourceExhausted:
      return "Throttled";
    case absl::StatusCode::kDeadlineExceeded:
      return "TimedOut";
    case absl::StatusCode::kUnavailable:
      return "Unreachable";
    case absl::StatusCode::kDataLoss:
      return "InvalidAnswer";
    case absl::StatusCode::kInvalidArgument:
      return "Refused";
    case absl::StatusCode::kCancelled:
      return "Stopped";
    default:
      return "Failed";
  }
}

Collection Collect(const Source& source, kube::KubeApi& api, kube::Discovery& discovery, const base::Clock& clock,
                   base::Random& random, const CollectOptions& options) {
  return Run(source, api, discovery, clock, random, options).Execute();
}

model::SourceResult ToResult(const Source& source, const Collection& collection) {
  model::SourceResult out = ToSummary(source, collection);
  if (out.failure.empty()) SetRows(collection.rows, out);
  return out;
}

model::SourceResult ToSummary(const Source& source, const Collection& collection) {
  model::SourceResult out{.source = source.id,
                          .truncated = collection.truncated,
                          .duration = collection.duration,
                          .definition_hash = source.hash,
                          .failure = collection.failure,
                          .message = collection.message,
                          .errors = static_cast<std::int32_t>(collection.errors.size())};
  if (!out.failure.empty()) {
    out.errors = std::max(out.errors, 1);
    return out;
  }
  if (!collection.errors.empty()) {
    out.message = collection.errors.front();
    if (collection.errors.size() > 1) out.message += fmt::format(" (and {} more)", collection.errors.size() - 1);
  }
  if (const std::uint64_t lost = collection.evaluation.type_errors + collection.evaluation.budget_errors; lost > 0) {
    Tell(fmt::format("{} operations of computed values had no result", lost), out);
  }
  out.resource_count = static_cast<std::int32_t>(collection.rows.size());
  Summarise(source, collection.rows, out);
  for (std::size_t i = 0; i < collection.fields.size(); ++i) {
    const FieldCounts& counts = collection.fields[i];
    out.fields.push_back({source.spec.fields[i].name, counts.matched, counts.missing + counts.null, counts.failed});
  }
  return out;
}

void AppendRows(const Table& rows, std::size_t first, std::size_t last, std::vector<model::SourceRow>& out) {
  for (std::size_t i = first; i < last; ++i) {
    const RowMeta meta = rows.meta(i);
    model::SourceRow& row = out.emplace_back();
    row.id = meta.ns.empty() ? std::string(meta.name) : fmt::format("{}/{}", meta.ns, meta.name);
    row.ns = meta.ns;
    row.name = meta.name;
    row.labels = rows.Labels(i);
    rows.AppendValues(i, row.values_json);
  }
}

absl::Status CompleteResult(const Source& source, base::SystemTime now, model::SourceResult& result) {
  const std::size_t fields = source.spec.fields.size();
  Table extracted(
      std::vector<Column>(source.columns.begin(), source.columns.begin() + static_cast<std::ptrdiff_t>(fields)));
  json::Parser parser;
  std::string labels;
  for (const model::SourceRow& row : result.rows) {
    if (!TakesNamespace(source, row.ns)) continue;
    labels.clear();
    if (!row.labels.empty()) {
      json::Writer writer(labels);
      writer.BeginObject();
      for (const auto& [key, value] : row.labels) writer.Member(key, value);
      writer.EndObject();
    }
    RETURN_IF_ERROR(base::Annotate(extracted.AppendJson(parser, {row.ns, row.name, labels}, row.values_json),
                                   fmt::format("the values of {}", row.id)));
  }
  Table whole(source.columns);
  RowReader reader(source, now);
  const std::span<const Value> defaults = source.projection->defaults();
  for (std::size_t i = 0; i < extracted.size(); ++i) {
    if (whole.IsFull()) {
      result.truncated = true;
      break;
    }
    const std::span<Value> row = reader.fields();
    extracted.ReadRow(i, row);
    for (std::size_t field = 0; field < fields; ++field) {
      if (row[field].IsNull()) row[field] = defaults[field];
    }
    reader.Compute();
    whole.Append(extracted.meta(i), reader.values());
  }
  SetRows(whole, result);
  Summarise(source, whole, result);
  result.definition_hash = source.hash;
  return absl::OkStatus();
}

}  // namespace clusterpulse::metricsource
