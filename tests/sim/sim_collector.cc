#include "tests/sim/sim_collector.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "collector/spool/spool.h"
#include "common/base/status.h"
#include "common/base/time_format.h"
#include "common/wire/messages.h"
#include "tests/sim/history_model.h"

namespace clusterpulse::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kStopLimit{7};
constexpr Duration kDiskWait = milliseconds(2);  // until what is to be written is
constexpr std::string_view kToken = "s3cret";
constexpr std::string_view kNode = "n1", kSpoolDir = "/spool";

}  // namespace

struct SimCollector::Process final : link::HubTransport::Events {
  Process(SimCollector& parent, std::uint64_t number)
      : collector(parent),
        world(parent.world_),
        id(number),
        instance(fmt::format("c{}-{}", parent.index_, number)),
        outbox(MakeOutboxOptions(), instance, parent.clock_),
        batcher({.cluster = parent.cluster_, .interval = parent.options_.interval}, MakePorts(), parent.clock_,
                world.random()),
        transport(parent.network_, parent.index_, fmt::format("10.0.0.{}:{}", parent.index_ + 1, 4000 + number),
                  [this] { return collector.preferred_hub_.value_or(world.Below(collector.hubs_)); },
                  {.on_event = [this] { StepLink(); },
                   .on_sent = [this](const std::string& bytes) { NoteSent(bytes); },
                   .on_received = [this](const std::string& bytes) { NoteReceived(bytes); }}),
        machine(MakeLinkOptions(), MakeCallbacks(), outbox, transport, *this, parent.clock_, world.random(), {},
                nullptr) {}

  collector::Batcher::Ports MakePorts() {
    return {.is_current = [] { return true; },
            .is_connected =
                [this] {
                  const link::LinkState state = machine.status().state;
                  return state == link::LinkState::kStreaming || state == link::LinkState::kWaiting;
                },
            .is_pending = [this] { return outbox.IsNewestPending(); },
            .observe = [this](bool full) { return Observe(full); },
            .deliver = [this](model::Batch batch, const std::vector<model::RowStream>&,
                              bool full) { Deliver(std::move(batch), full); }};
  }
  link::Outbox::Options MakeOutboxOptions() {
    link::Outbox::Options options{.max_batches = collector.options_.max_batches};
    if (!collector.options_.has_spool) return options;
    options.open_spool = [this] { return OpenSpool(); };
    options.on_disk_work = [this] { WakeDisk(); };
    return options;
  }
  absl::StatusOr<std::unique_ptr<spool::Spool>> OpenSpool() {
    auto opened = spool::Spool::Open({.dir = std::string(kSpoolDir),
                                      .max_bytes = collector.options_.spool_bytes,
                                      .segment_bytes = collector.options_.segment_bytes},
                                     collector.disk_, collector.clock_, world.random(), {});
    if (!opened.ok()) {
      world.Log("collector {} cannot open its spool: {}", collector.index_, base::Message(opened.status()));
      return opened;
    }
    const spool::Spool& spool = **opened;
    opened_instance = spool.instance();
    Kept kept{.gaps = spool.gaps()};
    for (const spool::Spool::Entry& entry : spool.entries()) {
      kept.seqs.push_back(entry.seq);
      kept.collected_ms.insert(base::UnixMillis(entry.collected_at));
    }
    world.Log("collector {} opens its spool {}: {} kept, {} gaps, next is {}, durable to {}", collector.index_,
              opened_instance, kept.seqs.size(), kept.gaps.size(), spool.next_seq(), spool.durable().low);
    collector.on_spool_(collector, opened_instance, kept);
    return opened;
  }
  // The numbers of a spool that was opened hold as soon as no stream knows others.
  void AdoptSpool() {
    if (!opened_instance.empty()) instance = std::exchange(opened_instance, {});
  }

  link::LinkOptions MakeLinkOptions() const {
    link::LinkOptions options;
    options.address = "hub:9443";
    options.cluster = collector.cluster_;
    options.version = "sim";
    options.token = [] { return std::string(kToken); };
    return options;
  }
  link::LinkCallbacks MakeCallbacks() {
    return {.on_full_batch =
                [this] {
                  batcher.Connected();
                  WakeBatcher(world.now());
                },
            .on_config = [](const model::CollectorConfig&) { return std::vector<std::string>(); },
            .heartbeat = [this] { return model::Heartbeat{.interval = collector.options_.interval}; }};
  }

  observe::Observation Observe(bool) {
    const double value = static_cast<double>(collector.options_.first_value + collector.made_++);
    observe::Observation observation;
    observation.is_complete = true;
    observation.snapshot.nodes.emplace();
    observation.snapshot.nodes->push_back(
        {.name = std::string(kNode), .status = model::NodeStatus::kReady, .cpu_capacity = value});
    observation.snapshot.counts = model::ClusterCounts{.nodes = 1, .nodes_ready = 1, .cpu_capacity = value};
    return observation;
  }

  void Deliver(model::Batch batch, bool full) {
    const double value = batch.snapshot.nodes->front().cpu_capacity;
    Made made{.collected_ms = base::UnixMillis(batch.collected_at), .state = fmt::format("{}", value)};
    for (Sample& sample : SamplesOf(batch)) made.samples.emplace_back(std::move(sample.series), sample.value);
    made.seq = outbox.Add(std::move(batch), full);
    const link::LinkState state = machine.status().state;
    if (state == link::LinkState::kIdle || state == link::LinkState::kBackingOff) AdoptSpool();
    // What the process is killed in is not safe yet, nor is it told anybody.
    made.is_volatile = !collector.options_.has_spool || !opened_instance.empty() || !outbox.SpoolTrouble().ok() ||
                       collector.disk_.is_stopped();
    world.Log("collector {} makes {} of {}: {}{}", collector.index_, made.seq, instance, value, full ? ", full" : "");
    collector.log_.AddMade(collector.cluster_, instance, std::move(made));
    if (collector.disk_.is_stopped()) return WakeEnd();
    WakeLink(world.now());
  }

  void NoteSent(const std::string& bytes) {
    const auto decoded = wire::DecodeEnvelope(bytes);
    if (!decoded.ok()) return;
    const auto note = [this](const std::vector<model::Gap>& gaps) {
      for (const model::Gap& gap : gaps) collector.log_.AddGap(instance, gap);
    };
    if (const auto* const registration = std::get_if<model::Registration>(&*decoded)) {
      opened_instance.clear();
      instance = registration->instance;
      is_welcomed = false;
      note(registration->gaps);
      world.Log("collector {} registers: holds {}..{}, durable to {}", collector.index_, registration->held.first,
                registration->held.last, registration->durable_low);
    } else if (const auto* const heartbeat = std::get_if<model::Heartbeat>(&*decoded)) {
      note(heartbeat->gaps);
    } else if (const auto* const head = std::get_if<wire::BatchHead>(&*decoded)) {
      collector.log_.AddSent(collector.cluster_, base::UnixMillis(head->batch.collected_at), instance, head->batch.seq,
                             !is_welcomed);
      world.Log("collector {} sends {}{}", collector.index_, head->batch.seq, head->batch.history_only ? "h" : "");
    }
  }

  void NoteReceived(const std::string& bytes) {
    const auto decoded = wire::DecodeFromHub(bytes);
    if (!decoded.ok()) return;
    DeliveryLog& log = collector.log_;
    if (const auto* const welcome = std::get_if<model::Welcome>(&*decoded)) {
      world.Log("collector {} is welcomed by {}: epoch {}, durable {}", collector.index_, welcome->hub, welcome->epoch,
                Text(welcome->durable));
      is_welcomed = true;
      const model::DurablePosition& durable = welcome->durable;
      log.AddKnown(instance,
                   std::max(welcome->last_seq, durable.ranges.empty() ? durable.low : durable.ranges.back().last));
      log.AddDurable(instance, welcome->durable);
    } else if (const auto* const ack = std::get_if<model::DeliveryAck>(&*decoded)) {
      log.AddDurable(instance, ack->durable);
      if (!ack->applied.empty()) log.AddSeen(instance, ack->applied.back().last);
      for (const model::Rejection& rejection : ack->rejected) {
        log.AddGap(instance, {.seqs = {rejection.seq, rejection.seq}, .cause = model::GapCause::kRejected});
        world.Log("collector {} is told that {} is rejected: {}", collector.index_, rejection.seq, rejection.reason);
      }
      world.Log("collector {} is told: applied {}, durable {}", collector.index_, Text(ack->applied),
                Text(ack->durable));
    } else if (const auto* const replay = std::get_if<model::Replay>(&*decoded)) {
      world.Log("collector {} is asked for {}..{} again", collector.index_, replay->range.first, replay->range.last);
    }
  }

  static std::string Text(const std::vector<model::SeqRange>& ranges) {
    std::string text;
    for (const model::SeqRange& range : ranges) {
      fmt::format_to(std::back_inserter(text), "{}{}..{}", text.empty() ? "" : " ", range.first, range.last);
    }
    return text;
  }
  static std::string Text(const model::DurablePosition& position) {
    return fmt::format("{}{}{}", position.low, position.ranges.empty() ? "" : " ", Text(position.ranges));
  }

  void OnWritten() override { machine.OnWritten(); }
  void OnMessage(std::string bytes) override { machine.OnMessage(bytes); }
  void OnClosed(absl::Status status) override { machine.OnClosed(status); }

  void StepLink() {
    if (collector.disk_.is_stopped()) return WakeEnd();
    const base::SteadyTime next = machine.Step();
    if (collector.disk_.is_stopped()) return WakeEnd();
    if (machine.status().state == link::LinkState::kStopped) {
      WakeEnd();
    } else {
      WakeLink(collector.clock_.ToWorld(next));
    }
  }
  // Wakes that are too early find nothing to do; one for each time there ever was would be too many.
  void WakeLink(base::SteadyTime at) {
    at = std::max(at, world.now());
    if (at >= link_wake) return;
    link_wake = at;
    Wake(at, [](Process& process, base::SteadyTime due) {
      if (process.link_wake != due) return;
      process.link_wake = base::SteadyTime::max();
      process.StepLink();
    });
  }
  void WakeBatcher(base::SteadyTime at) {
    at = std::max(at, world.now());
    if (at >= batcher_wake) return;
    batcher_wake = at;
    Wake(at, [](Process& process, base::SteadyTime due) {
      if (process.batcher_wake != due) return;
      process.batcher_wake = base::SteadyTime::max();
      if (process.is_quiet) return;
      process.WakeBatcher(process.collector.clock_.ToWorld(process.batcher.Step()));
    });
  }
  void WakeEnd() {
    Wake(world.now(), [](Process& process, base::SteadyTime) { process.collector.End(); });
  }
  // As SpoolThread.
  void WakeDisk() {
    if (std::exchange(is_disk_woken, true)) return;
    Wake(world.now() + world.Delay(kDiskWait), [](Process& process, base::SteadyTime) {
      process.is_disk_woken = false;
      process.outbox.WorkOnDisk();
      process.StepLink();
    });
  }
  template <typename F>
  void Wake(base::SteadyTime at, F action) {
    if (at == base::SteadyTime::max()) return;
    world.At(at, [&c = collector, number = id, at, action] {
      if (c.process_ != nullptr && c.process_->id == number) action(*c.process_, at);
    });
  }

  SimCollector& collector;
  World& world;
  const std::uint64_t id;
  std::string instance;         // that numbers its batches now
  std::string opened_instance;  // of a spool that was opened, before it does
  bool is_disk_woken = false;
  bool is_welcomed = false;  // on this stream
  link::Outbox outbox;
  collector::Batcher batcher;
  CollectorTransport transport;
  link::LinkMachine machine;
  bool is_quiet = false;  // makes nothing more
  base::SteadyTime link_wake = base::SteadyTime::max(), batcher_wake = base::SteadyTime::max();
};

SimCollector::SimCollector(World& world, Network& network, DeliveryLog& log, std::size_t index, std::size_t hubs,
                           Options options, OnSpool on_spool)
    : world_(world),
      network_(network),
      log_(log),
      index_(index),
      hubs_(hubs),
      options_(std::move(options)),
      on_spool_(std::move(on_spool)),
      cluster_(options_.cluster),
      clock_(world, {}, std::chrono::hours(100 + 7 * index)),
      disk_(world.random()) {}

SimCollector::~SimCollector() = default;

void SimCollector::Start() {
  if (process_ != nullptr) return;
  process_ = std::make_unique<Process>(*this, ++processes_);
  process_->AdoptSpool();
  world_.Log("collector {} starts as {}", index_, process_->instance);
  process_->WakeLink(world_.now());
  process_->WakeBatcher(world_.now());
}

void SimCollector::Kill(bool silent) {
  if (process_ == nullptr) return;
  world_.Log("collector {} is gone{}", index_, silent ? " with its host" : "");
  if (fault_.empty()) fault_ = process_->transport.fault();
  process_->transport.Die(silent);
  log_.AddEnd(cluster_);
  // What it would do at its end comes to nothing.
  if (silent) {
    disk_.LosePower();
  } else {
    disk_.Restart();
  }
  process_.reset();
}

void SimCollector::End() {
  if (process_ == nullptr) return;
  world_.Log("collector {} ends", index_);
  if (fault_.empty()) fault_ = process_->transport.fault();
  process_->transport.Die(false);
  const bool is_stopped = disk_.is_stopped();
  if (is_stopped) disk_.Restart();
  process_.reset();
  if (!is_stopped) disk_.Restart();
  log_.AddEnd(cluster_);
}

void SimCollector::KillInChange(std::uint64_t changes) {
  if (process_ != nullptr) disk_.StopAfter(changes);
}

bool SimCollector::FlipBit() {
  if (process_ != nullptr) return false;
  const auto names = disk_.List(std::string(kSpoolDir));
  if (!names.ok() || names->empty()) return false;
  const std::string path = fmt::format("{}/{}", kSpoolDir, (*names)[world_.Below(names->size())]);
  is_disk_harmed_ = true;
  std::string bytes = disk_.Content(path);
  if (bytes.empty()) return false;
  const std::uint64_t at = world_.Below(bytes.size());
  bytes[at] = static_cast<char>(bytes[at] ^ (1 << world_.Below(8)));
  disk_.SetContent(path, std::move(bytes));
  world_.Log("a bit flips in {} at {}", path, at);
  return true;
}

void SimCollector::Stop() {
  if (process_ == nullptr || process_->is_quiet) return;
  world_.Log("collector {} stops", index_);
  process_->is_quiet = true;
  process_->machine.Stop(std::chrono::duration_cast<milliseconds>(kStopLimit) - seconds(1));
  process_->WakeLink(world_.now());
  world_.After(kStopLimit, [this, number = process_->id] {
    if (process_ != nullptr && process_->id == number) Kill(false);
  });
}

void SimCollector::SetInterval(std::chrono::seconds interval) {
  options_.interval = interval;
  if (process_ == nullptr) return;
  process_->batcher.SetInterval(interval);
  process_->WakeBatcher(world_.now());
}

void SimCollector::News() {
  if (process_ == nullptr || process_->is_quiet) return;
  process_->batcher.News();
  process_->WakeBatcher(world_.now());
}

std::optional<std::pair<std::string, Kept>> SimCollector::Describe() const {
  if (process_ == nullptr) return std::nullopt;
  return std::pair(process_->instance, Kept{.gaps = process_->outbox.gaps()});
}

bool SimCollector::is_settled() const {
  if (process_ == nullptr) return false;
  const link::Outbox::Stats stats = process_->outbox.stats();
  return stats.batches == 0 && stats.in_flight == 0 && process_->outbox.gaps().empty();
}

}  // namespace clusterpulse::sim
