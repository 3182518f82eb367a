#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/model/batch.h"
#include "common/model/delivery.h"
#include "hub/store/durable_batches.h"
#include "hub/store/gap_ledger.h"
#include "hub/store/presence.h"
#include "hub/store/state_store.h"

// What the ingester needs of the rest of the hub. Composed in hub/app; fakes in hub/ingest/testing.
namespace clusterpulse::ingest {

// What the hub takes of one cluster; 0: no limit.
struct Limits {
  std::int32_t max_nodes = 0, max_rows = 0;
  std::int64_t max_bytes_per_second = 0;
  bool operator==(const Limits&) const = default;
};

// A cluster as its ClusterConnection describes it now.
struct ClusterPolicy {
  std::string uid;                // of the object: another one of the same name is another cluster
  std::string refusal;            // why no collector is wanted ("is in pull mode"); empty: one is
  model::CollectorConfig config;  // with its hash
  Limits limits;
  bool operator==(const ClusterPolicy&) const = default;
};

// Thread-safe; answers from memory.
class ClusterDirectory {
 public:
  virtual ~ClusterDirectory() = default;
  // Nullopt: there is no such ClusterConnection.
  virtual std::optional<ClusterPolicy> Find(const std::string& cluster) const = 0;
};

// What a stream proved itself with.
struct Credential {
  std::array<std::uint8_t, 32> digest{};  // SHA-256 of the token
  bool bootstrap = false;                 // the managed cluster's own token, as upstream collectors send it
  bool operator==(const Credential&) const = default;
};

// kUnknown: what it was compared with may have changed, only Verify can tell.
enum class Validity { kValid, kRevoked, kUnknown };

// Thread-safe.
class Authenticator {
 public:
  virtual ~Authenticator() = default;
  // kUnauthenticated: no token, a wrong one, or a cluster that does not exist (one code for all, the message for our
  // log says which); kUnavailable: it cannot be told now, the collector should try again. May block for a call to the
  // hub's API server.
  virtual absl::StatusOr<Credential> Authenticate(const std::string& cluster, std::string_view token) = 0;
  // Whether a credential that was accepted still is, as far as memory tells.
  virtual Validity Check(const std::string& cluster, const Credential& credential) const = 0;
  // The same, looked up where memory does not tell: ok, or errors as Authenticate. May block as that does.
  virtual absl::Status Verify(const std::string& cluster, const Credential& credential) = 0;
};

// Where a cluster's writer stands, and what a new stream continues from.
struct Position {
  std::uint64_t epoch = 0;
  std::string instance;  // whose numbers the rest is about
  std::uint64_t state_seq = 0;
  store::DurableBatches durable;
};

// What a stream has heard of holes in its cluster's history.
struct GapNews {
  std::string instance;  // whose numbers the gaps have
  std::vector<model::Gap> gaps;
  // What became of the hole that began when the link was lost, if one did; absent: nothing yet.
  std::optional<store::GapLedger::LinkEnd> link = std::nullopt;
  base::SystemTime at{};  // when the link was back
};

// What the hub makes of what collectors send of MetricSources. Thread-safe; answers from memory.
class SourceResults {
 public:
  virtual ~SourceResults() = default;
  // Leaves those results that are wanted of the cluster, checked, and complete also when an upstream collector sent
  // them. Returns how many went.
  virtual std::size_t Complete(model::Batch& batch) const = 0;
  // How often the source is to be run.
  virtual std::chrono::seconds Interval(const std::string& source) const = 0;
};

// Writes one cluster for one stream, as the cluster's writer under the epoch it was made with. Confined to one thread
// at a time; calls block for at most the store's deadline. Errors as StateStore; kFenced: a newer stream or the puller
// has the cluster, or the store lost it.
class ClusterWriter {
 public:
  virtual ~ClusterWriter() = default;

  // The state of a batch, judged and written as documents in one atomic step, with `durable` (of position.instance) as
  // the position to continue from, and the holes that the batch tells of. What the batch does not carry (failed lists,
  // things read rarely) stays. `data_at`: when the data was true by the hub's clock. REQUIRES: position.epoch is that
  // of this writer.
  virtual absl::StatusOr<store::ApplyResult> Apply(const store::WriterPosition& position, const model::Batch& batch,
                                                   base::SystemTime data_at, const store::DurableBatches& durable) = 0;
  // Remembers `durable` alone, for a stream that is idle or only sends history.
  virtual absl::StatusOr<store::ApplyResult> PutDurable(const std::string& instance,
                                                        const store::DurableBatches& durable) = 0;
  // Adds to the ledger of holes what it does not have yet.
  virtual absl::StatusOr<store::ApplyResult> PutGaps(const GapNews& news) = 0;
  // REQUIRES: presence.epoch is that of this writer.
  virtual absl::StatusOr<store::ApplyResult> PutPresence(const store::Presence& presence) = 0;
};

// The state of pushed clusters. Thread-safe; otherwise as ClusterWriter.
class CollectorData {
 public:
  virtual ~CollectorData() = default;

  // Where the cluster stands; zeroes when nothing is known.
  virtual absl::StatusOr<Position> ReadPosition(const std::string& cluster) = 0;
  // Makes the caller the cluster's writer, fencing all before it; `epoch` is what it got.
  virtual absl::StatusOr<std::unique_ptr<ClusterWriter>> TakeOver(const std::string& cluster, std::uint64_t& epoch) = 0;

  virtual absl::StatusOr<std::optional<store::Presence>> ReadPresence(const std::string& cluster) = 0;
  // Notes that a stream was kept out, whoever holds the cluster.
  virtual absl::Status NoteRefused(const std::string& cluster, const store::Presence::Rival& rival) = 0;

  // When what Apply wrote survives a crash of the store (StateStore).
  virtual std::chrono::milliseconds DurableAfter() const = 0;
  virtual model::DurableMark Durable() const = 0;
};

}  // namespace clusterpulse::ingest
