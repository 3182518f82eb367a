#include "hub/runtime/status_writer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/base/status.h"
#include "common/base/stop_signal.h"

namespace clusterpulse::runtime {
namespace {

using json::Value;

// Without the members that are null, which a merge patch cannot write.
Value WithoutNulls(const Value& value) {
  if (value.IsObject()) {
    Value::Object out;
    for (const auto& [key, member] : value.members()) {
      if (!member.IsNull()) out.emplace(key, WithoutNulls(member));
    }
    return out;
  }
  return value;  // arrays are written as they are
}

// The merge patch that turns `from` into `to`; absent when they are equal.
std::optional<Value> Difference(const Value& from, const Value& to) {
  if (from == to) return std::nullopt;
  if (!from.IsObject() || !to.IsObject()) return to;
  Value::Object patch;
  for (const auto& [key, member] : to.members()) {
    const Value* old = from.Find(key);
    if (auto change = old != nullptr ? Difference(*old, member) : member) patch.emplace(key, *std::move(change));
  }
  for (const auto& [key, member] : from.members()) {
    if (to.Find(key) == nullptr) patch.emplace(key, Value());
  }
  return Value(std::move(patch));
}

}  // namespace

StatusWriter::StatusWriter(kube::KubeApi& api, const base::Clock& clock, Options options)
    : api_(api), clock_(clock), options_(std::move(options)), bucket_(options_.per_second, options_.burst) {}

// The members to write, as a merge patch of the status. `known` is what we remember; its `arrived` is brought up to
// date.
Value StatusWriter::Changes(const StatusUpdate& update, Written& known, base::SteadyTime now) const {
  const auto& sent = known.sent.members();
  if (!known.arrived) {
    known.arrived = std::all_of(sent.begin(), sent.end(), [&](const auto& member) {
      return update.current[member.first] == known.got[member.first];
    });
  }
  // Until our write shows in the cache, what the server answered is newer than the cache.
  const bool stale = !known.arrived && now - known.at < options_.stale_limit;

  Value::Object patch;
  for (const auto& [key, member] : update.desired.members()) {
    const Value wanted = WithoutNulls(member);
    const Value* last = known.sent.Find(key);
    const Value& present = last != nullptr && stale ? known.got[key] : update.current[key];
    // The server keeps this member in a form of its own: what it made of the same wish is as good as the wish.
    if (last != nullptr && *last == wanted && present == known.got[key]) continue;
    if (auto change = Difference(present, wanted)) patch.emplace(key, *std::move(change));
  }
  return patch;
}

absl::Status StatusWriter::AwaitTurn(std::stop_token stop) {
  const auto wait = bucket_.Reserve(clock_.Steady());
  if (wait <= std::chrono::nanoseconds::zero()) return absl::OkStatus();
  if (!base::StopSignal(std::move(stop)).WaitFor(wait)) return absl::OkStatus();
  bucket_.Cancel();
  return absl::CancelledError("stopped before the status could be written");
}

absl::Status StatusWriter::Write(const StatusUpdate& update, std::stop_token stop) {
  const std::string id = update.resource.ObjectPath(update.key);
  Value patch;
  bool urgent = false;
  {
    base::MutexLock lock(mu_);
    const base::SteadyTime now = clock_.Steady();
    const auto known = written_.find(id);
    Written nothing;
    patch = Changes(update, known != written_.end() ? known->second : nothing, now);
    if (patch.members().empty()) return absl::OkStatus();
    urgent = std::any_of(patch.members().begin(), patch.members().end(), [&](const auto& member) {
      return std::find(update.routine.begin(), update.routine.end(), member.first) == update.routine.end();
    });
    if (!urgent && known != written_.end() && now - known->second.at < update.routine_interval) return absl::OkStatus();
  }
  if (urgent) {
    RETURN_IF_ERROR(AwaitTurn(stop));
  } else if (!bucket_.TryTake(clock_.Steady())) {
    return absl::OkStatus();
  }

  const Value body(Value::Object{{"status", patch}});
  const absl::StatusOr<std::string> answer =
      api_.Patch(update.resource, update.key, kube::PatchType::kMerge, body.Dump(),
                 {.subresource = "status", .field_manager = options_.field_manager}, {options_.call_timeout, stop});
  if (kube::IsNotFound(answer.status())) {
    Forget(update.resource, update.key);
    return absl::OkStatus();
  }
  if (!answer.ok()) return base::Annotate(answer.status(), "writing the status");
  ASSIGN_OR_RETURN(const Value object, Value::Parse(*answer), "decoding the answer to a status patch");

  base::MutexLock lock(mu_);
  Written& known = written_[id];
  for (const auto& [key, change] : patch.members()) {
    known.sent.Mutable(key) = WithoutNulls(update.desired[key]);
    known.got.Mutable(key) = object["status"][key];
  }
  known.at = clock_.Steady();
  known.arrived = false;
  return absl::OkStatus();
}

void StatusWriter::Forget(const kube::ResourceType& resource, const kube::ObjectKey& key) {
  const std::string id = resource.ObjectPath(key);
  base::MutexLock lock(mu_);
  written_.erase(id);
}

}  // namespace clusterpulse::runtime
