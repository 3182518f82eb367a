#include "hub/app/source_part.h"

#include <algorithm>
#include <utility>

#include "common/base/status.h"
#include "hub/reconcile/metricsource/source_recovery.h"
#include "hub/runtime/runnable.h"

namespace clusterpulse::app {
namespace {

// Runs of all sources on all clusters that are read at once; each keeps a page and its rows in memory.
constexpr int kRunWorkers = 16;
constexpr int kSourceWorkers = 2;
// Many sources are often applied at once: collectors are told once.
constexpr std::chrono::milliseconds kAnnounceAfter{200};
// A source runs on many clusters at about the same time: its status follows once, sooner when a run went otherwise
// than the one before.
constexpr std::chrono::milliseconds kReportAfter{1000}, kReportUsualAfter{10000};
// A role that is changed together with the hub is there by then.
constexpr std::chrono::seconds kForbiddenFor{60};
constexpr std::chrono::milliseconds kPoll{100};

const kube::ObjectKey kAnnouncement{"", "collectors"};

std::optional<kube::ObjectKey> KeyOf(std::string_view id) {
  const auto slash = id.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  return kube::ObjectKey{std::string(id.substr(0, slash)), std::string(id.substr(slash + 1))};
}

}  // namespace

// The watch as a part of the program. It is waited for only as long as it may still come to know the sources.
class SourcePart::Cache final : public runtime::Runnable {
 public:
  explicit Cache(SourcePart& part) : part_(part) {}

  std::string_view name() const override { return "watch of MetricSources"; }
  absl::Status Start() override {
    part_.sources_.Start();
    return absl::OkStatus();
  }
  absl::Status WaitReady(std::chrono::milliseconds limit, std::stop_token stop) override {
    const base::SteadyTime deadline = part_.deps_.clock.Steady() + limit;
    while (!part_.sources_.WaitForSync(kPoll, stop) && !part_.IsSettled()) {
      if (stop.stop_requested()) return absl::CancelledError("stopped");
      if (part_.deps_.clock.Steady() >= deadline) {
        return base::MakeStatus(absl::StatusCode::kDeadlineExceeded, "no complete list yet: {}",
                                base::Message(part_.Trouble()));
      }
    }
    if (const absl::Status trouble = part_.Trouble(); !part_.sources_.HasSynced() && !trouble.ok()) {
      part_.log_.Warn("there are no metric sources; `clusterpulse-hub crds apply` installs their definition",
                      {{"error", log::ToText(trouble)}});
    }
    return absl::OkStatus();
  }
  bool Stop(std::chrono::milliseconds limit) override {
    if (limit <= limit.zero()) return false;
    part_.sources_.Stop();
    return true;
  }

 private:
  SourcePart& part_;
};

class SourcePart::Announcer final : public runtime::Reconciler {
 public:
  Announcer(SourcePart& part, std::function<void()> announce) : part_(part), announce_(std::move(announce)) {}
  absl::StatusOr<runtime::Result> Reconcile(const kube::ObjectKey&, std::stop_token) override {
    const absl::Status recovered = part_.Recover();
    announce_();
    if (!recovered.ok()) return base::Annotate(recovered, "looking for the last valid versions of metric sources");
    return runtime::Result{};
  }

 private:
  SourcePart& part_;
  const std::function<void()> announce_;
};

SourcePart::SourcePart(const Config& config, const Dependencies& dependencies, log::Logger log)
    : config_(config),
      deps_(dependencies),
      began_(dependencies.clock.Steady()),
      log_(std::move(log)),
      labels_of_([this](const std::string& cluster) {
        const auto connection = deps_.connections.Get({config_.ns, cluster});
        return connection ? std::optional(connection->spec.labels) : std::nullopt;
      }),
      state_(deps_.store, config.cache_ttl),
      sources_(deps_.hub,
               kube::Reflector::Options{.resource = reconcile::kMetricSources,
                                        .ns = config.ns,
                                        .log = log_,
                                        .clock = &deps_.clock,
                                        .random = &deps_.random},
               reconcile::ReadMetricSource),
      cache_(std::make_unique<Cache>(*this)),
      results_(catalog_, labels_of_),
      reached_(deps_.clock) {}

SourcePart::~SourcePart() = default;

void SourcePart::ComposeControllers(runtime::StatusWriter& status, runtime::EventRecorder& events) {
  runner_.emplace(
      reconcile::SourceRunner::Dependencies{.catalog = catalog_,
                                            .clusters = reached_,
                                            .labels = labels_of_,
                                            .state = deps_.clusters,
                                            .sources = state_,
                                            .history = deps_.history,
                                            .clock = deps_.clock,
                                            .random = deps_.random},
      [this](const std::string& source, bool is_news) {
        if (const auto key = KeyOf(source)) {
          controller_->EnqueueAfter(*key, is_news ? kReportAfter : kReportUsualAfter);
        }
      },
      reconcile::SourceRunMetrics(deps_.registry), log_);
  runs_.emplace(
      runtime::Controller::Options{.name = "metricsource-run", .workers = kRunWorkers, .registry = &deps_.registry},
      *runner_, deps_.clock, log_);
  reconciler_.emplace(reconcile::SourceReconciler::Dependencies{
                          .hub = deps_.hub,
                          .catalog = catalog_,
                          .object = [this](const kube::ObjectKey& key) { return sources_.Get(key); },
                          .clusters = [this] { return Fleet(); },
                          .stored_clusters = [this] { return deps_.clusters.Clusters(); },
                          .run =
                              [this](const std::string& source, const std::string& cluster) {
                                runner_->Forget({source, cluster});
                                runs_->Enqueue({source, cluster});
                              },
                          .sources = state_,
                          .status = status,
                          .events = events,
                          .clock = deps_.clock},
                      log_);
  controller_.emplace(
      runtime::Controller::Options{.name = "metricsource", .workers = kSourceWorkers, .registry = &deps_.registry},
      *reconciler_, deps_.clock, log_);
  resync_.emplace(
      runtime::Resync::Options(), *controller_, [this] { return AllKeys(); }, deps_.random, log_);
}

void SourcePart::Wire(std::function<void()> collectors_changed) {
  announcer_ = std::make_unique<Announcer>(*this, std::move(collectors_changed));
  announcements_.emplace(
      runtime::Controller::Options{
          .name = "metricsource-announcement", .needs_lead = false, .registry = &deps_.registry},
      *announcer_, deps_.clock, log_);
  // First: what follows looks at the catalog.
  sources_.AddHandler([this](const kube::ObjectKey& key) {
    const auto object = sources_.Get(key);
    const bool is_changed = catalog_.Update(key, object ? &*object : nullptr);
    const auto entry = catalog_.Find(key.ToString());
    if (is_changed || (entry != nullptr && entry->LacksVersion())) {
      announcements_->EnqueueAfter(kAnnouncement, kAnnounceAfter);
    }
  });
  if (!controller_) return;
  sources_.AddHandler(
      runtime::EnqueueChanged(*controller_, [this](const kube::ObjectKey& key) -> std::optional<kube::ObjectMeta> {
        const auto object = sources_.Get(key);
        return object ? std::optional(object->meta) : std::nullopt;
      }));
  deps_.connections.AddHandler([this](const kube::ObjectKey& key) {
    const auto connection = deps_.connections.Get(key);
    if (connection_changes_.Passes(key, connection ? &connection->meta : nullptr)) EnqueueAll();
  });
  reached_.OnReached([this](const std::string& cluster) {
    const auto labels = labels_of_(cluster);
    if (!labels) return;
    for (const auto& entry : catalog_.For(cluster, *labels)) runs_->Enqueue({entry->id, cluster});
  });
}

void SourcePart::AddCacheTo(runtime::Manager& manager) {
  manager.Add(*cache_);
  manager.Add(*announcements_);
}

void SourcePart::AddControllersTo(runtime::Manager& manager) {
  manager.Add(*controller_);
  manager.Add(*runs_);
  manager.Add(*resync_);
}

absl::Status SourcePart::Trouble() const {
  if (sources_.HasSynced()) {
    return is_settled_ || catalog_.WithoutVersion().empty()
               ? absl::OkStatus()
               : absl::UnavailableError("the store was not asked for the last valid versions yet");
  }
  const absl::Status error = sources_.LastError();
  return error.ok() ? absl::UnavailableError("not listed yet") : error;
}

bool SourcePart::IsSettled() const {
  const absl::Status trouble = Trouble();
  // Once for all: one that never was valid, and is written later, keeps nobody waiting.
  if (trouble.ok()) is_settled_ = true;
  if (is_settled_ || kube::IsNotFound(trouble)) return true;
  // Collectors that were told of none meanwhile would drop theirs.
  return trouble.code() == absl::StatusCode::kPermissionDenied && deps_.clock.Steady() - began_ >= kForbiddenFor;
}

bool SourcePart::ReportSoon(std::string_view id) {
  const auto key = KeyOf(id);
  if (key) controller_->EnqueueAfter(*key, kReportAfter);
  return key.has_value();
}

std::vector<std::string> SourcePart::DefinitionsFor(const std::string& cluster, const model::Labels& labels) const {
  std::vector<std::string> definitions;
  for (const auto& entry : catalog_.GivenTo(cluster, labels)) definitions.push_back(entry->definition);
  return definitions;
}

absl::Status SourcePart::Recover() {
  ASSIGN_OR_RETURN(const std::vector<std::string> recovered, reconcile::RecoverVersions(catalog_, state_));
  for (const std::string& id : recovered) {
    log_.Info("the last valid version of a metric source stays in force", {{"source", id}});
    if (controller_) controller_->Enqueue(*KeyOf(id));
  }
  return absl::OkStatus();
}

std::vector<reconcile::SourceReconciler::FleetCluster> SourcePart::Fleet() const {
  std::vector<reconcile::SourceReconciler::FleetCluster> fleet;
  deps_.connections.ForEach(
      [&](std::string_view, std::string_view name, const reconcile::ClusterConnection& connection) {
        if (connection.meta.deleting()) return;
        fleet.push_back({.name = std::string(name), .labels = connection.spec.labels});
        const bool is_push = config_.ingester_enabled && connection.spec.collection_mode == "push";
        const bool is_read = reached_.Find(fleet.back().name).has_value();
        fleet.back().is_pulled = is_read || !is_push;
        const std::string_view phase = connection.status["phase"].StringOr();
        fleet.back().is_reached = is_read || (is_push && (phase == "Connected" || phase == "Degraded"));
      });
  std::sort(fleet.begin(), fleet.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return fleet;
}

// Of the objects there are, and of the definitions in the store: one whose object went while no hub looked.
absl::StatusOr<std::vector<kube::ObjectKey>> SourcePart::AllKeys() {
  ASSIGN_OR_RETURN(const std::vector<std::string> stored, state_.Definitions());
  std::vector<kube::ObjectKey> keys;
  for (const std::string& id : stored) {
    if (const auto key = KeyOf(id); key && key->ns == config_.ns) keys.push_back(*key);
  }
  sources_.ForEach([&](std::string_view ns, std::string_view name, const reconcile::MetricSource&) {
    keys.push_back({std::string(ns), std::string(name)});
  });
  return keys;
}

void SourcePart::EnqueueAll() {
  sources_.ForEach([&](std::string_view ns, std::string_view name, const reconcile::MetricSource&) {
    controller_->EnqueueAfter({std::string(ns), std::string(name)}, kReportAfter);
  });
}

}  // namespace clusterpulse::app
