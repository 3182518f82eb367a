#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include <absl/status/statusor.h>

#include "common/model/batch.h"
#include "common/model/delivery.h"

// The bytes of the stream <-> model values: what the edges of both programs use, so that nothing behind them sees
// protobuf. Stateless and thread-safe.
//
// Errors of Decode: kDataLoss: the bytes are no such message (or hold text that is not UTF-8); kInvalidArgument: a
// field breaks a rule (batch_codec.h), the message names it.
namespace clusterpulse::wire {

inline constexpr std::size_t kMaxUpstreamMessage = std::size_t{4} << 20;  // what both sides of upstream read
inline constexpr std::size_t kMaxOwnMessage = std::size_t{1} << 20;       // what ours send at most

inline constexpr std::string_view kConnectMethod = "/clusterpulse.collector.v1.CollectorService/Connect";

// A payload this version does not know, or none: skipped by both sides.
struct Unknown {
  bool operator==(const Unknown&) const = default;
};

// A batch that breaks a rule: nothing of it may be used, but its sender can be told which one it was.
struct BadBatch {
  std::string cluster, id;
  std::uint64_t seq = 0;
  absl::Status reason;  // kInvalidArgument
};

using FromCollector =
    std::variant<Unknown, model::Registration, model::Batch, BadBatch, model::Heartbeat, model::ConfigReport>;
using FromHub = std::variant<Unknown, model::Welcome, model::DeliveryAck, model::Replay, model::CollectorConfig,
                             model::UpstreamAck>;

absl::StatusOr<FromCollector> DecodeFromCollector(std::string_view bytes);

// What a batch says of itself and how much it holds; what it holds may still be broken.
struct BatchHead {
  model::Batch batch;  // without snapshot and sources
  std::size_t nodes = 0, sources = 0, rows = 0;
};
// DecodeFromCollector, with as little of a batch looked at as tells what to do with it: a hundredth of the time.
using EnvelopeFromCollector =
    std::variant<Unknown, model::Registration, BatchHead, BadBatch, model::Heartbeat, model::ConfigReport>;
absl::StatusOr<EnvelopeFromCollector> DecodeEnvelope(std::string_view bytes);
// The batch in these bytes. kDataLoss also when they are another message.
absl::StatusOr<model::Batch> DecodeBatch(std::string_view bytes);

absl::StatusOr<FromHub> DecodeFromHub(std::string_view bytes);

std::string Encode(const model::Registration& message);
std::string Encode(const model::Batch& message);
std::string Encode(const model::Heartbeat& message);
std::string Encode(const model::ConfigReport& message);

// A batch encoded once, to be sent later and perhaps again. Its body is all of it but what only a sending decides
// (Stamp). Bodies of several batches, one after the other, are the body of one: lists are joined, of single values the
// last counts.
std::string EncodeBody(const model::Batch& batch);
struct Stamp {
  std::uint64_t seq = 0;
  std::chrono::milliseconds age{0};
  bool history_only = false;
  std::uint32_t part = 0, parts = 0;
};
inline constexpr std::size_t kMostStampBytes = 64;  // a message is at most so much larger than its body
std::string BatchMessage(std::string_view body, const Stamp& stamp);

std::string Encode(const model::Welcome& message);
std::string Encode(const model::DeliveryAck& message);
std::string Encode(const model::Replay& message);
std::string Encode(const model::CollectorConfig& message);
std::string Encode(const model::UpstreamAck& message);

}  // namespace clusterpulse::wire
