#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "hub/history/history_writer.h"
#include "hub/ingest/flight_budget.h"
#include "hub/ingest/metrics.h"
#include "hub/ingest/peer_log.h"
#include "hub/ingest/ports.h"

namespace clusterpulse::ingest {

// Which stream of this replica holds which cluster. Thread-safe.
class LocalStreams {
 public:
  virtual ~LocalStreams() = default;
  // Whether the stream with this epoch lives here.
  virtual bool Has(const std::string& cluster, std::uint64_t epoch) const = 0;
  // Makes `stream` the holder; the one before is told that `who` has its place. False: a newer one is there already.
  virtual bool Claim(const std::string& cluster, std::uint64_t epoch, std::uint64_t stream, const std::string& who) = 0;
  // `stream` has ended; nothing if it is not the holder.
  virtual void Release(const std::string& cluster, std::uint64_t stream) = 0;
};

// What all sessions of a replica share; outlives them.
struct Services {
  std::string hub, version;
  const ClusterDirectory& clusters;
  Authenticator& authenticator;
  CollectorData& data;
  LocalStreams& local;
  FlightBudget& budget;
  const base::Clock& clock;
  base::Random& random;
  const PeerLog& log;
  const Metrics& metrics;
  history::HistoryWriter* history = nullptr;     // null: off
  const SourceResults* sources = nullptr;        // null: no metric sources, results for any are dropped
  std::chrono::milliseconds write_limit{60000};  // a peer that takes no message for so long is ended
};

}  // namespace clusterpulse::ingest
