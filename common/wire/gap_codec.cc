#include "common/wire/gap_codec.h"

#include "common/base/status.h"
#include "common/wire/fields.h"

namespace clusterpulse::wire {
namespace {

namespace v1 = ::clusterpulse::collector::v1;
using model::GapCause;

v1::GapCause ToWire(GapCause cause) {
  switch (cause) {
    case GapCause::kCollectorDown:
      return v1::GAP_CAUSE_COLLECTOR_DOWN;
    case GapCause::kCollectorLost:
      return v1::GAP_CAUSE_COLLECTOR_LOST;
    case GapCause::kLinkDown:
      return v1::GAP_CAUSE_LINK_DOWN;
    case GapCause::kSpoolOverflow:
      return v1::GAP_CAUSE_SPOOL_OVERFLOW;
    case GapCause::kRejected:
      return v1::GAP_CAUSE_REJECTED;
    case GapCause::kStoreDown:
      return v1::GAP_CAUSE_STORE_DOWN;
    case GapCause::kListFailed:
      return v1::GAP_CAUSE_LIST_FAILED;
    case GapCause::kTruncated:
      return v1::GAP_CAUSE_TRUNCATED;
  }
  return v1::GAP_CAUSE_UNSPECIFIED;
}

GapCause FromWire(v1::GapCause cause) {
  for (int i = 0; i <= static_cast<int>(GapCause::kTruncated); ++i) {
    if (ToWire(static_cast<GapCause>(i)) == cause) return static_cast<GapCause>(i);
  }
  return GapCause::kCollectorLost;
}

}  // namespace

absl::StatusOr<std::vector<model::Gap>> DecodeGaps(std::string_view field,
                                                   const google::protobuf::RepeatedPtrField<v1::Gap>& from,
                                                   GapNumbers numbers) {
  if (from.size() > kMostGaps) {
    return base::InvalidArgument("{} has {} entries, more than {}", field, from.size(), kMostGaps);
  }
  std::vector<model::Gap> gaps;
  gaps.reserve(static_cast<std::size_t>(from.size()));
  for (const v1::Gap& gap : from) {
    const bool is_numbered = gap.first_seq() != 0 || gap.last_seq() != 0;
    if (is_numbered != (numbers == GapNumbers::kPresent) || gap.first_seq() > gap.last_seq() ||
        (is_numbered && gap.first_seq() == 0)) {
      return base::InvalidArgument("{} has numbers {}..{}", field, gap.first_seq(), gap.last_seq());
    }
    model::Gap to{.seqs = {gap.first_seq(), gap.last_seq()}, .cause = FromWire(gap.cause())};
    ASSIGN_OR_RETURN(to.from, DecodeTime(field, gap.from()));
    ASSIGN_OR_RETURN(to.to, DecodeTime(field, gap.to()));
    if (to.to < to.from) return base::InvalidArgument("{} ends before it begins", field);
    gaps.push_back(to);
  }
  return gaps;
}

void EncodeGaps(const std::vector<model::Gap>& from, google::protobuf::RepeatedPtrField<v1::Gap>& to) {
  for (const model::Gap& gap : from) {
    if (to.size() == kMostGaps) break;
    v1::Gap& out = *to.Add();
    out.set_first_seq(gap.seqs.first);
    out.set_last_seq(gap.seqs.last);
    EncodeTime(gap.from, *out.mutable_from());
    EncodeTime(gap.to, *out.mutable_to());
    out.set_cause(ToWire(gap.cause));
  }
}

}  // namespace clusterpulse::wire
