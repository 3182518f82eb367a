#pragma once

#include <string_view>

#include <absl/status/status.h>

#include "common/model/cluster.h"

namespace clusterpulse::wire {

// The bytes of a NodeMetrics -> `to`, which is new. Nodes with their labels are nearly all of a batch, and the objects
// protobuf makes of them cost more than all else in decoding: they are read without (field_reader.h). Private to
// common/wire. kInvalidArgument: a field breaks a rule of batch_codec.h; kDataLoss: bytes that only protobuf can judge.
absl::Status ReadNode(std::string_view bytes, model::Node& to);

}  // namespace clusterpulse::wire
