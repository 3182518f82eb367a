#pragma once

#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "clusterpulse/collector/v1/collector.pb.h"
#include "common/model/delivery.h"

// Gap <-> model::Gap. Private to common/wire.
namespace clusterpulse::wire {

inline constexpr int kMostGaps = 1000;  // of one message

enum class GapNumbers { kPresent, kAbsent };

// Checks that each gap has sequence numbers, or none, as `numbers` says, and that it does not end before it begins. A
// cause of a later version is read as kCollectorLost: something is missing and nobody here can know why.
// kInvalidArgument names `field`.
absl::StatusOr<std::vector<model::Gap>> DecodeGaps(
    std::string_view field, const google::protobuf::RepeatedPtrField<clusterpulse::collector::v1::Gap>& from,
    GapNumbers numbers);
// The first kMostGaps of them.
void EncodeGaps(const std::vector<model::Gap>& from,
                google::protobuf::RepeatedPtrField<clusterpulse::collector::v1::Gap>& to);

}  // namespace clusterpulse::wire
