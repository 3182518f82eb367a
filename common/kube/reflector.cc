#include "common/kube/reflector.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "common/base/status.h"
#include "common/base/thread.h"
#include "common/kube/lister.h"

namespace clusterpulse::kube {
namespace {

constexpr int kStuckLimit = 5;  // then the version is given up
constexpr int kWarnAfter = 3;   // failures in a row; fewer are everyday
constexpr std::chrono::minutes kLogEvery{1};

// Reads name, namespace and version only.
absl::Status ReadIdentity(json::Cursor object, ObjectMeta& meta) {
  return object.ForEachMember([&](std::string_view key, json::Cursor value) {
    return key == "metadata" ? ReadMeta(value, MetaParts::kIdentity, meta) : absl::OkStatus();
  });
}

}  // namespace

Reflector::Reflector(KubeApi& api, ReflectorSink& sink, Options options)
    : api_(api),
      sink_(sink),
      options_(std::move(options)),
      backoff_(options_.backoff, *options_.random),
      lost_backoff_(options_.backoff, *options_.random) {}

Reflector::~Reflector() { Stop(); }

void Reflector::Start() {
  base::MutexLock lock(lifecycle_mu_);
  if (started_ || stop_.stop_requested()) return;
  started_ = true;
  thread_ = base::StartThread("w:" + options_.resource.plural, [this] { Run(); });
}

void Reflector::Stop() {
  stop_.RequestStop();
  {
    base::MutexLock lock(mu_);  // a waiter between its check and its wait must not miss it
  }
  synced_changed_.NotifyAll();
  base::MutexLock lock(lifecycle_mu_);
  if (thread_.joinable()) thread_.join();
}

void Reflector::AddHandler(Handler handler) {
  std::shared_ptr<base::StopSignal> wake;
  {
    base::MutexLock lock(mu_);
    pending_.push_back(std::move(handler));
    wake = wake_;
  }
  if (wake != nullptr) wake->RequestStop();
}

bool Reflector::HasSynced() const {
  base::MutexLock lock(mu_);
  return synced_;
}

bool Reflector::WaitForSync(std::chrono::nanoseconds limit, std::stop_token stop) {
  const auto deadline =
      std::chrono::steady_clock::now() + std::min<std::chrono::nanoseconds>(limit, std::chrono::hours(8760));
  const std::stop_callback on_stop(stop, [this] {
    { base::MutexLock lock(mu_); }
    synced_changed_.NotifyAll();
  });
  base::MutexLock lock(mu_);
  while (!synced_ && !stop.stop_requested() && !stop_.stop_requested()) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= left.zero()) break;
    synced_changed_.WaitFor(mu_, left);
  }
  return synced_;
}

ReflectorStats Reflector::stats() const {
  base::MutexLock lock(mu_);
  return stats_;
}

std::optional<std::chrono::nanoseconds> Reflector::SinceKnownGood() const {
  base::MutexLock lock(mu_);
  if (!last_good_) return std::nullopt;
  return options_.clock->Steady() - *last_good_;
}

absl::Status Reflector::LastError() const {
  base::MutexLock lock(mu_);
  return last_error_;
}

void Reflector::Run() {
  while (!stop_.stop_requested()) {
    const auto until = std::chrono::steady_clock::now() + Step();
    for (;;) {
      const auto left = until - std::chrono::steady_clock::now();
      if (left <= left.zero() || !ArmWake()->WaitFor(left)) break;
      if (stop_.stop_requested()) return;
      DeliverPending();
    }
  }
}

std::chrono::nanoseconds Reflector::Step() {
  DeliverPending();
  return version_.empty() ? ListOnce() : WatchOnce();
}

std::chrono::nanoseconds Reflector::ListOnce() {
  ListQuery query;
  query.resource = options_.resource;
  query.ns = options_.ns;
  query.label_selector = options_.label_selector;
  query.field_selector = options_.field_selector;
  query.limit = options_.page_size;
  query.metadata_only = options_.metadata_only;

  sink_.BeginList();
  absl::StatusOr<std::string> version = ListAll(
      api_, std::move(query), [this](json::Cursor object) { return OnObject(object); },
      [this] {
        sink_.BeginList();
        base::MutexLock lock(mu_);
        ++stats_.list_restarts;
      },
      CallOptions{options_.call_timeout, stop_.token()});
  if (stop_.stop_requested()) return {};
  if (!version.ok()) {
    {
      base::MutexLock lock(mu_);
      ++stats_.list_failures;
    }
    OnFailure("list failed", version.status());
    return NextBackoff(backoff_);
  }
  for (const ObjectKey& gone : sink_.EndList()) Notify(gone);
  version_ = *std::move(version);
  stuck_ = 0;
  OnGood();
  {
    base::MutexLock lock(mu_);
    ++stats_.lists;
    synced_ = true;
  }
  synced_changed_.NotifyAll();
  return {};
}

std::chrono::nanoseconds Reflector::WatchOnce() {
  WatchQuery query;
  query.resource = options_.resource;
  query.ns = options_.ns;
  query.label_selector = options_.label_selector;
  query.field_selector = options_.field_selector;
  query.resource_version = version_;
  query.metadata_only = options_.metadata_only;
  const auto spread = static_cast<double>((options_.max_watch - options_.min_watch).count());
  query.timeout = options_.min_watch + std::chrono::seconds(std::int64_t(spread * options_.random->Uniform()));

  const std::shared_ptr<base::StopSignal> wake = ArmWake();
  {
    base::MutexLock lock(mu_);
    ++stats_.watches;
  }
  const base::SteadyTime start = options_.clock->Steady();
  const absl::Status status = api_.Watch(
      query,
      [&](WatchEventType type, json::Cursor object) -> absl::Status {
        if (wake->stop_requested()) return absl::CancelledError("interrupted");
        return OnEvent(type, object);
      },
      CallOptions{options_.call_timeout, wake->token()});
  if (wake->stop_requested()) return {};  // to stop, or to call a new handler and go on
  return AfterWatch(status, version_ != query.resource_version, options_.clock->Steady() - start);
}

std::chrono::nanoseconds Reflector::AfterWatch(const absl::Status& status, bool progress,
                                               std::chrono::nanoseconds lived) {
  const bool was_short = lived < options_.short_watch;
  if (progress) stuck_ = 0;
  if (status.ok()) {
    if (!was_short || progress) stuck_ = 0;
    OnGood();
    return was_short && !progress ? std::chrono::nanoseconds(NextBackoff(backoff_)) : ShortPause();
  }
  {
    base::MutexLock lock(mu_);
    ++stats_.watch_failures;
  }
  OnFailure("watch failed", status);
  const bool answered = GetApiError(status).has_value();
  bool suspect = false;  // perhaps the version, not the moment, is what fails
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      suspect = answered;
      break;
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kCancelled:
      break;
    case absl::StatusCode::kDataLoss:  // most often the half line of a lost connection
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
      suspect = true;
      break;
    default:
      return Relist();  // expired; or a watch that is not allowed or not known: listing still shows the state
  }
  if (progress) return ShortPause();
  if (suspect && ++stuck_ >= kStuckLimit) return Relist();
  if (answered) return NextBackoff(backoff_);
  // The server was well a moment ago. Without this the one connection in many that is cut early would wait longest.
  if (!was_short) lost_backoff_.Reset();
  const std::chrono::nanoseconds pause = NextBackoff(lost_backoff_);
  if (was_short) return pause;
  return std::min(pause, std::max<std::chrono::nanoseconds>(lived, options_.min_pause));
}

std::chrono::nanoseconds Reflector::Relist() {
  version_.clear();
  stuck_ = 0;
  {
    base::MutexLock lock(mu_);
    ++stats_.relists;
  }
  return NextBackoff(backoff_);
}

absl::Status Reflector::OnObject(json::Cursor object) {
  if (stop_.stop_requested()) return absl::CancelledError("stopped");
  meta_.ns.clear();
  meta_.name.clear();
  meta_.resource_version.clear();
  bool changed = false;
  absl::Status put = sink_.Put(object, meta_, changed);
  if (absl::IsDataLoss(put)) return put;
  if (!put.ok()) {
    OnBadObject(put);
  } else if (changed) {
    Notify(meta_.key());
  }
  return absl::OkStatus();
}

absl::Status Reflector::OnEvent(WatchEventType type, json::Cursor object) {
  switch (type) {
    case WatchEventType::kAdded:
    case WatchEventType::kModified:
      RETURN_IF_ERROR(OnObject(object));
      break;
    case WatchEventType::kDeleted:
    case WatchEventType::kBookmark:
      meta_.ns.clear();
      meta_.name.clear();
      meta_.resource_version.clear();
      RETURN_IF_ERROR(ReadIdentity(object, meta_));
      if (type == WatchEventType::kDeleted) {
        if (meta_.name.empty()) {
          OnBadObject(absl::InvalidArgumentError("deleted object without a name"));
        } else if (const ObjectKey key = meta_.key(); sink_.Erase(key)) {
          Notify(key);
        }
      }
      break;
  }
  // Only now: a watch that ends before this line is asked for the same event again, which does no harm.
  if (!meta_.resource_version.empty()) version_ = meta_.resource_version;
  OnGood();
  base::MutexLock lock(mu_);
  if (type == WatchEventType::kBookmark) {
    ++stats_.bookmarks;
  } else {
    ++stats_.events;
    stats_.last_event = options_.clock->Now();
  }
  return absl::OkStatus();
}

void Reflector::OnBadObject(const absl::Status& why) {
  {
    base::MutexLock lock(mu_);
    ++stats_.bad_objects;
  }
  const base::SteadyTime now = options_.clock->Steady();
  if (bad_object_logged_ && now - *bad_object_logged_ < kLogEvery) {
    ++bad_objects_unlogged_;
    return;
  }
  bad_object_logged_ = now;
  options_.log.Warn("object cannot be read, keeping what is known of it",
                    {{"resource", options_.resource.plural},
                     {"namespace", meta_.ns},
                     {"name", meta_.name},
                     {"error", log::ToText(why)},
                     {"suppressed", std::exchange(bad_objects_unlogged_, 0)}});
}

void Reflector::OnFailure(std::string_view what, const absl::Status& why) {
  int failures = 0;
  {
    base::MutexLock lock(mu_);
    last_error_ = why;
    failures = ++stats_.failures_in_a_row;
  }
  const base::SteadyTime now = options_.clock->Steady();
  const bool lasting = failures >= kWarnAfter && (!failure_logged_ || now - *failure_logged_ >= kLogEvery);
  if (lasting) failure_logged_ = now;
  const log::Level level = lasting ? log::Level::kWarn : log::Level::kDebug;
  if (!options_.log.Enabled(level)) return;
  options_.log.Write(level, what,
                     {{"resource", options_.resource.plural}, {"error", log::ToText(why)}, {"failures", failures}});
}

void Reflector::OnGood() {
  base::MutexLock lock(mu_);
  stats_.failures_in_a_row = 0;
  last_good_ = options_.clock->Steady();
  if (!last_error_.ok()) last_error_ = absl::OkStatus();
}

std::chrono::milliseconds Reflector::NextBackoff(base::Backoff& backoff) {
  const base::SteadyTime now = options_.clock->Steady();
  if (last_failure_ && now - *last_failure_ >= options_.healthy_after) {
    backoff_.Reset();
    lost_backoff_.Reset();
  }
  last_failure_ = now;
  return std::max(backoff.Next(), options_.min_pause);
}

std::chrono::nanoseconds Reflector::ShortPause() {
  const std::chrono::nanoseconds pause = options_.min_pause;
  return pause +
         std::chrono::nanoseconds(std::int64_t(static_cast<double>(pause.count()) * options_.random->Uniform()));
}

void Reflector::Notify(const ObjectKey& key) {
  for (const Handler& handler : handlers_) handler(key);
}

void Reflector::DeliverPending() {
  std::vector<Handler> fresh;
  {
    base::MutexLock lock(mu_);
    fresh.swap(pending_);
  }
  if (fresh.empty()) return;
  const std::vector<ObjectKey> keys = sink_.Keys();
  for (Handler& handler : fresh) {
    for (const ObjectKey& key : keys) handler(key);
    handlers_.push_back(std::move(handler));
  }
}

std::shared_ptr<base::StopSignal> Reflector::ArmWake() {
  auto wake = std::make_shared<base::StopSignal>(stop_.token());
  base::MutexLock lock(mu_);
  wake_ = wake;
  if (!pending_.empty()) wake->RequestStop();
  return wake;
}

}  // namespace clusterpulse::kube
