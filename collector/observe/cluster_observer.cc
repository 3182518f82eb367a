#include "collector/observe/cluster_observer.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "common/base/printable.h"
#include "common/survey/node.h"
#include "common/survey/survey.h"

namespace clusterpulse::observe {
namespace {

constexpr std::size_t kMaxDegraded = 2048;
// One failure may be followed by a watch that is well and, where nothing changes, silent until the next bookmark.
constexpr int kKeepsFailing = 3;

std::string Join(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : "; ") + text;
  if (out.size() <= kMaxDegraded) return base::Printable(std::move(out), kMaxDegraded);
  return base::Printable(std::move(out), kMaxDegraded - 3) + "...";
}

}  // namespace

ClusterObserver::ClusterObserver(kube::KubeApi& api, Options options)
    : options_(std::move(options)),
      nodes_(api, ReflectorOptions(kube::kNodes, false),
             [this](json::Cursor object, kube::ObjectMeta& meta, model::Node& out) {
               survey::Unreadable odd;
               absl::Status status = survey::ReadNode(object, meta, out, odd);
               metrics_.unreadable.Add(static_cast<double>(odd.quantities));
               return status;
             }),
      pods_(api, ReflectorOptions(kube::kPods, false),
            [this](json::Cursor object, kube::ObjectMeta& meta, survey::PodRecord& out) {
              survey::Unreadable odd;
              absl::Status status = survey::ReadPod(object, meta, out, odd);
              metrics_.unreadable.Add(static_cast<double>(odd.quantities));
              return status;
            }),
      namespaces_(api, ReflectorOptions(kube::kNamespaces, true), ReadPresent),
      deployments_(api, ReflectorOptions(kube::kDeployments, true), ReadPresent),
      inventory_(api, {.interval = options_.operator_interval,
                       .on_first = options_.on_news,
                       .log = options_.log,
                       .clock = options_.clock}) {
  nodes_.AddHandler([this](const kube::ObjectKey& key) { OnNode(key); });
  if (options_.registry == nullptr) return;
  telemetry::Registry& registry = *options_.registry;
  metrics_ = {
      .objects = registry.Gauges("clusterpulse_collector_watch_objects", "Objects a watch cache holds.", {"resource"}),
      .lists =
          registry.Counters("clusterpulse_collector_watch_lists_total",
                            "Complete lists; each beyond the first is a watch that had to begin anew.", {"resource"}),
      .events =
          registry.Counters("clusterpulse_collector_watch_events_total", "Changes seen by a watch.", {"resource"}),
      .failures = registry.Counters("clusterpulse_collector_watch_failures_total",
                                    "Lists that failed and watches that ended other than cleanly.", {"resource"}),
      .unreadable = registry
                        .Counters("clusterpulse_collector_unreadable_quantities_total",
                                  "Quantities of nodes and pods that could not be read and count as 0.")
                        .With({}),
  };
  collector_ = registry.AddCollector([this] { ExportMetrics(); });
}

ClusterObserver::~ClusterObserver() {
  if (options_.registry != nullptr) options_.registry->RemoveCollector(collector_);
  Stop();
}

void ClusterObserver::Start() {
  ForEachCache(*this, [](std::string_view, auto& cache) { cache.Start(); });
  inventory_.Start();
}

void ClusterObserver::Stop() {
  ForEachCache(*this, [](std::string_view, auto& cache) { cache.Stop(); });
  inventory_.Stop();
}

bool ClusterObserver::HasSynced() const {
  bool has_synced = true;
  ForEachCache(*this, [&](std::string_view, auto& cache) { has_synced &= cache.HasSynced(); });
  return has_synced;
}

bool ClusterObserver::GetsBookmarks(std::string_view name, const kube::ReflectorStats& stats) const {
  base::MutexLock lock(looks_mu_);
  Look& look = looks_[name];
  if (stats.watches < look.watch) return false;  // another thread has seen the next one
  if (look.watch != stats.watches) look = {stats.watches, stats.bookmarks, false};
  look.gets_bookmarks |= stats.bookmarks > look.bookmarks;
  return look.gets_bookmarks;
}

template <typename T>
ClusterObserver::Verdict ClusterObserver::Judge(std::string_view name, const kube::WatchCache<T>& cache) const {
  const absl::Status error = cache.LastError();
  if (!cache.HasSynced()) return {Trust::kUnknown, error.ok() ? absl::UnavailableError("not listed yet") : error};
  const kube::ReflectorStats stats = cache.stats();
  const bool gets_bookmarks = GetsBookmarks(name, stats);
  const std::chrono::nanoseconds age = cache.SinceKnownGood().value_or(std::chrono::nanoseconds(0));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
  if (error.ok()) {
    if (age <= options_.silent_after || !gets_bookmarks) return {};
    return {Trust::kStale, base::MakeStatus(absl::StatusCode::kUnavailable, "the watch is silent (for {} s)", seconds)};
  }
  if (age <= options_.stale_after || stats.failures_in_a_row < kKeepsFailing) return {};
  return {Trust::kStale, base::MakeStatus(error.code(), "{} (for {} s)", base::Message(error), seconds)};
}

absl::Status ClusterObserver::Status() const {
  absl::Status status;
  ForEachCache(*this, [&](std::string_view name, auto& cache) {
    if (const Verdict verdict = Judge(name, cache); status.ok()) status = base::Annotate(verdict.why, name);
  });
  return status;
}

std::string ClusterObserver::Degraded() const {
  std::vector<std::string> missing;
  ForEachCache(*this, [&](std::string_view name, auto& cache) {
    const Verdict verdict = Judge(name, cache);
    if (verdict.trust != Trust::kCurrent) missing.push_back(fmt::format("{}: {}", name, log::ToText(verdict.why)));
  });
  for (std::string& failure : inventory_.Failures()) missing.push_back(std::move(failure));
  return Join(missing);
}

Observation ClusterObserver::Observe(bool full) {
  Observation out;
  const auto usable = [&](std::string_view name, const auto& cache) {
    const Trust trust = Judge(name, cache).trust;
    out.is_complete &= trust != Trust::kStale;
    return trust == Trust::kCurrent;
  };
  const bool has_nodes = usable("nodes", nodes_);
  const bool has_pods = usable("pods", pods_);
  const bool has_deployments = usable("deployments", deployments_);
  const bool has_namespaces = usable("namespaces", namespaces_);
  // Requests and counts need both: a node without its pods would look empty.
  if (has_nodes && has_pods) {
    survey::PodTally tally;
    pods_.ForEach([&](std::string_view, std::string_view, const survey::PodRecord& pod) { tally.Add(pod); });
    std::vector<model::Node> nodes;
    nodes.reserve(nodes_.size());
    nodes_.ForEach([&](std::string_view, std::string_view, const model::Node& node) { nodes.push_back(node); });
    survey::NodesRead read = survey::JoinPods(std::move(nodes), tally);
    if (has_deployments) read.counts.deployments = static_cast<std::int32_t>(deployments_.size());
    out.snapshot.nodes = std::move(read.nodes);
    out.snapshot.counts = read.counts;
  }
  if (out.snapshot.counts && has_namespaces) {
    std::vector<std::string>& names = out.snapshot.namespaces.emplace();
    names.reserve(namespaces_.size());
    namespaces_.ForEach([&](std::string_view, std::string_view name, const Present&) { names.emplace_back(name); });
    std::ranges::sort(names);
  }
  inventory_.Take(full, out.snapshot);
  return out;
}

kube::Reflector::Options ClusterObserver::ReflectorOptions(const kube::ResourceType& resource,
                                                           bool metadata_only) const {
  return {.resource = resource,
          .metadata_only = metadata_only,
          .page_size = options_.page_size,
          .backoff = options_.backoff,
          .log = options_.log,
          .clock = options_.clock,
          .random = options_.random};
}

absl::Status ClusterObserver::ReadPresent(json::Cursor object, kube::ObjectMeta& meta, Present&) {
  return object.ForEachMember([&](std::string_view key, json::Cursor value) {
    return key == "metadata" ? kube::ReadMeta(value, kube::MetaParts::kIdentity, meta) : absl::OkStatus();
  });
}

template <typename Self, typename F>
void ClusterObserver::ForEachCache(Self& self, F&& f) {
  f("nodes", self.nodes_);
  f("pods", self.pods_);
  f("namespaces", self.namespaces_);
  f("deployments", self.deployments_);
}

void ClusterObserver::OnNode(const kube::ObjectKey& key) {
  const std::optional<model::Node> node = nodes_.Get(key);
  bool is_news = false;
  if (!node) {
    is_news = node_signs_.erase(key.name) > 0;
  } else {
    NodeSign sign{.status = node->status, .ready = {}};
    for (const model::Condition& condition : node->conditions) {
      if (condition.type == "Ready") sign.ready = condition.status;
    }
    const auto [it, is_new] = node_signs_.try_emplace(key.name, sign);
    is_news = is_new || it->second != sign;
    it->second = std::move(sign);
  }
  if (is_news && nodes_.HasSynced() && options_.on_news) options_.on_news();
}

void ClusterObserver::ExportMetrics() {
  ForEachCache(*this, [this](std::string_view name, auto& cache) {
    const kube::ReflectorStats stats = cache.stats();
    const auto set = [name](const telemetry::Registry::CounterFamily& family, std::uint64_t value) {
      const telemetry::Counter counter = family.With({name});
      counter.Add(std::max(0.0, static_cast<double>(value) - counter.Value()));
    };
    metrics_.objects.With({name}).Set(static_cast<double>(cache.size()));
    set(metrics_.lists, stats.lists);
    set(metrics_.events, stats.events);
    set(metrics_.failures, stats.list_failures + stats.watch_failures);
  });
}

}  // namespace clusterpulse::observe
