#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hub/ingest/sample_waits.h"
#include "hub/reconcile/cluster/cluster_reconciler.h"
#include "hub/reconcile/cluster/credentials.h"
#include "hub/reconcile/cluster/gap_watch.h"
#include "hub/reconcile/cluster/push.h"

// Private to ClusterReconciler: what its sources share (cluster_reconciler.cc, pull_pass.cc, push_pass.cc).
namespace clusterpulse::reconcile {

inline constexpr std::chrono::seconds kHubCallTimeout{10};
inline constexpr std::chrono::seconds kLongestRetry{60};  // after a failure, however long the interval
inline constexpr std::chrono::seconds kHubTrouble{10};    // store or hub API failed: come back soon
inline constexpr double kJitter = 0.05;                   // of the wait, so that a fleet does not pull in step

using Reported = std::pair<model::Phase, model::Health>;

inline kube::CallOptions HubCall(std::stop_token stop) { return {kHubCallTimeout, stop}; }

// Confined to the passes of its key, of which there is one at a time.
struct ClusterReconciler::Cluster {
  std::string uid;
  std::string endpoint;            // what is known below is of; empty: nothing is known yet
  std::string stored_endpoint;     // what the store holds is of, and the status says so; empty: not known
  bool status_is_foreign = false;  // the object's status still tells what was read at another endpoint
  // The writers' positions (delivery.md 2), by role; epoch 0: to be acquired.
  struct Writer {
    std::uint64_t epoch = 0, seq = 0;
  };
  std::map<store::WriterRole, Writer> writers;
  // When what is read rarely was last read and stored.
  std::optional<base::SteadyTime> info_stored, operators_stored;
  // The Secret as last read.
  kube::ObjectKey secret;
  std::optional<SecretContent> secret_content;

  std::optional<Facts> facts;
  std::optional<base::SteadyTime> facts_read, cluster_operators_read;
  std::optional<base::SystemTime> last_sync, last_attempt;
  std::optional<Failure> last_failure;  // of the last call to the cluster; said again while the breaker is open
  bool ever_reached = false;
  std::string sync_now;  // the annotation's value that was acted on

  // Why the hub cannot read the cluster, and since when.
  struct Outage {
    model::GapCause cause = model::GapCause::kLinkDown;
    base::SystemTime from{};
  };

  // Push mode: what was last read of the collector, and what followed from it.
  struct Push {
    bool looked = false;
    store::StoredPosition position;  // of the data's writer, read before the rest
    store::CollectorState::Seen seen;
    base::SteadyTime changed_at{};  // when the presence was first seen as it is
    bool seen_to_change = false;    // it moved since this process looks
    // What the record's data is of, by our clock, and when that was first seen: its age, whatever clocks do.
    base::SystemTime data_at{};
    base::SteadyTime data_seen_at{};
    std::chrono::nanoseconds DataAge(base::SystemTime now, base::SteadyTime steady) const {
      return std::max<std::chrono::nanoseconds>(now - data_at, steady - data_seen_at);
    }
    CollectorVerdict verdict;
    bool was_known = false;       // a collector was there once
    bool falling_back = false;    // this process reads the cluster, as its writer
    bool own_token_used = false;  // outlives the Secret that says so
    // The holes of the history, as in `seen`.
    std::string gaps_read;
    store::GapLedger gaps;
  };
  Push push;
  GapWatch gap_watch;

  // What the hub itself reads of the cluster is written to the history.
  struct Samples {
    ingest::SampleWaits waits = ingest::SampleWaits(nullptr);
    bool looked = false;                   // what was stored of them is known, and nobody else has written since
    std::uint64_t count = 0;               // written
    std::optional<base::SystemTime> last;  // when those that were written last were read
    std::optional<Outage> outage;          // since then nothing could be read
    std::vector<model::Gap> gaps;          // not in the ledger yet
    bool link_ended = false;               // no collector is waited for any more: not in the ledger yet
    store::GapLedger ledger;               // as it was stored last, when looked
  };
  Samples samples;

  std::vector<runtime::Condition> conditions;  // as last decided
  std::optional<Reported> reported;            // in the status; a change is an event
  std::optional<Reported> stored;              // in the store, by this process
  bool passed_before = false;
};

struct ClusterReconciler::Pass {
  const ClusterConnection& connection;
  Cluster& cluster;
  std::stop_token stop;
  base::SystemTime now;
  Judgement judgement;

  bool forced = false;                    // sync-now
  bool attempted = false;                 // the cluster was called
  PullResult pull;                        // when attempted
  std::shared_ptr<kube::KubeApi> client;  // by which it was
  std::optional<Failure> failure;
  std::optional<std::chrono::nanoseconds> breaker_opens_in;
  Verdict verdict;
  absl::Status store;
  bool superseded = false;             // the object went while the pass ran: nothing may be said or written any more
  bool is_push = false;                // a collector has the data
  bool stream_came = false;            // ... and just took it: look again
  std::vector<Announcement> gap_news;  // about the history

  const std::string& name() const { return connection.meta.name; }
  bool has_data() const { return attempted && !failure.has_value(); }
  Reported to_report() const { return {verdict.phase, verdict.health}; }
};

}  // namespace clusterpulse::reconcile
