#include "collector/sources/source_runner.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "collector/sources/definition_file.h"
#include "common/base/thread.h"
#include "common/metricsource/collect.h"

namespace clusterpulse::sources {
namespace {

constexpr std::chrono::nanoseconds kLongestSleep = std::chrono::seconds(10);
constexpr std::chrono::seconds kSaveAgain{30};
// Of a source that runs less often, a watch would bring more than the list does.
constexpr std::chrono::seconds kLongestWatched{300};
constexpr std::chrono::seconds kWatchAgain{3600};
constexpr std::chrono::milliseconds kDiscovery{5000};  // mostly it is known

// "ok", "partial", "not_installed", ...
std::string ResultLabel(const metricsource::Collection& collection) {
  if (collection.failure.empty()) return collection.errors.empty() ? "ok" : "partial";
  std::string label;
  for (const char c : collection.failure) {
    const bool is_upper = c >= 'A' && c <= 'Z';
    if (is_upper && !label.empty()) label += '_';
    label += is_upper ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return label;
}

}  // namespace

SourceRunner::SourceRunner(kube::KubeApi& api, Options options)
    : api_(api),
      options_(std::move(options)),
      set_(*options_.clock, *options_.random),
      discovery_(api, *options_.clock, {}) {
  if (options_.registry == nullptr) return;
  telemetry::Registry& registry = *options_.registry;
  metrics_ = {
      .runs = registry.Counters("clusterpulse_collector_source_runs_total", "Runs of metric sources, by result.",
                                {"source", "result"}),
      .rows = registry.Gauges("clusterpulse_collector_source_rows",
                              "Rows that the last run of a metric source gave that did not fail.", {"source"}),
      .seconds = registry
                     .Histograms("clusterpulse_collector_source_run_seconds", "Time of one run of a metric source.",
                                 telemetry::LatencyBuckets())
                     .With({}),
      .in_force =
          registry.Gauges("clusterpulse_collector_sources_in_force", "Metric sources that are collected.").With({}),
      .rejected = registry
                      .Gauges("clusterpulse_collector_sources_rejected",
                              "Metric sources of the hub's configuration that cannot be used as they are.")
                      .With({}),
      .watched = registry
                     .Gauges("clusterpulse_collector_sources_watched",
                             "Metric sources whose rows a watch keeps up to date, so that runs need not list.")
                     .With({}),
      .from_watch = registry.Counters("clusterpulse_collector_source_watched_runs_total",
                                      "Runs of metric sources that took their rows from a watch.", {"source"}),
  };
}

SourceRunner::~SourceRunner() { Stop(); }

void SourceRunner::Start() {
  if (!options_.path.empty()) {
    const auto kept = ReadDefinitions(*options_.files, options_.path);
    if (!kept.ok()) {
      options_.log.Warn("the metric sources of the process before cannot be read; the hub will tell them again",
                        {{"file", options_.path}, {"error", log::ToText(kept.status())}});
      base::MutexLock lock(mu_);
      is_damaged_ = true;
    } else if (!kept->empty()) {
      const SourceSet::Applied applied = Use(*kept);
      for (const std::string& problem : applied.problems) {
        options_.log.Warn("a metric source of the process before cannot be used", {{"problem", problem}});
      }
      options_.log.Info("goes on with the metric sources of the process before", {{"count", applied.in_force}});
    }
  }
  {
    base::MutexLock lock(lifecycle_mu_);
    started_ = true;
  }
  Wake();
}

void SourceRunner::Stop() {
  {
    base::MutexLock lock(mu_);
    stop_ = true;
    woken_.NotifyAll();
  }
  set_.StopRuns();
  base::MutexLock lock(lifecycle_mu_);
  stopped_ = true;
  threads_.clear();
  {
    base::MutexLock watch_lock(watch_mu_);
    watches_.clear();
  }
  if (TakeSaving()) Save();
}

std::vector<std::string> SourceRunner::Apply(const std::vector<std::string>& definitions) {
  SourceSet::Applied applied = Use(definitions);
  if (!options_.path.empty()) {
    base::MutexLock lock(mu_);
    if (applied.is_changed || is_damaged_) {
      is_unsaved_ = true;
      save_at_ = options_.clock->Steady();
    }
  }
  if (applied.is_changed || applied.has_news) {
    options_.log.Info("metric sources changed", {{"in_force", applied.in_force}, {"rejected", applied.rejected}});
  }
  Wake();
  if (applied.has_news && options_.on_result) options_.on_result(/*is_news=*/true, {});
  return std::move(applied.problems);
}

SourceSet::Applied SourceRunner::Use(const std::vector<std::string>& definitions) {
  SourceSet::Applied applied = set_.Apply(definitions);
  for (const std::string& id : applied.gone) {
    metrics_.runs.Remove({id});
    metrics_.rows.Remove({id});
    metrics_.from_watch.Remove({id});
  }
  metrics_.in_force.Set(static_cast<double>(applied.in_force));
  metrics_.rejected.Set(static_cast<double>(applied.rejected));
  return applied;
}

void SourceRunner::Wake() {
  base::MutexLock lifecycle_lock(lifecycle_mu_);
  if (!started_ || stopped_) return;
  bool has_work = set_.due().has_value();
  {
    base::MutexLock lock(mu_);
    ++changes_;
    has_work |= is_unsaved_;
    woken_.NotifyAll();
  }
  if (!has_work || !threads_.empty()) return;
  for (int i = 1; i <= kThreads; ++i) {
    threads_.push_back(base::StartThread(fmt::format("source-{}", i), [this] { Run(); }));
  }
}

void SourceRunner::Run() {
  while (true) {
    std::uint64_t seen = 0;
    {
      base::MutexLock lock(mu_);
      if (stop_) return;
      seen = changes_;
    }
    if (TakeSaving()) {
      Save();
      continue;
    }
    DropOldWatches();
    if (const std::optional<SourceSet::Run> run = set_.Begin()) {
      Execute(*run);
      continue;
    }
    const std::optional<base::SteadyTime> due = set_.due();
    base::MutexLock lock(mu_);
    std::chrono::nanoseconds left = kLongestSleep;
    const base::SteadyTime now = options_.clock->Steady();
    if (due) left = std::min<std::chrono::nanoseconds>(left, *due - now);
    if (is_unsaved_ && !is_saving_) left = std::min<std::chrono::nanoseconds>(left, save_at_ - now);
    if (!stop_ && changes_ == seen && left.count() > 0) woken_.WaitFor(mu_, left);
  }
}

bool SourceRunner::TakeSaving() {
  base::MutexLock lock(mu_);
  if (!is_unsaved_ || is_saving_ || options_.clock->Steady() < save_at_) return false;
  is_unsaved_ = false;
  return is_saving_ = true;
}

void SourceRunner::Save() {
  const absl::Status status = WriteDefinitions(*options_.files, options_.path, set_.definitions());
  std::size_t failures = 0;
  {
    base::MutexLock lock(mu_);
    is_saving_ = false;
    if (!status.ok()) {
      is_unsaved_ = true;
      save_at_ = options_.clock->Steady() + kSaveAgain;
      ++save_failures_;
    }
    is_damaged_ &= !status.ok();
    failures = status.ok() ? std::exchange(save_failures_, 0) : save_failures_;
  }
  if (!status.ok() && failures == 1) {
    options_.log.Warn(
        "the metric sources cannot be kept on disk: after a restart there are none before the hub is back",
        {{"file", options_.path}, {"error", log::ToText(status)}});
  } else if (status.ok() && failures > 0) {
    options_.log.Info("the metric sources are kept on disk again", {{"file", options_.path}});
  }
}

void SourceRunner::Execute(const SourceSet::Run& run) {
  const std::shared_ptr<WatchedSource> watch = FindWatch(run);
  std::optional<metricsource::Collection> found;
  if (watch != nullptr) found = watch->Read();
  const bool is_from_watch = found.has_value();
  if (!is_from_watch) {
    found = metricsource::Collect(*run.source, api_, discovery_, *options_.clock, *options_.random,
                                  {.stop = run.stop, .first_retry = options_.first_retry});
  }
  metricsource::Collection& collection = *found;
  const std::string label = ResultLabel(collection), id = run.source->id;
  const bool is_failed = !collection.failure.empty();
  const double seconds = std::chrono::duration<double>(collection.duration).count();
  const auto rows = static_cast<double>(collection.rows.size());
  if (is_failed) {
    options_.log.Debug("a metric source failed",
                       {{"source", id}, {"failure", collection.failure}, {"error", collection.message}});
  }
  // What was cut may go on without end.
  const bool may_watch = label == "ok" && !collection.truncated;
  const auto objects = static_cast<std::size_t>(collection.work.objects);
  const SourceSet::Ended ended = set_.End(run, std::move(collection));
  if (!ended.is_used) return;
  metrics_.runs.Add({id, label});
  if (is_from_watch) metrics_.from_watch.Add({id});
  metrics_.seconds.Observe(seconds);
  if (!is_failed) metrics_.rows.With({id}).Set(rows);
  if (options_.on_result) options_.on_result(ended.is_news, ended.interval);
  if (options_.watches) ConsiderWatch(run, may_watch, objects);
}

std::shared_ptr<WatchedSource> SourceRunner::FindWatch(const SourceSet::Run& run) {
  base::MutexLock lock(watch_mu_);
  const auto watch = watches_.find(run.source->id);
  return watch != watches_.end() && watch->second.source == run.source ? watch->second.rows : nullptr;
}

void SourceRunner::ConsiderWatch(const SourceSet::Run& run, bool may_watch, std::size_t objects) {
  const std::shared_ptr<const metricsource::Source>& source = run.source;
  const base::SteadyTime now = options_.clock->Steady();
  std::vector<std::shared_ptr<WatchedSource>> others;
  std::shared_ptr<WatchedSource> own;
  {
    base::MutexLock lock(watch_mu_);
    for (const auto& [id, watch] : watches_) {
      if (watch.rows == nullptr) continue;
      (watch.source == source ? own : others.emplace_back()) = watch.rows;
    }
    const auto watch = watches_.find(source->id);
    may_watch &= watch == watches_.end() || watch->second.source != source || now >= watch->second.again;
  }
  if (own == nullptr &&
      (!may_watch || source->collection.interval > kLongestWatched || others.size() >= kMostWatched)) {
    return;
  }
  WatchedSource::Size size{.objects = objects};
  if (own != nullptr) size = own->size();
  for (const auto& other : others) {
    const WatchedSource::Size more = other->size();
    size.objects += more.objects;
    size.bytes += more.bytes;
  }
  std::size_t watched = others.size();
  const bool fits = size.objects <= kMostWatchedObjects && size.bytes <= kMostWatchedBytes;
  if (own != nullptr && fits && !own->IsUseless()) return;
  if (own == nullptr && !fits) return;
  if (own == nullptr) {
    const auto resource = discovery_.Find(source->spec.target.api_version, source->spec.target.kind,
                                          {.timeout = kDiscovery, .stop = run.stop});
    if (!resource.ok() || !WatchedSource::CanWatch(*source, *resource)) return;
    own = std::make_shared<WatchedSource>(
        source, *resource, api_,
        WatchedSource::Options{.log = options_.log, .clock = options_.clock, .random = options_.random});
    own->Start();
    base::MutexLock lock(watch_mu_);
    watches_[source->id] = {.source = source, .rows = own};
    ++watched;
  } else {
    base::MutexLock lock(watch_mu_);
    watches_[source->id] = {.source = source, .rows = nullptr, .again = now + kWatchAgain};
  }
  metrics_.watched.Set(static_cast<double>(watched));
}

void SourceRunner::DropOldWatches() {
  std::vector<Watch> old;
  {
    base::MutexLock lock(watch_mu_);
    for (auto it = watches_.begin(); it != watches_.end();) {
      const auto here = it++;
      if (set_.Find(here->first) == here->second.source) continue;
      old.push_back(std::move(here->second));
      watches_.erase(here);
    }
    if (old.empty()) return;
    metrics_.watched.Set(static_cast<double>(std::count_if(
        watches_.begin(), watches_.end(), [](const auto& watch) { return watch.second.rows != nullptr; })));
  }
  // Their threads end here, behind the lock.
}

}  // namespace clusterpulse::sources
