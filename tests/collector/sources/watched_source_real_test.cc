// Watched sources on a real kube-apiserver and etcd: while several threads change everything, over a line that breaks,
// past expired watches, a compacted etcd and a killed server, what a watch knows is what listing gives.
#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <optional>

#include <catch2/catch.hpp>

#include "collector/sources/watched_source.h"
#include "common/kube/discovery.h"
#include "common/kube/http_kube_api.h"
#include "common/kube/kube_config.h"
#include "common/kube/testing/forwarding_kube_api.h"
#include "tests/collector/sources/churn.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/kube_api_server.h"

namespace clusterpulse::sources {
namespace {

using namespace std::chrono_literals;
using metricsource::Collection;
using testing::Eventually;

constexpr std::uint64_t kSeed = 20311;
constexpr auto kPatience = 60s;  // under load; it takes a second or so

// The machine's steady clock; a present that stands still, so that two runs give the same for what depends on it.
class FixedPresent final : public base::Clock {
 public:
  base::SystemTime Now() const override { return base::SystemTime(1933135628s); }
  base::SteadyTime Steady() const override { return base::SystemClock().Steady(); }
};

// The first five columns of a source on objects of Churn.
enum Column : std::size_t { kNumber, kNote, kSize, kTeam, kTier };

// A source, watched over a line of its own whose calls are counted.
class Line final : public kube::ForwardingKubeApi {
 public:
  Line(kube::KubeApi& to, std::string name) : kube::ForwardingKubeApi(to), name(std::move(name)) {}

  absl::Status Watch(const kube::WatchQuery& query, kube::WatchVisitor visit,
                     const kube::CallOptions& options) override {
    if (is_held) return absl::UnavailableError("held");
    const absl::Status status = kube::ForwardingKubeApi::Watch(query, visit, options);
    ++(status.ok() ? ended : kube::IsExpired(status) ? expired : lost);
    return status;
  }
  absl::StatusOr<kube::ListPage> List(const kube::ListQuery& query, kube::ItemVisitor visit,
                                      const kube::CallOptions& options) override {
    if (query.continue_token.empty()) ++lists;
    return kube::ForwardingKubeApi::List(query, visit, options);
  }

  const std::string name;
  std::atomic<bool> is_held = false;                             // no watch begins
  std::atomic<int> lists = 0, ended = 0, expired = 0, lost = 0;  // lists begun; watches by their end

  std::shared_ptr<const metricsource::Source> source;
  bool has_states = true, is_selected = false;
  std::unique_ptr<WatchedSource> watched;
  // Of the thread that reads.
  int reads = 0;
  std::map<std::string, std::int64_t> newest;  // number by object
};

struct SourceText {
  std::string name, target, fields, more;
  std::int64_t max = 5000;
  int batch = 20;
};

std::string StateFields(const std::string& data) {
  return fmt::format(R"({{"name":"number","path":"{0}.number","type":"integer"}},
    {{"name":"note","path":"{0}.note","type":"string"}},
    {{"name":"size_text","path":"{0}.size","type":"string","default":"none"}},
    {{"name":"team","path":".metadata.labels.team","type":"string","default":"none"}},
    {{"name":"tier","path":".metadata.labels.tier","type":"string","default":"none"}})",
                     data);
}

constexpr std::string_view kMapTarget = R"("apiVersion":"v1","kind":"ConfigMap","scope":"Namespaced")";
constexpr std::string_view kMapFields = R"(,
  {"name":"size","path":".data.size","type":"quantity"}, {"name":"data","path":".data","type":"string"},
  {"name":"keys","path":".data","type":"arrayLength"}, {"name":"labels","path":".metadata.labels","type":"string"},
  {"name":"uid","path":".metadata.uid","type":"string"},
  {"name":"managers","path":".metadata.managedFields[*].manager","type":"string"},
  {"name":"version","path":".metadata.resourceVersion","type":"string"},
  {"name":"created","path":".metadata.creationTimestamp","type":"timestamp"})";
// `odd` has no result where the size is none: those are counted.
constexpr std::string_view kMapRest = R"json("computed":[
    {"name":"kib","expression":"round(size / 1024, 2)","type":"float"},
    {"name":"age","expression":"age(created)","type":"integer"},
    {"name":"who","expression":"concat(upper(team), ':', tier)","type":"string"},
    {"name":"big","expression":"size > 2000 && team != 'none'","type":"boolean"},
    {"name":"odd","expression":"size ?? note","type":"float"}],
  "aggregations":[{"name":"all","function":"count"},{"name":"total","function":"sum","field":"size"},
    {"name":"mean","function":"avg","field":"kib"},{"name":"p90","function":"percentile","field":"number","percentile":90},
    {"name":"teams","function":"distinct","field":"team"},{"name":"by_tier","function":"count","groupBy":"tier"},
    {"name":"large_by_team","function":"sum","field":"number","groupBy":"team",
     "filter":{"field":"big","operator":"equals","value":"true"}}],)json";

std::vector<SourceText> Sources() {
  const std::string map(kMapTarget), rest(kMapRest), fields = StateFields(".data") + std::string(kMapFields);
  const std::string selected = R"json(,"labelSelector":"tier in (gold,silver)")json";
  return {
      {"selected", map + selected + R"(,"namespaces":{"include":["w*","v?"],"exclude":["w0","*-b-*"]})", fields, rest},
      {"cut", map + selected, fields, rest, 57, 10},
      {"whole", map, fields, rest},
      {"metadata", map + R"(,"labelSelector":"tier!=bronze","namespaces":{"exclude":["wa","kube-*"]})",
       R"({"name":"number","path":".metadata.labels.number","type":"integer"},
          {"name":"note","path":".metadata.annotations.note","type":"string"},
          {"name":"size_text","path":".metadata.annotations.size","type":"string","default":"none"},
          {"name":"team","path":".metadata.labels.team","type":"string","default":"none"},
          {"name":"tier","path":".metadata.labels.tier","type":"string","default":"none"},
          {"name":"all","path":".metadata","type":"string"})",
       ""},
      {"berths", R"("apiVersion":"watch.example.org/v1","kind":"Berth","scope":"Cluster")", StateFields(".spec") + R"(,
         {"name":"big","path":".spec.big","type":"integer"}, {"name":"share","path":".spec.share","type":"float"},
         {"name":"open","path":".spec.open","type":"boolean"}, {"name":"ports","path":".spec.ports[*]","type":"string"},
         {"name":"last","path":".spec.ports[-1]","type":"string"}, {"name":"spec","path":".spec","type":"string"})",
       R"("computed":[{"name":"more","expression":"big + 1","type":"integer"}],
          "aggregations":[{"name":"share","function":"sum","field":"share"},{"name":"most","function":"max","field":"more"},
            {"name":"by_open","function":"count","groupBy":"open"}],)"},
      {"namespaces", R"("apiVersion":"v1","kind":"Namespace","scope":"Cluster")",
       R"({"name":"phase","path":".status.phase","type":"string"},
          {"name":"finalizers","path":".spec.finalizers[*]","type":"string"},
          {"name":"deleted","path":".metadata.deletionTimestamp","type":"timestamp"})",
       R"("aggregations":[{"name":"by_phase","function":"count","groupBy":"phase"}],)"},
  };
}

std::shared_ptr<const metricsource::Source> CompileText(const SourceText& text) {
  const std::string definition = fmt::format(
      R"({{"name":"{}","namespace":"hub","source":{{{}}},"fields":[{}],{}"collection":{{"intervalSeconds":30,
          "timeoutSeconds":30,"maxResources":{},"batchSize":{},"retryAttempts":3,"parallelism":3}},
          "rbac":{{"resourceTypeName":"x"}},"compiledAt":"2031-04-05T06:07:08Z"}})",
      text.name, text.target, text.fields, text.more, text.max, text.batch);
  metricsource::Diagnostics diagnostics;
  auto source = metricsource::CompileDefinition(definition, diagnostics);
  INFO(text.name << ": " << diagnostics.Summary());
  REQUIRE(source != nullptr);
  return source;
}

// All that two collections can differ in, but how long they took and what they cost; a line for each row.
std::string Describe(const metricsource::Source& source, const Collection& collection) {
  const model::SourceResult result = metricsource::ToResult(source, collection);
  std::string text = fmt::format("{} rows, truncated {}, failure '{}' {}\n", result.resource_count, result.truncated,
                                 result.failure, fmt::join(collection.errors, "; "));
  text += result.message + "\n";
  text += result.aggregations_json + "\n";
  for (const auto& [name, value] : result.aggregations) text += fmt::format("{}={} ", name, value);
  for (std::size_t i = 0; i < collection.fields.size(); ++i) {
    const metricsource::FieldCounts& counts = collection.fields[i];
    text += fmt::format("\n{}: {} {} {} {}", source.spec.fields[i].name, counts.matched, counts.missing, counts.null,
                        counts.failed);
  }
  for (std::size_t i = 0; i < collection.rows.size(); ++i) {
    text += "\n";
    collection.rows.AppendRecord(i, text);
  }
  return text;
}

// The first line in which they differ.
std::string Difference(const std::string& watched, const std::string& listed) {
  if (watched == listed) return "";
  const auto at = static_cast<std::size_t>(
      std::mismatch(watched.begin(), watched.end(), listed.begin(), listed.end()).first - watched.begin());
  const std::size_t begin = watched.rfind('\n', at == 0 ? 0 : at - 1) + 1;
  const auto line = [&](const std::string& text) { return text.substr(begin, text.find('\n', at) - begin); };
  return fmt::format("watched: {}\nlisted:  {}", line(watched), line(listed));
}

// What is wrong with rows that were read while objects change; empty: it is a state that can have been.
std::string WhatIsWrong(Line& line, const Collection& collection) {
  const metricsource::Table& rows = collection.rows;
  const auto most = static_cast<std::size_t>(line.source->collection.max_resources);
  if (!collection.failure.empty() || rows.size() > most || (collection.truncated && rows.size() != most)) {
    return fmt::format("{} rows, truncated {}, {}", rows.size(), collection.truncated, collection.failure);
  }
  std::string before;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const metricsource::RowMeta meta = rows.meta(i);
    const std::string key = meta.ns.empty() ? std::string(meta.name) : fmt::format("{}/{}", meta.ns, meta.name);
    if (key <= before) return fmt::format("{} behind {}", key, before);
    before = key;
    if (!metricsource::TakesNamespace(*line.source, meta.ns)) return key + " is of another namespace";
    if (!line.has_states || rows.At(i, kNote).IsNull()) continue;
    const std::int64_t number = rows.At(i, kNumber).IsNull() ? -1 : rows.At(i, kNumber).AsInt();
    const auto text = [&](Column column) {
      const std::string_view value = rows.At(i, column).AsText();
      return value == "none" ? std::string_view() : value;
    };
    if (text(kNote) != Churn::Note(number, text(kSize), text(kTeam), text(kTier))) {
      return fmt::format("{} is two states at once: {}, {}", key, text(kNote), number);
    }
    if (line.is_selected && text(kTier) != "gold" && text(kTier) != "silver") return key + " is not selected";
    std::int64_t& newest = line.newest[key];
    if (number < newest) return fmt::format("{} went back from {} to {}", key, newest, number);
    newest = number;
  }
  return "";
}

struct World {
  std::unique_ptr<testing::KubeTestEnv> env;
  std::unique_ptr<testing::KubeTestEnv::Server> server;
  std::unique_ptr<testing::FaultProxy> proxy;
  std::unique_ptr<kube::HttpKubeApi> direct, faulty;  // faulty: through the proxy
  FixedPresent clock;
  base::SeededRandom random{kSeed};
  std::optional<kube::Discovery> discovery;
  std::optional<Churn> churn;
  std::deque<Line> lines;

  std::string Watched(Line& line) {
    const std::optional<Collection> rows = line.watched->Read();
    return rows ? Describe(*line.source, *rows) : "nothing";
  }
  std::string Listed(const Line& line) {
    return Describe(*line.source, metricsource::Collect(*line.source, *direct, *discovery, clock, random, {}));
  }
  void ReadAll() {
    for (Line& line : lines) {
      const std::optional<Collection> rows = line.watched->Read();
      if (!rows) continue;
      ++line.reads;
      if (const std::string wrong = WhatIsWrong(line, *rows); !wrong.empty()) churn->Report(line.name + ": " + wrong);
    }
  }
  void Change(Churn::Options options) {
    options.read = [this] { ReadAll(); };
    churn->Run(options);
    REQUIRE(churn->Problem() == "");
  }
  // REQUIRES: nobody writes.
  void CheckAllSame(const char* when) {
    for (Line& line : lines) {
      CAPTURE(when, line.name);
      std::string difference;
      const bool is_same = Eventually(kPatience, [&] {
        // In this order: what the watch knew then is in the list.
        const std::string watched = Watched(line);
        return (difference = Difference(watched, Listed(line))).empty();
      });
      INFO(difference);
      REQUIRE(is_same);
    }
  }
};

std::unique_ptr<kube::HttpKubeApi> Connect(const World& world, int port) {
  auto config = kube::LoadConnectionConfig({.kubeconfig = world.server->kubeconfig()});
  REQUIRE(config.ok());
  config->server = fmt::format("https://127.0.0.1:{}", port);
  auto api = kube::HttpKubeApi::Create(*config, {.qps = 1e6, .burst = 1e6, .retry_initial = 50ms, .retry_max = 200ms});
  REQUIRE(api.ok());
  return *std::move(api);
}

TEST_CASE("through churn, lost lines, expiry, compaction and a killed server, a watch knows what listing gives") {
  World world;
  world.env = testing::KubeTestEnv::Create();
  if (world.env == nullptr) return;
  world.server = world.env->StartServer("watched");
  REQUIRE(world.server != nullptr);
  world.proxy = std::make_unique<testing::FaultProxy>(std::vector{world.server->port()}, kSeed);
  world.direct = Connect(world, world.server->port());
  world.faulty = Connect(world, world.proxy->port());
  world.discovery.emplace(*world.direct, world.clock, kube::Discovery::Options{.min_refresh = 0ms});

  world.churn.emplace(*world.direct, *world.env, *world.server, kSeed);
  world.churn->MakeAll();
  REQUIRE(world.churn->Problem() == "");

  for (const SourceText& text : Sources()) {
    Line& line = world.lines.emplace_back(*world.faulty, text.name);
    line.source = CompileText(text);
    line.has_states = text.name != "namespaces";
    line.is_selected = text.target.find("gold") != std::string::npos;
    CHECK(line.source->metadata_only == (text.name == "metadata"));
    const metricsource::Source& source = *line.source;
    const auto resource = world.discovery->Find(source.spec.target.api_version, source.spec.target.kind, {});
    REQUIRE(resource.ok());
    REQUIRE(WatchedSource::CanWatch(source, *resource));
    line.watched = std::make_unique<WatchedSource>(line.source, *resource, line,
                                                   WatchedSource::Options{.believed_for = 10s,
                                                                          .longest_watch = 4s,
                                                                          .backoff = {.initial = 20ms, .max = 200ms},
                                                                          .clock = &world.clock,
                                                                          .random = &world.random});
    line.watched->Start();
  }
  world.CheckAllSame("after the first list");
  for (Line& line : world.lines) CHECK(line.lists == 1);

  world.Change({.writes = 120, .namespaces = 2});
  world.CheckAllSame("after churn");
  for (Line& line : world.lines) {
    CAPTURE(line.name);
    CHECK(line.reads > 0);
    CHECK(line.lists == 1);
    CHECK_FALSE(line.watched->IsUseless());
  }

  world.proxy->Set({.largest_slice = 700,
                    .longest_delay = 3ms,
                    .delayed = 0.1,
                    .least_life = 1000,
                    .most_life = 50000,
                    .spread = 0.3});
  world.Change({.writes = 120, .namespaces = 2});
  world.proxy->Heal();
  world.CheckAllSame("after churn over a line that broke again and again");
  CHECK(world.proxy->resets() > 0);

  // Every connection is cut with its first byte: nothing of what happens now is seen, and etcd forgets it.
  world.proxy->Set({.least_life = 1, .most_life = 1});
  world.Change({.writes = 80, .namespaces = 1});
  world.env->CompactEtcd();
  world.server->Kill9();  // its watch cache still had what etcd forgot
  REQUIRE(world.server->Restart());
  std::map<std::string, int> expired;
  for (Line& line : world.lines) expired[line.name] = line.expired;
  world.proxy->Heal();
  world.CheckAllSame("after a line that was cut, compaction and a server that was killed");
  for (Line& line : world.lines) {
    CAPTURE(line.name);
    CHECK(line.expired > expired[line.name]);
  }

  std::map<std::string, int> ended;
  for (Line& line : world.lines) ended[line.name] = line.ended;
  world.Change({.writes = 120, .namespaces = 2, .may_fail = true, .meanwhile = [&] {
                  const std::int64_t begin = world.churn->writes();
                  CHECK(Eventually(kPatience, [&] { return world.churn->writes() > begin + 100; }));
                  // Of a custom resource a server that is just starting answers a watch after 12 s, which is no time
                  // for a test.
                  for (Line& line : world.lines) line.is_held = line.name == "berths";
                  world.server->Kill9();
                  world.churn->Progress();
                  CHECK(world.server->Restart());
                  for (Line& line : world.lines) line.is_held = false;
                  world.churn->Progress();
                }});
  world.CheckAllSame("after churn while the server was killed");

  for (Line& line : world.lines) {
    CAPTURE(line.name);
    CHECK(Eventually(kPatience, [&] { return line.ended > ended[line.name]; }));
  }
  world.Change({.writes = 50, .namespaces = 1});
  world.CheckAllSame("after churn behind the end of each watch");
}

}  // namespace
}  // namespace clusterpulse::sources
