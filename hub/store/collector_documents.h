#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/model/delivery.h"
#include "hub/store/durable_batches.h"
#include "hub/store/presence.h"
#include "hub/store/push_record.h"

// Our own documents of push mode: pure functions between values and text. Reading is lenient: a member that is missing
// or of another type counts as not told, so that replicas of two versions understand each other; nullopt only for what
// is no JSON object.
namespace clusterpulse::store::documents {

std::string OfPresence(const Presence& presence);  // without `refused`, which has a document of its own
std::optional<Presence> ReadPresence(std::string_view json);

std::string OfRival(const Presence::Rival& rival);
std::optional<Presence::Rival> ReadRival(std::string_view json);

std::string OfPushRecord(const PushRecord& record);
std::optional<PushRecord> ReadPushRecord(std::string_view json);

// "7,9-12,15": everything up to 7, and those ranges. What cannot be read ends the list: less is known to be durable,
// which is harmless.
std::string OfDurable(const model::DurablePosition& durable);
model::DurablePosition ReadDurable(std::string_view text);

// "1700000000000 1700000030000 2": Unix times in ms, batches. Empty: none; so is what cannot be read.
std::string OfHeld(const HeldSamples& held);
HeldSamples ReadHeld(std::string_view text);

}  // namespace clusterpulse::store::documents
