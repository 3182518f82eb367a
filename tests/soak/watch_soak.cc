// watch_soak --events N [--seed S] [--seconds-limit T]: a WatchCache over HttpKubeApi follows a simulated API server
// over TLS while objects are created, changed and deleted at full speed and everything goes wrong that can: watches
// cut, reset and half written, answers refused, late, expired or broken, history compacted or outrun, the server
// stopped, frozen or given another certificate. After every 20,000 writes comes a quiet point: no writes, no faults,
// and within a minute the cache, and what its handlers were told of, must equal the server object by object.
//
// The seed decides writes and faults and where between the writes a fault falls; timing is the machine's. N counts the
// events that the watches brought. Exit 1, with the seed and the first difference, when a quiet point fails or the
// reflector does not come back.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <absl/hash/hash.h>
#include <absl/strings/numbers.h>

#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/kube/http_kube_api.h"
#include "common/kube/watch_cache.h"
#include "common/telemetry/registry.h"
#include "tests/kubesim/kubesim.h"

namespace clusterpulse::testing {
namespace {

using namespace std::chrono_literals;
using json::Value;
using kube::ObjectKey;
using Steady = std::chrono::steady_clock;

const kube::ResourceType kBeats{"soak.clusterpulse.io", "v1", "beats", "Beat", true};

constexpr std::uint64_t kNamespaces = 3;
constexpr std::uint64_t kKeys = 2100;  // some 80 % of them exist at any time
// Writes go to so many neighbouring keys, a window that moves over all of them once in a round. A key is written ten
// times and then left alone: an event that was lost is not made good by the next one before the quiet point.
constexpr std::uint64_t kWindow = 64;
constexpr std::size_t kHistory = 4096;
// Writes wait when the cache is this far behind, so that only what shall outrun the history does.
constexpr std::int64_t kMaxLag = kHistory / 2;
constexpr std::int64_t kRoundWrites = 20000;
constexpr auto kPatience = 60s;  // for the reflector to come back, and for a quiet point

struct Options {
  std::int64_t events = 1000000;
  std::uint64_t seed = 1;
  int seconds_limit = 0;
};

// What the cache keeps of an object.
struct Beat {
  std::int64_t version = 0;
  std::int64_t value = 0;
  std::uint64_t note = 0;  // hash of the text
  bool operator==(const Beat&) const = default;
};
using Beats = std::map<ObjectKey, Beat>;

std::string ToText(const Beat* beat) {
  return beat == nullptr ? "nothing" : fmt::format("version {}, value {}", beat->version, beat->value);
}

std::uint64_t HashOf(std::string_view text) { return absl::HashOf(absl::string_view(text.data(), text.size())); }

absl::Status ReadBeat(json::Cursor object, kube::ObjectMeta& meta, Beat& out) {
  RETURN_IF_ERROR(object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "metadata") return ReadMeta(value, kube::MetaParts::kIdentity, meta);
    if (key != "spec") return absl::OkStatus();
    return value.ForEachMember([&](std::string_view k, json::Cursor v) {
      std::string_view text;
      if (k == "value") v.Get(out.value);
      if (k == "note" && v.Get(text)) out.note = HashOf(text);
    });
  }));
  return absl::SimpleAtoi(meta.resource_version, &out.version) ? absl::OkStatus()
                                                               : absl::InvalidArgumentError("no version");
}

// What goes wrong at one moment: rules for coming requests (separated by blanks), then something at once.
enum class Blow { kCut, kCleanCut, kReset, kOutrun, kCompact, kStop, kFreeze, kCertificate };
struct Trouble {
  int weight;
  Blow blow;
  const char* rules;
};
constexpr Trouble kTroubles[] = {
    {15, Blow::kCut, ""},
    {10, Blow::kCleanCut, ""},
    {15, Blow::kReset, ""},
    {5, Blow::kCut, "verb=watch,action=half,count=3"},
    {5, Blow::kCleanCut, "verb=watch,action=reset,count=3"},
    {5, Blow::kReset, "verb=watch,action=cut,ms=10,count=5"},
    {3, Blow::kCut, "verb=watch,action=cut,ms=0,clean=1,count=4"},
    {5, Blow::kCut, "verb=watch,action=cut,ms=100,count=1"},
    // 410: once, as a storm, for real, and for lists as well.
    {3, Blow::kCleanCut, "verb=watch,action=expired,count=1"},
    {2, Blow::kReset, "verb=watch,action=expired,rate=0.7,count=12 verb=list,action=expired,rate=0.2,count=6"},
    {4, Blow::kOutrun, ""},
    {2, Blow::kOutrun, "verb=list,action=half,rate=0.3,count=3 verb=list,action=reset,rate=0.3,count=3"},
    {3, Blow::kCompact, ""},
    {3, Blow::kCompact, "verb=watch,action=expired,count=1 verb=list,action=latency,ms=2,count=30"},
    // Refusals: repeated by the client, or left to the reflector, which gives its version up for some.
    {3, Blow::kCut, "action=status,code=429,count=4"},
    {3, Blow::kReset, "action=status,code=503,rate=0.8,count=6"},
    {2, Blow::kCut, "verb=watch,action=status,code=500,count=7"},
    {2, Blow::kCut, "verb=watch,action=status,code=504,count=2"},
    {1, Blow::kCut, "verb=watch,action=status,code=401,count=2"},
    {1, Blow::kCut, "verb=watch,action=status,code=403,count=1 verb=list,action=status,code=403,count=2"},
    {1, Blow::kCut, "verb=watch,action=status,code=404,count=1 verb=list,action=status,code=500,rate=0.3,count=4"},
    {3, Blow::kReset, "action=latency,ms=10,count=3"},
    {3, Blow::kStop, ""},
    {2, Blow::kStop, "verb=watch,action=half,count=2 verb=list,action=half,count=2"},
    {3, Blow::kFreeze, ""},
    {1, Blow::kCertificate, ""},
};

class Soak {
 public:
  explicit Soak(const Options& options) : options_(options), random_(options.seed) {}

  absl::Status Start();
  // The whole run, with its lines; a failure is the status.
  absl::Status Run();

 private:
  absl::Status Round(std::int64_t writes);
  absl::Status WriteOne();
  absl::Status Write(std::int64_t count);
  // Waits until the cache is near enough.
  absl::Status WaitForCache();
  absl::Status Hurt();
  absl::Status Strike(Blow blow);
  absl::Status QuietPoint();
  absl::StatusOr<Beats> OnServer() const;
  // Empty: equal.
  std::string Difference(const Beats& server) const;
  void CountRules();
  void Print(const char* prefix) const;

  std::uint64_t Below(std::uint64_t bound) { return random_.Next() % bound; }
  double Seconds() const { return std::chrono::duration<double>(Steady::now() - started_).count(); }

  const Options options_;
  base::SeededRandom random_;
  base::SeededRandom client_random_{7};
  base::StopSignal pause_;  // never requested: only to sleep on

  telemetry::Registry registry_;
  std::unique_ptr<kubesim::SimCluster> server_;
  std::unique_ptr<kube::HttpKubeApi> api_;

  // The newest version the cache was shown.
  std::atomic<std::int64_t> seen_{0};
  // What someone holds who asks the cache only when its handler calls.
  mutable base::Mutex mu_;
  Beats told_ ABSL_GUARDED_BY(mu_);

  Steady::time_point started_ = Steady::now(), printed_ = started_;
  std::int64_t writes_ = 0, written_version_ = 0;
  std::uint64_t delete_share_ = 20;  // of a hundred writes to an object that exists
  std::int64_t quiet_points_ = 0, blows_ = 0, rules_added_ = 0, rules_hit_ = 0;

  std::unique_ptr<kube::WatchCache<Beat>> cache_;  // last: its thread uses the rest
};

absl::Status Soak::Start() {
  ASSIGN_OR_RETURN(server_,
                   kubesim::SimCluster::Create(
                       {.name = "soak", .history = kHistory, .bookmark_interval = 50ms, .seed = options_.seed}));
  kube::ServedType type;
  type.resource = kBeats;
  type.singular = "beat";
  server_->store().Serve({type});

  // Waits short enough for hundreds of faults a minute, and no limit of requests.
  kube::HttpKubeApi::Options client;
  client.qps = 1e6;
  client.burst = 1e6;
  client.metrics = kube::ApiMetrics::Make(registry_, "soak");
  client.retry_initial = 1ms;
  client.retry_max = 20ms;
  client.random = &client_random_;
  kube::ConnectionConfig connection;
  connection.server = server_->url();
  connection.ca_pem = server_->ca_pem();
  connection.token = server_->token();
  ASSIGN_OR_RETURN(api_, kube::HttpKubeApi::Create(connection, client));

  kube::Reflector::Options reflector;
  reflector.resource = kBeats;
  reflector.page_size = 100;
  reflector.call_timeout = 5000ms;
  reflector.min_watch = 1s;
  reflector.max_watch = 4s;
  reflector.backoff = {1ms, 20ms, 2.0, 1.0};
  reflector.healthy_after = 200ms;
  reflector.min_pause = 1ms;
  reflector.short_watch = 3ms;
  reflector.random = &client_random_;
  cache_ = std::make_unique<kube::WatchCache<Beat>>(*api_, reflector,
                                                    [this](json::Cursor object, kube::ObjectMeta& meta, Beat& out) {
                                                      RETURN_IF_ERROR(ReadBeat(object, meta, out));
                                                      if (out.version > seen_) seen_ = out.version;
                                                      return absl::OkStatus();
                                                    });
  cache_->AddHandler([this](const ObjectKey& key) {
    const std::optional<Beat> beat = cache_->Get(key);
    base::MutexLock lock(mu_);
    if (beat) {
      told_[key] = *beat;
    } else {
      told_.erase(key);
    }
  });
  cache_->Start();
  return absl::OkStatus();
}

absl::Status Soak::Run() {
  RETURN_IF_ERROR(Start());
  while (true) {
    const auto events = static_cast<std::int64_t>(cache_->stats().events);
    if (quiet_points_ > 0 && events >= options_.events) break;
    if (options_.seconds_limit > 0 && Seconds() >= options_.seconds_limit) break;
    RETURN_IF_ERROR(Round(std::clamp<std::int64_t>(options_.events - events, 1000, kRoundWrites)));
    RETURN_IF_ERROR(QuietPoint());
    if (Steady::now() - printed_ < 5s) continue;
    printed_ = Steady::now();
    Print("");
  }
  Print("end: ");
  const kube::ReflectorStats stats = cache_->stats();
  fmt::print("watch_soak: {} events, {} quiet points, {} relists, {} faults, cache equalled the server every time\n",
             stats.events, quiet_points_, stats.relists, blows_ + rules_hit_);
  return absl::OkStatus();
}

absl::Status Soak::Round(std::int64_t writes) {
  const std::int64_t end = writes_ + writes;
  while (writes_ < end) {
    RETURN_IF_ERROR(Write(std::min<std::int64_t>(end - writes_, 100 + Below(5000))));
    RETURN_IF_ERROR(Hurt());
  }
  return absl::OkStatus();
}

absl::Status Soak::Write(std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (i % 64 == 0) RETURN_IF_ERROR(WaitForCache());
    // The store's lock is hardly ever free while we write, and its mutex is not fair: let the watches at it, or the
    // server sends only while we wait for the cache, and nothing runs side by side.
    if (i % 256 == 0) pause_.WaitFor(1us);
    RETURN_IF_ERROR(WriteOne());
  }
  return absl::OkStatus();
}

absl::Status Soak::WriteOne() {
  const std::uint64_t index = (static_cast<std::uint64_t>(writes_) * kKeys / kRoundWrites + Below(kWindow)) % kKeys;
  const ObjectKey key{fmt::format("ns-{}", index % kNamespaces), fmt::format("beat-{}", index / kNamespaces)};
  kube::ObjectStore& store = server_->store();
  ++writes_;
  if (Below(100) < delete_share_) {
    const auto gone = store.Delete(kBeats, key);
    if (gone.ok()) written_version_ = (*gone)->version;
    if (gone.ok() || !absl::IsNotFound(gone.status())) return gone.status();
  }
  // Mostly small; some need escapes, and a few more than one TLS record.
  const std::uint64_t kind = Below(1000);
  std::string note(kind == 0 ? 20000 : kind % 32, static_cast<char>('a' + kind % 26));
  if (kind % 10 == 1) note += "\"\\\n\t\u00e9\u2028{}[]";
  Value object(Value::Object{
      {"metadata", Value::Object{{"name", key.name}, {"namespace", key.ns}}},
      {"spec", Value::Object{{"value", static_cast<std::int64_t>(random_.Next() >> 1)}, {"note", std::move(note)}}}});
  ASSIGN_OR_RETURN(const kube::ObjectPtr stored, store.Put(kBeats, std::move(object)));
  written_version_ = stored->version;
  return absl::OkStatus();
}

absl::Status Soak::WaitForCache() {
  if (written_version_ - seen_ < kMaxLag) return absl::OkStatus();
  const auto deadline = Steady::now() + kPatience;
  // Down to half of it: threads that take turns for each event would only switch.
  while (written_version_ - seen_ >= kMaxLag / 2) {
    if (Steady::now() >= deadline) {
      return base::Unavailable("the cache stays at version {} while the server is at {}; last error: {}", seen_.load(),
                               written_version_, base::Message(cache_->LastError()));
    }
    pause_.WaitFor(200us);
  }
  return absl::OkStatus();
}

absl::Status Soak::Hurt() {
  int total = 0;
  for (const Trouble& trouble : kTroubles) total += trouble.weight;
  int draw = static_cast<int>(Below(static_cast<std::uint64_t>(total)));
  const Trouble* trouble = kTroubles;
  while ((draw -= trouble->weight) >= 0) ++trouble;

  std::string_view rules = trouble->rules;
  while (!rules.empty()) {
    const auto end = std::min(rules.find(' '), rules.size());
    ASSIGN_OR_RETURN(const kubesim::Fault fault, kubesim::Fault::Parse(rules.substr(0, end)));
    rules_added_ += fault.count;
    server_->api().faults().Add(fault);
    rules.remove_prefix(std::min(end + 1, rules.size()));
  }
  ++blows_;
  return Strike(trouble->blow);
}

absl::Status Soak::Strike(Blow blow) {
  // Writes that do not wait for the cache. Now and then nearly everything goes, so that lists must notice what is gone.
  const auto burst = [this](std::uint64_t count) -> absl::Status {
    delete_share_ = Below(4) == 0 ? 90 : 20;
    for (std::uint64_t i = 0; i < count; ++i) RETURN_IF_ERROR(WriteOne());
    delete_share_ = 20;
    return absl::OkStatus();
  };
  switch (blow) {
    case Blow::kCut:
      server_->api().CutWatches(false);
      return absl::OkStatus();
    case Blow::kCleanCut:
      server_->api().CutWatches(true);
      return absl::OkStatus();
    case Blow::kReset:
      server_->ResetConnections();
      return absl::OkStatus();
    case Blow::kOutrun:
      server_->ResetConnections();
      return burst(kHistory + Below(1000));
    case Blow::kCompact:
      for (int i = 0; i < 6; ++i) {
        RETURN_IF_ERROR(burst(Below(300)));
        server_->store().Compact();
        pause_.WaitFor(3ms);
      }
      return absl::OkStatus();
    case Blow::kStop:
      server_->Stop();
      RETURN_IF_ERROR(burst(Below(2 * kHistory)));
      return server_->Start();
    case Blow::kFreeze: {
      server_->Freeze();
      const absl::Status status = burst(Below(kHistory / 2));
      server_->Resume();
      return status;
    }
    case Blow::kCertificate:
      return server_->ChangeCertificate(kubesim::CertificateChange::kRenew);
  }
  return absl::OkStatus();
}

absl::Status Soak::QuietPoint() {
  CountRules();
  ASSIGN_OR_RETURN(const Beats server, OnServer());
  const auto deadline = Steady::now() + kPatience;
  for (std::string difference; !(difference = Difference(server)).empty(); pause_.WaitFor(2ms)) {
    if (Steady::now() < deadline) continue;
    return base::Internal("quiet point {} after {} writes, server at version {}: {}; last error: {}", quiet_points_ + 1,
                          writes_, written_version_, difference, base::Message(cache_->LastError()));
  }
  ++quiet_points_;
  return absl::OkStatus();
}

absl::StatusOr<Beats> Soak::OnServer() const {
  ASSIGN_OR_RETURN(const kube::StoreList list, server_->store().List(kBeats, {}));
  Beats beats;
  for (const kube::ObjectPtr& object : list.objects) {
    ASSIGN_OR_RETURN(const Value value, Value::Parse(object->json));
    const Value& spec = value["spec"];
    beats[object->key] = {object->version, spec["value"].IntOr(-1), HashOf(spec["note"].StringOr())};
  }
  return beats;
}

std::string Soak::Difference(const Beats& server) const {
  const auto compare = [&server](const char* name, const Beats& other) -> std::string {
    auto theirs = server.begin();
    auto ours = other.begin();
    while (theirs != server.end() || ours != other.end()) {
      if (theirs != server.end() && ours != other.end() && *theirs == *ours) {
        ++theirs, ++ours;
        continue;
      }
      const bool only_ours = theirs == server.end() || (ours != other.end() && ours->first < theirs->first);
      const bool only_theirs = ours == other.end() || (theirs != server.end() && theirs->first < ours->first);
      return fmt::format("{}: the server has {}, the {} {}", (only_ours ? ours : theirs)->first.ToString(),
                         ToText(only_ours ? nullptr : &theirs->second), name,
                         ToText(only_theirs ? nullptr : &ours->second));
    }
    return "";
  };
  Beats cached;
  cache_->ForEach([&](std::string_view ns, std::string_view name, const Beat& beat) {
    cached.emplace(ObjectKey{std::string(ns), std::string(name)}, beat);
  });
  if (std::string difference = compare("cache", cached); !difference.empty()) return difference;
  base::MutexLock lock(mu_);
  return compare("handler", told_);
}

void Soak::CountRules() {
  kubesim::FaultRules& faults = server_->api().faults();
  std::int64_t left = 0;
  for (const kubesim::Fault& fault : faults.List()) left += fault.count;
  faults.Clear();
  rules_hit_ += rules_added_ - left;
  rules_added_ = 0;
}

void Soak::Print(const char* prefix) const {
  const kube::ReflectorStats stats = cache_->stats();
  const double seconds = Seconds();
  fmt::print(
      "{}{:.0f} s: {} events ({:.0f}/s) of {} writes, {} quiet points, {} watches ({} failed), {} bookmarks, "
      "{} relists, {} lists ({} failed, {} begun again), {} faults\n",
      prefix, seconds, stats.events, static_cast<double>(stats.events) / seconds, writes_, quiet_points_, stats.watches,
      stats.watch_failures, stats.bookmarks, stats.relists, stats.lists, stats.list_failures, stats.list_restarts,
      blows_ + rules_hit_);
  std::fflush(stdout);
}

}  // namespace
}  // namespace clusterpulse::testing

int main(int argc, char** argv) {
  clusterpulse::testing::Options options;
  CLI::App app("Watches under load and faults, compared with the server again and again.");
  app.add_option("--events", options.events, "watch events to see")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--seed", options.seed, "of writes and faults")->capture_default_str();
  app.add_option("--seconds-limit", options.seconds_limit, "end at the next quiet point after so long; 0: never")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  clusterpulse::testing::Soak soak(options);
  if (const absl::Status status = soak.Run(); !status.ok()) {
    fmt::print(stderr, "watch_soak: seed {}: {}\n", options.seed, clusterpulse::base::Message(status));
    return 1;
  }
  return 0;
}
