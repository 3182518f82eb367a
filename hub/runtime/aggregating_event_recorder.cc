#include "hub/runtime/aggregating_event_recorder.h"

#include <utility>

#include "common/base/time_format.h"
#include "common/base/utf8.h"
#include "common/json/writer.h"

namespace clusterpulse::runtime {
namespace {

constexpr std::size_t kMaxMessageBytes = 1024;

bool WorthRetrying(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kCancelled:  // by our stop: Drain tries once more
      return true;
    default:
      return false;
  }
}

}  // namespace

AggregatingEventRecorder::AggregatingEventRecorder(Options options, kube::KubeApi& api, const base::Clock& clock,
                                                   base::Random& random, log::Logger log)
    : options_(std::move(options)),
      api_(api),
      clock_(clock),
      random_(random),
      log_(std::move(log)),
      correlator_(options_.correlator) {
  if (options_.registry == nullptr) return;
  const auto events = options_.registry->Counters(
      "clusterpulse_hub_events_total",
      "Kubernetes Events by what became of them: created, updated, muted (too many about one object), dropped (queue "
      "full), refused (by the API server), failed (API server out of reach).",
      {"result"});
  created_ = events.With({"created"});
  updated_ = events.With({"updated"});
  muted_ = events.With({"muted"});
  dropped_ = events.With({"dropped"});
  refused_ = events.With({"refused"});
  failed_ = events.With({"failed"});
}

AggregatingEventRecorder::~AggregatingEventRecorder() { Stop(std::chrono::milliseconds::zero()); }

void AggregatingEventRecorder::Record(const ObjectRef& about, EventType type, std::string_view reason,
                                      std::string_view message) {
  Occurrence occurrence{about, type, std::string(reason), base::CutUtf8(message, kMaxMessageBytes), clock_.Now()};
  base::MutexLock lock(mu_);
  if (stopping_ || queue_.size() >= options_.queue) {
    dropped_.Add();
    return;
  }
  queue_.push_back(std::move(occurrence));
  changed_.NotifyAll();
}

absl::Status AggregatingEventRecorder::Start() {
  thread_.Start(1, "events", [this] { Loop(); });
  return absl::OkStatus();
}

bool AggregatingEventRecorder::Stop(std::chrono::milliseconds limit) {
  {
    base::MutexLock lock(mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  stop_.RequestStop();
  return thread_.Join(limit);
}

void AggregatingEventRecorder::Loop() {
  while (!stop_.stop_requested()) {
    if (const auto wait = Step()) {
      stop_.WaitFor(*wait);
      continue;
    }
    base::MutexLock lock(mu_);
    while (queue_.empty() && !stopping_) changed_.Wait(mu_);
  }
  Drain();
}

std::optional<Occurrence> AggregatingEventRecorder::Pop() {
  base::MutexLock lock(mu_);
  if (queue_.empty()) return std::nullopt;
  Occurrence next = std::move(queue_.front());
  queue_.pop_front();
  return next;
}

std::optional<std::chrono::nanoseconds> AggregatingEventRecorder::Step() {
  if (!pending_) {
    std::optional<Occurrence> next = Pop();
    if (!next) return std::nullopt;
    pending_ = correlator_.Correlate(*std::move(next), clock_.Steady());
    tries_ = 0;
    if (!pending_) {
      muted_.Add();
      return std::chrono::nanoseconds::zero();
    }
  }
  const Sent sent = Send(*pending_, options_.call_timeout, stop_.token());
  if (sent == Sent::kRetry && ++tries_ < options_.tries) {
    const double part = tries_ == 1 ? random_.Uniform() : 1;
    return std::chrono::duration_cast<std::chrono::nanoseconds>(options_.retry_period * part);
  }
  if (sent == Sent::kRetry) {
    failed_.Add();
    log_.Warn("gave up writing an event",
              {{"namespace", pending_->ns}, {"name", pending_->name}, {"reason", pending_->occurrence.reason}});
  }
  pending_.reset();
  return std::chrono::nanoseconds::zero();
}

void AggregatingEventRecorder::Drain() {
  const base::SteadyTime deadline = clock_.Steady() + options_.drain_limit;
  while (true) {
    if (!pending_) {
      std::optional<Occurrence> next = Pop();
      if (!next) return;
      pending_ = correlator_.Correlate(*std::move(next), clock_.Steady());
      if (!pending_) {
        muted_.Add();
        continue;
      }
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock_.Steady());
    if (left <= std::chrono::milliseconds::zero() || Send(*pending_, left, {}) == Sent::kRetry) break;
    pending_.reset();
  }
  base::MutexLock lock(mu_);
  failed_.Add(1 + static_cast<double>(queue_.size()));
  queue_.clear();
}

AggregatingEventRecorder::Sent AggregatingEventRecorder::Send(EventWrite& write, std::chrono::milliseconds timeout,
                                                              std::stop_token stop) {
  const kube::CallOptions options{timeout, std::move(stop)};
  absl::Status status;
  if (write.update) {
    status = Patch(write, options);
    // Servers forget Events after an hour: start again, with the count it has.
    if (kube::IsNotFound(status)) write.update = false;
  }
  const bool create = !write.update;
  if (create) {
    status = Create(write, options);
    // An earlier try got through, although its answer did not.
    if (kube::IsAlreadyExists(status)) status = absl::OkStatus();
  }
  if (status.ok()) {
    (create ? created_ : updated_).Add();
    return Sent::kYes;
  }
  if (WorthRetrying(status)) return Sent::kRetry;
  refused_.Add();
  log_.Warn("event refused", {{"namespace", write.ns},
                              {"name", write.name},
                              {"reason", write.occurrence.reason},
                              {"error", log::ToText(status)}});
  return Sent::kRefused;
}

absl::Status AggregatingEventRecorder::Create(const EventWrite& write, const kube::CallOptions& options) {
  const Occurrence& o = write.occurrence;
  std::string body;
  json::Writer w(body);
  w.BeginObject().Member("apiVersion", "v1").Member("kind", "Event");
  w.Key("metadata").BeginObject().Member("name", write.name).Member("namespace", write.ns).EndObject();
  w.Key("involvedObject").BeginObject();
  w.Member("apiVersion", o.about.api_version).Member("kind", o.about.kind);
  if (!o.about.key.ns.empty()) w.Member("namespace", o.about.key.ns);
  w.Member("name", o.about.key.name);
  if (!o.about.uid.empty()) w.Member("uid", o.about.uid);
  w.EndObject();
  w.Member("type", o.type == EventType::kWarning ? "Warning" : "Normal");
  w.Member("reason", o.reason).Member("message", o.message);
  w.Key("source").BeginObject().Member("component", options_.component).EndObject();
  w.Member("reportingComponent", options_.component).Member("reportingInstance", options_.instance);
  w.Member("firstTimestamp", base::FormatSeconds(write.first));
  w.Member("lastTimestamp", base::FormatSeconds(o.time)).Member("count", write.count).EndObject();
  return api_.Create(kube::kEvents, write.ns, body, options).status();
}

absl::Status AggregatingEventRecorder::Patch(const EventWrite& write, const kube::CallOptions& options) {
  const Occurrence& o = write.occurrence;
  std::string body;
  json::Writer w(body);
  w.BeginObject().Member("count", write.count).Member("lastTimestamp", base::FormatSeconds(o.time));
  w.Member("message", o.message).EndObject();  // differs between the combined ones
  return api_
      .Patch(kube::kEvents, {write.ns, write.name}, kube::PatchType::kMerge, body,
             {.field_manager = options_.component}, options)
      .status();
}

}  // namespace clusterpulse::runtime
