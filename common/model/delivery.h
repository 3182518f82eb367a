#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"

// What collector and hub tell each other besides batches: values of the protocol that delivery.md describes. Wire form:
// common/wire.
namespace clusterpulse::model {

// Inclusive, first <= last.
struct SeqRange {
  std::uint64_t first = 0, last = 0;
  bool operator==(const SeqRange&) const = default;
};

// Why there is a hole in a cluster's history. delivery.md 8.
enum class GapCause {
  kCollectorDown,
  kCollectorLost,
  kLinkDown,
  kSpoolOverflow,
  kRejected,
  kStoreDown,
  kListFailed,
  kTruncated,
};
// "collector_down", ...: as documents, metrics and people have it.
std::string_view ToString(GapCause cause);
std::optional<GapCause> ParseGapCause(std::string_view text);

// A hole: nothing is known between two moments. With numbers: of these batches, `from` and `to` are the collection
// times of the first and the last. Without (0, 0): nothing was made; the times are those of what is known before and
// after.
struct Gap {
  SeqRange seqs;
  base::SystemTime from{}, to{};
  GapCause cause = GapCause::kCollectorDown;
  bool operator==(const Gap&) const = default;
};

// What a store took at `until` or before survives a crash of it, if `continuity` is what it was before it was handed
// over: it changes whenever what was taken may have been lost.
struct DurableMark {
  std::uint64_t continuity = 0;
  base::SteadyTime until = base::SteadyTime::max();
};

// Which batches of one instance are durable: all up to `low`, and these above it, ascending and apart.
struct DurablePosition {
  std::uint64_t low = 0;
  std::vector<SeqRange> ranges;
  bool operator==(const DurablePosition&) const = default;
};

// Capabilities: what a side understands beyond upstream. A behaviour is used only when both sides listed it.
struct Capabilities {
  bool delivery = false;       // Welcome, DeliveryAck, Replay, credits
  bool parts = false;          // batches in parts
  bool config_report = false;  // ConfigReport
  bool operator==(const Capabilities&) const = default;
};
// What both have.
inline Capabilities Common(const Capabilities& a, const Capabilities& b) {
  return {a.delivery && b.delivery, a.parts && b.parts, a.config_report && b.config_report};
}

// The first message of a collector.
struct Registration {
  std::string cluster, token, version;
  std::string instance;           // empty: an upstream collector
  SeqRange held{};                // held and not known to be durable; 0, 0: nothing
  std::uint64_t durable_low = 0;  // what it was told durable
  std::vector<SeqRange> durable;  // and above that
  std::vector<Gap> gaps;          // with numbers, which the hub has not told durable yet
  Capabilities capabilities;
  std::string config_hash;           // empty: none
  std::chrono::seconds interval{0};  // 0: not told
  bool operator==(const Registration&) const = default;
};

// A sign of life, every 30 s.
struct Heartbeat {
  std::string cluster;
  std::optional<base::SystemTime> sent_at;
  std::chrono::seconds uptime{0};
  std::int32_t buffered_batches = 0;
  std::uint64_t buffered_bytes = 0;
  std::optional<base::SystemTime> oldest_buffered;
  std::uint64_t last_seq = 0;
  std::chrono::milliseconds last_collection{0};
  std::string degraded;              // what could not be read at the last collection; empty: nothing
  std::vector<Gap> gaps;             // as in Registration
  std::chrono::seconds interval{0};  // 0: not told
  bool operator==(const Heartbeat&) const = default;
};

struct ConfigReport {
  std::string hash;
  std::vector<std::string> problems;
  bool operator==(const ConfigReport&) const = default;
};

// What the hub wants a collector to do.
struct CollectorConfig {
  std::vector<std::string> metric_sources;    // compiled documents, JSON
  std::chrono::seconds interval{0};           // 0: the collector's own
  std::chrono::seconds operator_interval{0};  // 0: the collector's own
  std::int32_t max_nodes = 0;                 // 0: not told
  std::int64_t max_bytes_per_second = 0;      // 0: not told
  std::string hash;                           // names the rest
  bool operator==(const CollectorConfig&) const = default;
};

// What may be in flight: sent, and neither applied nor rejected.
struct Credits {
  std::uint32_t batches = 0;
  std::uint64_t bytes = 0;
  bool operator==(const Credits&) const = default;
};

// The hub's first message to a collector that understands it.
struct Welcome {
  std::string hub, version;
  std::uint64_t epoch = 0;
  DurablePosition durable;
  Credits credits;
  Capabilities capabilities;
  std::uint64_t max_message_bytes = 0, max_batch_bytes = 0;  // 0: not told
  CollectorConfig config;
  std::uint64_t last_seq = 0;  // of the instance, whose state is written; 0: none
  bool operator==(const Welcome&) const = default;
};

struct Rejection {
  std::uint64_t seq = 0;
  std::string reason;
  bool operator==(const Rejection&) const = default;
};

struct DeliveryAck {
  std::vector<SeqRange> applied;    // since the last one
  DurablePosition durable;          // all
  std::vector<Rejection> rejected;  // since the last one
  std::chrono::milliseconds retry_after{0};
  std::optional<Credits> credits;  // absent: as before
  bool operator==(const DeliveryAck&) const = default;
};

struct Replay {
  std::string instance;
  SeqRange range;
  bool operator==(const Replay&) const = default;
};

// To an upstream collector, for each batch.
struct UpstreamAck {
  std::string batch_id;
  bool success = true;
  std::string error;
  bool operator==(const UpstreamAck&) const = default;
};

}  // namespace clusterpulse::model
