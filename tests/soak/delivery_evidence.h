#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "tests/soak/delivery_checker.h"
#include "tests/soak/delivery_rig.h"

namespace clusterpulse::testing {

// Everything that can be known of a cluster's delivery from outside: what was produced from the recorded segments,
// what is held from the spool as it is, what the hub knows from Redis, what is stored from VictoriaMetrics. The
// collector must not run meanwhile (Signal SIGSTOP is enough), the stores must. What cannot be read ends the test run.
DeliveryRecord GatherEvidence(DeliveryRig& rig, const std::string& cluster);

// The highest number that the instance which the spool now has was given; 0: none. `instance` is set when there is one.
std::uint64_t NewestSpooled(DeliveryRig& rig, const std::string& cluster, std::string& instance);

// What the hub's store knows to be durable, and of which instance.
model::DurablePosition StoredPosition(const DeliveryRig& rig, const std::string& cluster, std::string& instance);

// Waits until all that these clusters produced before the call is durable, or in a gap. Empty; else what is not.
std::string WaitUntilDurable(DeliveryRig& rig, const std::vector<std::string>& clusters, std::chrono::seconds limit);

// Freezes the collector, looks, lets it go on. Everything must run.
DeliveryVerdict ProveDelivery(DeliveryRig& rig, const std::string& cluster);

}  // namespace clusterpulse::testing
