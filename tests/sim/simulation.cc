#include "tests/sim/simulation.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "common/base/time_format.h"
#include "hub/ingest/testing/fakes.h"
#include "hub/store/collector_documents.h"
#include "hub/store/gap_ledger.h"
#include "hub/store/keys.h"
#include "tests/sim/delivery_log.h"
#include "tests/sim/history_model.h"
#include "tests/sim/model_checker.h"
#include "tests/sim/network.h"
#include "tests/sim/redis_model.h"
#include "tests/sim/sim_collector.h"
#include "tests/sim/sim_hub.h"
#include "tests/sim/world.h"

namespace clusterpulse::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

// More within one virtual second is a loop that makes no progress.
constexpr std::uint64_t kMostActionsASecond = 200'000;
constexpr minutes kSettleLimit{20}, kOutageSettleLimit{240};  // thousands of batches, through a queue of a few
constexpr minutes kStillBusy{2}, kRestInterval{10};
constexpr seconds kLook{5};
constexpr std::uint64_t kRivalValue = 1'000'000;

class Simulation {
 public:
  explicit Simulation(const Options& options)
      : options_(options),
        world_(options.seed, options.verbose),
        shape_{.collectors = 1 + world_.Below(3),
               .rivals = world_.Chance(0.25) && options.outage.count() == 0 ? std::size_t{1} : 0,
               .hubs = 1 + world_.Below(2),
               .length = world_.Between(minutes(5), minutes(25)),
               .between_faults = world_.Between(seconds(10), minutes(4)),
               .max_batches = 1 + world_.Below(30),
               .has_spool = world_.Chance(0.85) || options.outage.count() > 0,
               .spool_bytes =
                   options.outage.count() > 0 ? options.outage_spool_bytes : std::uint64_t{1} << (15 + world_.Below(6)),
               .has_history = world_.Chance(0.9) || options.outage.count() > 0,
               .history = {.queue_batches = 2 + world_.Below(40), .body_batches = 1 + world_.Below(8)}},
        network_(world_, shape_.collectors + shape_.rivals, shape_.hubs),
        redis_(world_),
        history_(world_, options.history_unwritten) {
    for (std::size_t i = 0; i < shape_.hubs; ++i) {
      hubs_.push_back(
          std::make_unique<SimHub>(SimHub::Shared{world_, network_, redis_, shape_.has_history ? &history_ : nullptr,
                                                  shape_.history, clusters_, authenticator_},
                                   i));
    }
    for (std::size_t i = 0; i < shape_.collectors + shape_.rivals; ++i) {
      const bool is_rival = i >= shape_.collectors;
      const std::string cluster = fmt::format("cluster-{}", is_rival ? i - shape_.collectors : i);
      (is_rival ? rivals_ : collectors_)
          .push_back(
              std::make_unique<SimCollector>(world_, network_, log_, i, shape_.hubs,
                                             SimCollector::Options{.cluster = cluster,
                                                                   .first_value = is_rival ? kRivalValue : 1,
                                                                   .max_batches = shape_.max_batches,
                                                                   .has_spool = shape_.has_spool,
                                                                   .spool_bytes = shape_.spool_bytes,
                                                                   .segment_bytes = shape_.spool_bytes / 8},
                                             [this](const SimCollector& collector, const std::string& instance,
                                                    const Kept& kept) { CheckDisk(collector, instance, kept); }));
      clusters_.Put(cluster, {.uid = "uid-" + cluster, .config = {.interval = seconds(30), .hash = "h1"}});
      authenticator_.Put(cluster, "s3cret");
    }
  }

  Result Run() {
    for (const auto& hub : hubs_) hub->Start();
    for (const auto& collector : collectors_) {
      world_.After(world_.Between(seconds(0), seconds(10)), [&c = *collector] { c.Start(); });
    }
    if (options_.outage.count() > 0) {
      Pass(minutes(2));
      Fault("all hubs are gone");
      for (const auto& hub : hubs_) hub->Kill(false);
      Pass(options_.outage);
    } else {
      ScheduleFault();
      Pass(shape_.length);
    }
    Heal();
    Settle();
    return Finish();
  }

 private:
  struct Shape {
    std::size_t collectors, rivals, hubs;
    Duration length, between_faults;
    std::size_t max_batches;
    bool has_spool;
    std::uint64_t spool_bytes;
    bool has_history;
    SimHistoryWriter::Options history;
  };

  // False: stuck.
  bool Pass(Duration time) {
    for (const base::SteadyTime until = world_.now() + time; world_.now() < until && failures_.empty();) {
      if (!world_.RunUntil(std::min(until, world_.now() + Duration(seconds(1))), kMostActionsASecond)) {
        failures_.push_back("stuck: too many actions within a second");
      }
    }
    return failures_.empty();
  }

  // --- faults ---

  SimHub& AnyHub() { return *hubs_[world_.Below(hubs_.size())]; }
  SimCollector& AnyCollector() { return *collectors_[world_.Below(collectors_.size())]; }
  void Fault(std::string_view what) {
    ++faults_;
    world_.Log("--- {}", what);
  }
  // Undone by Heal too, which comes first if the time is over.
  void Later(Duration least, Duration most, std::function<void()> undo) {
    world_.After(world_.Between(least, most), [this, undo = std::move(undo)] {
      if (!is_healed_) undo();
    });
  }

  void ScheduleFault() {
    world_.After(world_.Delay(shape_.between_faults), [this] {
      if (is_healed_) return;
      OneFault();
      if (world_.Chance(0.3)) OneFault();  // pairs
      ScheduleFault();
    });
  }

  void OneFault() {
    if (!rivals_.empty() && world_.Chance(0.12)) {
      SimCollector& rival = *rivals_[world_.Below(rivals_.size())];
      if (rival.is_up()) return;
      Fault("a second collector of a cluster starts");
      rival.Start();
      return Later(seconds(2), minutes(3), [&rival] { rival.Kill(false); });
    }
    // The last ones only where there is what they break.
    std::uint64_t which = world_.Below(23);
    if ((which >= 15 && which < 18 && !shape_.has_spool) || (which >= 18 && !shape_.has_history))
      which = world_.Below(15);
    switch (which) {
      case 0: {
        SimHub& hub = AnyHub();
        Fault("a hub dies");
        hub.Kill(world_.Chance(0.3));
        return Later(milliseconds(100), seconds(90), [&hub] { hub.Start(); });
      }
      case 1: {
        SimHub& hub = AnyHub();
        Fault("a hub is stopped");
        hub.Stop();
        return Later(seconds(6), seconds(60), [&hub] { hub.Start(); });
      }
      case 2: {
        SimCollector& collector = AnyCollector();
        if (shape_.has_spool && world_.Chance(0.4)) {
          Fault("a collector will die while it writes");
          collector.KillInChange(1 + world_.Below(12));
        } else {
          Fault("a collector dies");
          collector.Kill(world_.Chance(0.5));
          if (world_.Chance(0.2)) collector.FlipBit();
        }
        return Later(seconds(40), minutes(4), [&collector] { collector.Start(); });
      }
      case 3: {
        SimCollector& collector = AnyCollector();
        Fault("a collector is stopped");
        collector.Stop();
        return Later(seconds(8), minutes(4), [&collector] { collector.Start(); });
      }
      case 4:
      case 5: {
        Fault("streams are reset");
        for (const auto& connection : network_.Find([](const Connection&) { return true; })) {
          if (world_.Chance(0.7)) connection->Reset();
        }
        return;
      }
      case 6:
      case 7:
        return CutWays();
      case 8: {
        Fault("redis dies");
        is_redis_whole_ = false;
        redis_.Crash(world_.Chance(0.3) ? Duration() : world_.Between(seconds(0), seconds(2)));
        return Later(milliseconds(50), world_.Chance(0.5) ? seconds(3) : seconds(90), [this] { redis_.Start(); });
      }
      case 9: {
        Fault("redis hangs");
        redis_.SetFrozen(true);
        return Later(milliseconds(500), seconds(40), [this] { redis_.SetFrozen(false); });
      }
      case 10: {
        SimHub& hub = AnyHub();
        Fault("a hub is cut off from redis");
        hub.SetStoreCut(true);
        return Later(milliseconds(500), seconds(120), [&hub] { hub.SetStoreCut(false); });
      }
      case 11: {
        Fault("connections to redis break");
        SimHub& hub = AnyHub();
        hub.SetStoreBreaks(5 + world_.Below(300));
        return Later(seconds(5), minutes(3), [&hub] { hub.SetStoreBreaks(0); });
      }
      case 12: {
        Fault("redis is slow");
        SimHub& hub = AnyHub();
        hub.SetStoreSlow(world_.Between(milliseconds(20), seconds(2)));
        return Later(seconds(5), minutes(2), [&hub] { hub.SetStoreSlow(std::chrono::microseconds(200)); });
      }
      case 13: {
        Fault("the network is slow");
        network_.SetLatency(world_.Between(milliseconds(20), seconds(3)));
        return Later(seconds(5), minutes(2), [this] { network_.SetLatency(milliseconds(1)); });
      }
      case 14:
        return StepClock();
      case 15: {
        SimCollector& collector = AnyCollector();
        Fault("a disk is full");
        collector.DiskIsHarmed();
        collector.disk().SetCapacity(collector.disk().TotalBytes() + world_.Below(2000));
        return Later(seconds(5), minutes(6), [&collector] { collector.disk().SetCapacity(~std::uint64_t{0}); });
      }
      case 16: {
        SimCollector& collector = AnyCollector();
        Fault("a disk fails");
        collector.DiskIsHarmed();
        const double share = world_.Chance(0.5) ? 1 : 0.2;
        collector.disk().SetFault([this, share](spool::FakeFileSystem::Call, const std::string&) {
          return world_.Chance(share) ? absl::UnavailableError("input/output error") : absl::OkStatus();
        });
        return Later(seconds(5), minutes(4), [&collector] { collector.disk().SetFault(nullptr); });
      }
      case 17: {
        SimCollector& collector = AnyCollector();
        Fault("a collector restarts at once");
        collector.Kill(world_.Chance(0.5));
        collector.Start();
        return;
      }
      case 18:
      case 19: {
        Fault("the history store dies");
        history_.Kill();
        if (world_.Chance(0.3)) FlapHistory(2 + world_.Below(4));
        return Later(milliseconds(50), world_.Chance(0.6) ? seconds(3) : minutes(3), [this] { history_.Start(); });
      }
      case 20: {
        Fault("the history store hangs");
        history_.SetFrozen(true);
        return Later(milliseconds(500), minutes(2), [this] { history_.SetFrozen(false); });
      }
      case 21: {
        SimHub& hub = AnyHub();
        Fault("a hub is cut off from the history store");
        hub.SetHistoryCut(true);
        return Later(milliseconds(500), minutes(3), [&hub] { hub.SetHistoryCut(false); });
      }
      default: {
        SimHub& hub = AnyHub();
        if (world_.Chance(0.3)) {
          Fault("the history store refuses some");
          history_.SetRefuses(10 + world_.Below(200));
          return Later(seconds(5), minutes(3), [this] { history_.SetRefuses(0); });
        }
        Fault("the history store is slow");
        hub.SetHistorySlow(world_.Between(milliseconds(50), seconds(20)));
        return Later(seconds(5), minutes(3), [&hub] { hub.SetHistorySlow(milliseconds(2)); });
      }
    }
  }

  // Starts and dies several times, within the second by which its starts are told apart.
  void FlapHistory(std::uint64_t times) {
    if (times == 0) return;
    Later(milliseconds(20), milliseconds(400), [this, times] {
      history_.Start();
      Later(milliseconds(20), milliseconds(1200), [this, times] {
        history_.Kill();
        FlapHistory(times - 1);
      });
    });
  }

  void CutWays() {
    const bool to_hub = world_.Chance(0.7), to_collector = !to_hub || world_.Chance(0.7);
    const std::uint64_t which = world_.Below(3);  // one collector, one hub, one way
    const std::size_t collector = world_.Below(collectors_.size()), hub = world_.Below(hubs_.size());
    Fault(fmt::format("ways are cut{}{}", to_hub ? ", to the hub" : "", to_collector ? ", to the collector" : ""));
    for (std::size_t c = 0; c < collectors_.size(); ++c) {
      for (std::size_t h = 0; h < hubs_.size(); ++h) {
        const bool is_meant = which == 0 ? c == collector : which == 1 ? h == hub : c == collector && h == hub;
        if (!is_meant) continue;
        network_.SetCut(c, h, to_hub, to_collector);
        const bool flaps = world_.Chance(0.3);
        Later(milliseconds(200), flaps ? seconds(3) : seconds(180), [this, c, h, flaps, to_hub, to_collector] {
          network_.SetCut(c, h, false, false);
          if (!flaps) return;
          Later(milliseconds(200), seconds(3), [this, c, h, to_hub, to_collector] {
            network_.SetCut(c, h, to_hub, to_collector);
            Later(milliseconds(200), seconds(60), [this, c, h] { network_.SetCut(c, h, false, false); });
          });
        });
      }
    }
  }

  void StepClock() {
    const Duration by = world_.Chance(0.5) ? std::chrono::hours(1) : -std::chrono::hours(1);
    Fault(fmt::format("a clock is stepped by {} h", by / std::chrono::hours(1)));
    HostClock& clock = world_.Chance(0.5) ? AnyHub().clock() : AnyCollector().clock();
    clock.Step(by);
    if (world_.Chance(0.5)) Later(seconds(1), minutes(5), [&clock] { clock.Correct(); });
  }

  // --- the end ---

  void Heal() {
    is_healed_ = true;
    world_.Log("--- all is healed");
    redis_.Start();
    redis_.SetFrozen(false);
    history_.Start();
    history_.SetFrozen(false);
    history_.SetRefuses(0);
    network_.SetLatency(milliseconds(1));
    for (std::size_t c = 0; c < shape_.collectors + shape_.rivals; ++c) {
      for (std::size_t h = 0; h < hubs_.size(); ++h) network_.SetCut(c, h, false, false);
    }
    for (const auto& hub : hubs_) {
      hub->SetStoreCut(false);
      hub->SetStoreBreaks(0);
      hub->SetStoreSlow(std::chrono::microseconds(200));
      hub->SetHistoryCut(false);
      hub->SetHistorySlow(milliseconds(2));
    }
    for (const auto& collector : collectors_) {
      collector->disk().SetCapacity(~std::uint64_t{0});
      collector->disk().SetFault(nullptr);
    }
    for (const auto& rival : rivals_) rival->Kill(false);
    StartAll();
  }

  // Also what is stopping and will be gone in a moment.
  void StartAll() {
    for (const auto& hub : hubs_) hub->Start();
    for (const auto& collector : collectors_) collector->Start();
  }

  void Settle() {
    const base::SteadyTime limit =
        world_.now() + Duration(options_.outage.count() > 0 ? kOutageSettleLimit : kSettleLimit);
    Pass(kStillBusy);
    // From here on there are times at which all that was made is durable.
    for (const auto& collector : collectors_) collector->SetInterval(kRestInterval);
    std::vector<Violation> violations;
    while (world_.now() < limit && Pass(kLook)) {
      StartAll();
      const bool is_settled = std::all_of(collectors_.begin(), collectors_.end(),
                                          [](const auto& collector) { return collector->is_settled(); });
      if (!is_settled) continue;
      violations = Check(log_, Account(), {.is_settled = true, .remembers_all = is_redis_whole_});
      if (violations.empty()) return;
    }
    if (!failures_.empty()) return;
    Note(Check(log_, Account(), {.is_settled = true, .remembers_all = is_redis_whole_}));
  }
  void Note(const std::vector<Violation>& violations) {
    for (const Violation& violation : violations) {
      failures_.push_back(fmt::format("{}: {}", ToString(violation.breach), violation.text));
    }
  }

  // What was made before is on the disk, or it is known what became of it.
  void CheckDisk(const SimCollector& collector, const std::string& instance, const Kept& kept) {
    const auto known = log_.instances().find(instance);
    if (!collector.is_disk_harmed() && known != log_.instances().end()) {
      for (const Made& made : known->second.made) {
        // It may have got another number, which leaves a hole where it was.
        if (made.is_volatile || kept.collected_ms.contains(made.collected_ms)) continue;
        const bool has_another = std::any_of(known->second.made.begin(), known->second.made.end(), [&](const Made& m) {
          return m.collected_ms == made.collected_ms && m.seq != made.seq;
        });
        if (has_another) continue;
        const bool is_lost = std::any_of(kept.gaps.begin(), kept.gaps.end(), [&](const auto& gap) {
          return gap.cause == model::GapCause::kCollectorLost && gap.seqs.first <= made.seq &&
                 made.seq <= gap.seqs.last;
        });
        if (is_lost) failures_.push_back(fmt::format("forgotten: a sound disk lost {} of {}", made.seq, instance));
      }
    }
    Contents contents = Account();
    contents.kept = {{instance, kept}};
    Note(Check(log_, contents, {.is_settled = false}));
  }

  Contents Account() const {
    Contents contents;
    for (const auto& collector : collectors_) {
      Stored& stored = contents.clusters[collector->cluster()];
      stored.state = ReadState(collector->cluster());
      if (shape_.has_history) stored.history = history_.Export(collector->cluster());
      const std::string& cluster = collector->cluster();
      if (const RedisModel::Value* const text = redis_.Find(store::keys::Gaps(cluster))) {
        const auto ledger = store::GapLedger::Read(std::get<std::string>(text->data));
        for (const store::KnownGap& gap : ledger.gaps()) {
          if (!gap.to.has_value()) continue;  // open: nothing is known to be lost
          stored.ledger.push_back({gap.instance, gap.seqs, base::UnixMillis(gap.from), base::UnixMillis(*gap.to)});
        }
      }
      if (const RedisModel::Value* const text = redis_.Find(store::keys::Writer(cluster, store::WriterRole::kData))) {
        const auto& fields = std::get<RedisModel::Value::Hash>(text->data);
        if (const auto at = fields.find("instance"); at != fields.end()) stored.instance = at->second;
        if (const auto at = fields.find(std::string(store::keys::kWriterDurable)); at != fields.end()) {
          stored.durable = store::documents::ReadDurable(at->second);
        }
      }
      if (const auto kept = collector->Describe()) contents.kept.insert(*kept);
    }
    return contents;
  }

  std::string ReadState(const std::string& cluster) const {
    const RedisModel::Value* const node = redis_.Find(store::keys::Node(cluster, "n1"));
    if (node == nullptr) return {};
    constexpr std::string_view kName = "\"cpu_capacity\":";
    const std::string& text = std::get<RedisModel::Value::Hash>(node->data).at("current");
    const std::size_t at = text.find(kName);
    double value = 0;
    if (at != std::string::npos) std::from_chars(text.data() + at + kName.size(), text.data() + text.size(), value);
    return fmt::format("{}", value);
  }

  Result Finish() {
    for (const auto& rival : rivals_) rival->Kill(false);
    for (const auto& collector : collectors_) {
      collector->Kill(false);
      if (!collector->fault().empty()) failures_.push_back("HubTransport: " + collector->fault());
    }
    for (const std::string& failure : failures_) world_.Log("failure: {}", failure);
    if (!failures_.empty()) {
      for (const auto& [cluster, stored] : Account().clusters) {
        world_.Log("{}: position of {}: durable to {}", cluster, stored.instance, stored.durable.low);
        for (const Stored::LedgerGap& gap : stored.ledger) {
          world_.Log("{}: the ledger has {}..{} of {}", cluster, gap.seqs.first, gap.seqs.last, gap.instance);
        }
      }
    }
    std::uint64_t lost = 0;
    for (const auto& [cluster, stored] : Account().clusters) {
      for (const Stored::LedgerGap& gap : stored.ledger) lost += gap.seqs.last - gap.seqs.first + 1;
    }
    return {.seed = options_.seed,
            .log_hash = world_.log_hash(),
            .failures = failures_,
            .batches = log_.batches(),
            .faults = faults_,
            .actions = world_.actions(),
            .lost = lost,
            .virtual_seconds = std::chrono::duration<double>(world_.age()).count()};
  }

  const Options options_;
  World world_;
  const Shape shape_;
  DeliveryLog log_;
  ingest::FakeClusters clusters_;
  ingest::FakeAuthenticator authenticator_;
  Network network_;
  RedisModel redis_;
  VmModel history_;
  std::vector<std::unique_ptr<SimHub>> hubs_;
  std::vector<std::unique_ptr<SimCollector>> collectors_;
  std::vector<std::unique_ptr<SimCollector>> rivals_;  // of the first collectors; up for a while only
  bool is_healed_ = false, is_redis_whole_ = true;
  std::uint64_t faults_ = 0;
  std::vector<std::string> failures_;
};

}  // namespace

Result Run(const Options& options) { return Simulation(options).Run(); }

}  // namespace clusterpulse::sim
