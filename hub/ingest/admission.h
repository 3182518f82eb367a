#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <absl/status/status.h>

#include "common/model/delivery.h"
#include "hub/ingest/ports.h"
#include "hub/ingest/services.h"

namespace clusterpulse::ingest {

// A registration as it came.
struct Applicant {
  std::uint64_t stream = 0;
  std::string peer;    // address
  std::string bearer;  // token of the stream's metadata; empty: none
  model::Registration registration;
  std::shared_ptr<const std::atomic<bool>> withdrawn;  // its stream has ended: nobody waits for the answer
};

// What a stream got that was let in.
struct Admission {
  std::shared_ptr<ClusterWriter> writer;
  Credential credential;
  std::string instance;  // the collector's, or made up for an upstream one
  std::uint64_t state_seq = 0;
  store::DurableBatches durable;          // by what the store and the collector say
  model::DurablePosition durable_stored;  // by what the store says alone
  store::Presence presence;               // as written
};

struct AdmissionResult {
  absl::Status status;  // for the peer
  Admission admission;  // when ok
};

// Decides on a registration: authenticates it, looks for a rival, takes the cluster over, fencing whoever wrote it
// before, and writes the presence. Blocks: authenticator and store. Logs and counts what it decides.
//
// The newest stream wins. One that took the place of another is protected for five minutes while it lives: another
// collector gets kAlreadyExists, the same one (by its instance, an upstream one by its address) always wins. A stream
// lives if it has not ended, its last message is younger than 90 s, and it is not one that this replica should have and
// has not.
//
// An applicant who withdraws meanwhile is not let in: whoever has the cluster keeps it.
//
// Errors: kInvalidArgument (no name), kUnauthenticated (one text for every cause), kFailedPrecondition (no collector is
// wanted), kAlreadyExists, kAborted (a newer stream came meanwhile), kCancelled (withdrawn), kUnavailable (try again).
AdmissionResult Admit(const Services& services, const Applicant& applicant);

// Why a writer with this epoch is fenced: kUnauthenticated and kFailedPrecondition as above, kAborted (another stream
// has the cluster), kUnavailable (the store lost it, or the hub itself had it: the collector should send its state
// again). Nullopt: the store does not answer. Blocks.
struct FenceExplained {
  std::optional<absl::Status> why;
  bool may_change = false;  // whoever has the cluster now has not said so yet: ask again in a moment
};
FenceExplained ExplainFence(const Services& services, const std::string& cluster, std::uint64_t epoch);

// Whether the cluster, as its policy is now, still takes this stream.
absl::Status CheckPolicy(const std::string& cluster, const std::optional<ClusterPolicy>& policy);
absl::Status NotAccepted();

}  // namespace clusterpulse::ingest
