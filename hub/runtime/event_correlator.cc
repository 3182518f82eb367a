#include "hub/runtime/event_correlator.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace clusterpulse::runtime {
namespace {

constexpr char kSeparator = '\0';  // cannot be in a name
constexpr std::size_t kMaxNameBytes = 253;

std::string ObjectId(const ObjectRef& about) {
  std::string id;
  for (const std::string* part : {&about.api_version, &about.kind, &about.key.ns, &about.key.name, &about.uid}) {
    id.append(*part).push_back(kSeparator);
  }
  return id;
}

}  // namespace

EventCorrelator::EventCorrelator(Options options)
    : options_(options), similar_(options.capacity), seen_(options.capacity), budgets_(options.capacity) {}

std::optional<EventWrite> EventCorrelator::Correlate(Occurrence occurrence, base::SteadyTime now) {
  const std::string object = ObjectId(occurrence.about);
  std::string kind = object;
  kind.append(occurrence.type == EventType::kWarning ? "W" : "N").append(occurrence.reason).push_back(kSeparator);

  Similar& similar = similar_.GetOrMake(kind);
  if (now - similar.last > options_.similar_gap) similar.messages.clear();
  similar.last = now;
  std::string id = kind;
  const bool known = similar.messages.count(occurrence.message) > 0;
  if (known || static_cast<int>(similar.messages.size()) < options_.similar) {
    if (!known) similar.messages.insert(occurrence.message);
    id.append("=").append(occurrence.message);
  } else {
    // All further messages share the Event that has no message in its id.
    occurrence.message.insert(0, "(combined from similar events): ");
  }

  Seen& seen = seen_.GetOrMake(id);
  if (seen.count == 0) seen.first = occurrence.time;
  ++seen.count;

  const double per_second = 1 / std::chrono::duration<double>(options_.spam_refill).count();
  if (!budgets_.GetOrMake(object, per_second, options_.spam_burst).TryTake(now)) return std::nullopt;

  EventWrite write;
  write.ns = occurrence.about.key.ns.empty() ? "default" : occurrence.about.key.ns;
  if (seen.name.empty()) seen.name = NewName(occurrence);
  write.name = seen.name;
  write.first = seen.first;
  write.count = seen.count;
  write.update = std::exchange(seen.written, true);
  write.occurrence = std::move(occurrence);
  return write;
}

std::string EventCorrelator::NewName(const Occurrence& occurrence) {
  // Two in the same nanosecond still get two names.
  const std::int64_t stamp =
      std::chrono::duration_cast<std::chrono::nanoseconds>(occurrence.time.time_since_epoch()).count();
  last_stamp_ = std::max(stamp, last_stamp_ + 1);
  const std::string suffix = fmt::format(".{:x}", last_stamp_);
  std::string name = occurrence.about.key.name.substr(0, kMaxNameBytes - suffix.size());
  while (!name.empty() && (name.back() == '.' || name.back() == '-')) name.pop_back();
  return name + suffix;
}

}  // namespace clusterpulse::runtime
