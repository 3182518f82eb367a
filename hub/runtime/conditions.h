#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/json/cursor.h"
#include "common/json/writer.h"

namespace clusterpulse::runtime {

// metav1.Condition.
struct Condition {
  std::string type;
  std::string status;  // "True", "False", "Unknown"
  std::int64_t observed_generation = 0;
  std::string last_transition_time;  // RFC 3339 seconds
  std::string reason;                // CamelCase word
  std::string message;               // at most 32,768 bytes
  bool operator==(const Condition&) const = default;
};

// Adds or updates the condition of `next.type`. The transition time changes only when the status does; reason, message
// and observed generation always follow. Messages over the schema's bound are cut. A transition time in `next` is used
// when the status changed, otherwise `now`.
void SetCondition(std::vector<Condition>& conditions, Condition next, base::SystemTime now);

// True when there was one.
bool RemoveCondition(std::vector<Condition>& conditions, std::string_view type);

// Null when there is none; the pointer lives until `conditions` changes.
const Condition* FindCondition(const std::vector<Condition>& conditions, std::string_view type);
bool IsConditionTrue(const std::vector<Condition>& conditions, std::string_view type);

// Elements without a type are left out, members of other types stay empty.

absl::Status ReadConditions(json::Cursor array, std::vector<Condition>& out);
void WriteConditions(json::Writer& writer, const std::vector<Condition>& conditions);

}  // namespace clusterpulse::runtime
