#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "common/model/batch.h"

namespace clusterpulse::ingest {

// Largest batch in parts, as bytes of its messages, and what those may have beyond it: a collector counts without the
// few fields it adds when it sends.
inline constexpr std::size_t kMostBatchBytes = std::size_t{32} << 20;
inline constexpr std::size_t kByteSlack = std::size_t{64} << 10;

// The batch that `parts`, in order, make: lists joined, what comes once taken where it is. kInvalidArgument: something
// that must be unique comes twice.
absl::StatusOr<model::Batch> JoinParts(std::vector<model::Batch> parts);

// The batch in these messages as they came: one, or the parts of one. Errors of JoinParts and wire::DecodeBatch.
absl::StatusOr<model::Batch> DecodeParts(const std::vector<std::string>& messages);

}  // namespace clusterpulse::ingest
