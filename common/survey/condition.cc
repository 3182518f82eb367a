#include "common/survey/condition.h"

#include "common/base/time_format.h"

namespace clusterpulse::survey {
namespace {

absl::Status ReadCondition(json::Cursor condition, model::Condition& out) {
  return condition.ForEachMember([&](std::string_view key, json::Cursor value) {
    std::string_view time;
    if (key == "type") {
      value.Get(out.type);
    } else if (key == "status") {
      value.Get(out.status);
    } else if (key == "reason") {
      value.Get(out.reason);
    } else if (key == "message") {
      value.Get(out.message);
    } else if (key == "lastTransitionTime" && value.Get(time)) {
      out.last_transition = base::ParseRfc3339(time);
      // "0001-01-01T00:00:00Z" is Go's word for none; a time our clock cannot hold has become its end.
      if (out.last_transition < base::SystemTime() || out.last_transition == base::SystemTime::max()) {
        out.last_transition.reset();
      }
    }
  });
}

}  // namespace

absl::Status ReadConditions(json::Cursor list, std::vector<model::Condition>& out) {
  return list.ForEachElement([&](json::Cursor element) {
    if (!element.IsObject()) return absl::OkStatus();
    return ReadCondition(element, out.emplace_back());
  });
}

}  // namespace clusterpulse::survey
