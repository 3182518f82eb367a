#include "hub/runtime/conditions.h"

#include <algorithm>
#include <utility>

#include "common/base/time_format.h"
#include "common/base/utf8.h"

namespace clusterpulse::runtime {
namespace {

constexpr std::size_t kMaxMessageBytes = 32768;  // maxLength of metav1.Condition's schema

}  // namespace

void SetCondition(std::vector<Condition>& conditions, Condition next, base::SystemTime now) {
  next.message = base::CutUtf8(next.message, kMaxMessageBytes);
  const auto it = std::find_if(conditions.begin(), conditions.end(),
                               [&](const Condition& condition) { return condition.type == next.type; });
  const bool known = it != conditions.end();
  if (known && it->status == next.status && !it->last_transition_time.empty()) {
    next.last_transition_time = it->last_transition_time;
  } else if (next.last_transition_time.empty()) {
    next.last_transition_time = base::FormatSeconds(now);
  }
  if (known) {
    *it = std::move(next);
  } else {
    conditions.push_back(std::move(next));
  }
}

bool RemoveCondition(std::vector<Condition>& conditions, std::string_view type) {
  return std::erase_if(conditions, [&](const Condition& condition) { return condition.type == type; }) > 0;
}

const Condition* FindCondition(const std::vector<Condition>& conditions, std::string_view type) {
  for (const Condition& condition : conditions) {
    if (condition.type == type) return &condition;
  }
  return nullptr;
}

bool IsConditionTrue(const std::vector<Condition>& conditions, std::string_view type) {
  const Condition* condition = FindCondition(conditions, type);
  return condition != nullptr && condition->status == "True";
}

absl::Status ReadConditions(json::Cursor array, std::vector<Condition>& out) {
  out.clear();
  return array.ForEachElement([&out](json::Cursor element) -> absl::Status {
    Condition condition;
    RETURN_IF_ERROR(element.ForEachMember([&condition](std::string_view key, json::Cursor value) {
      if (key == "type") {
        value.Get(condition.type);
      } else if (key == "status") {
        value.Get(condition.status);
      } else if (key == "observedGeneration") {
        value.Get(condition.observed_generation);
      } else if (key == "lastTransitionTime") {
        value.Get(condition.last_transition_time);
      } else if (key == "reason") {
        value.Get(condition.reason);
      } else if (key == "message") {
        value.Get(condition.message);
      }
    }));
    if (!condition.type.empty()) out.push_back(std::move(condition));
    return absl::OkStatus();
  });
}

void WriteConditions(json::Writer& writer, const std::vector<Condition>& conditions) {
  writer.BeginArray();
  for (const Condition& condition : conditions) {
    writer.BeginObject().Member("type", condition.type).Member("status", condition.status);
    if (condition.observed_generation != 0) writer.Member("observedGeneration", condition.observed_generation);
    writer.Member("lastTransitionTime", condition.last_transition_time);
    writer.Member("reason", condition.reason).Member("message", condition.message).EndObject();
  }
  writer.EndArray();
}

}  // namespace clusterpulse::runtime
