#include "common/model/delivery.h"

#include <array>

namespace clusterpulse::model {
namespace {

struct NamedCause {
  GapCause cause;
  std::string_view name;
};
constexpr std::array kCauses{
    NamedCause{GapCause::kCollectorDown, "collector_down"},
    NamedCause{GapCause::kCollectorLost, "collector_lost"},
    NamedCause{GapCause::kLinkDown, "link_down"},
    NamedCause{GapCause::kSpoolOverflow, "spool_overflow"},
    NamedCause{GapCause::kRejected, "rejected"},
    NamedCause{GapCause::kStoreDown, "store_down"},
    NamedCause{GapCause::kListFailed, "list_failed"},
    NamedCause{GapCause::kTruncated, "truncated"},
};

}  // namespace

std::string_view ToString(GapCause cause) {
  for (const NamedCause& named : kCauses) {
    if (named.cause == cause) return named.name;
  }
  return "";
}

std::optional<GapCause> ParseGapCause(std::string_view text) {
  for (const NamedCause& named : kCauses) {
    if (named.name == text) return named.cause;
  }
  return std::nullopt;
}

}  // namespace clusterpulse::model
