// Collectors that say anything in any order, over streams that stall, break and come back, to a hub whose store fails,
// loses writes and comes back, and whose history store drops, refuses and crashes: every stream keeps to its
// transport's rules, a collector is told only of batches it sent or told of, and asked only for those, nobody writes
// another's cluster, and everything ends and is given back. The input is a list of steps, each a byte that chooses it
// and what it needs.
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/testing/manual_clock.h"
#include "common/model/seq_set.h"
#include "common/wire/messages.h"
#include "hub/history/testing/fake_history.h"
#include "hub/ingest/stream_pool.h"
#include "hub/ingest/testing/fakes.h"
#include "tests/fuzz/input.h"

namespace {

using namespace clusterpulse;
using fuzz::Input;
using fuzz::Require;

constexpr std::array<const char*, 2> kClusters{"edge-1", "edge-2"};
constexpr std::array<const char*, 3> kInstances{"i", "j", ""};
constexpr std::size_t kStreams = 4;

struct Peer {
  std::shared_ptr<ingest::FakePeer> fake = std::make_shared<ingest::FakePeer>();
  std::shared_ptr<ingest::Stream> stream;
  std::set<std::uint64_t> sent;  // numbers of batches
  std::set<std::string> sent_ids;
  std::string instance;              // "cluster/instance" as it registered first
  std::vector<model::Replay> asked;  // and not sent again yet
  bool takes_messages = true, closes = true, closed = false;

  void Sent(std::uint64_t seq, const std::string& id) {
    sent.insert(seq);
    sent_ids.insert(id);
  }
};

class Hub {
 public:
  Hub() {
    for (const char* cluster : kClusters) SetPolicy(cluster, {});
  }

  void Do(Input& in) {
    const std::uint8_t step = in.Byte();
    Peer& peer = peers_[in.Byte() % kStreams];
    switch (step % 18) {
      case 0:
        Open(peer, in);
        break;
      case 1: {
        const std::size_t size = in.Byte() | static_cast<std::size_t>(in.Byte()) << 8;
        Say(peer, std::string(in.Bytes(size)));
        break;
      }
      case 2:
        Register(peer, Registration(in, true));
        break;
      case 3:
        Register(peer, Registration(in, false));
        break;
      case 4:
      case 5:
        SayBatch(peer, in);
        break;
      case 6:
        Say(peer, wire::Encode(model::Heartbeat{.interval = std::chrono::seconds(in.Byte())}));
        break;
      case 7:
        Say(peer, wire::Encode(model::ConfigReport{std::to_string(in.Byte() % 3), {"p"}}));
        break;
      case 8:
        clock_.AdvanceBy(std::chrono::milliseconds(500) * in.Byte());
        break;
      case 9:
        Fail(in);
        break;
      case 10:
        peer.takes_messages = in.Byte() % 2 != 0;
        break;
      case 11:
        Break(peer, in);
        break;
      case 12:
        SetPolicy(kClusters[in.Byte() % kClusters.size()], in);
        break;
      case 13:
        data_.Lose(kClusters[in.Byte() % kClusters.size()]);
        break;
      case 14:
        Disturb(in);
        break;
      case 15:
        SayAgain(peer, in);
        break;
      case 16: {
        model::Heartbeat heartbeat;
        heartbeat.last_seq = in.Byte() % 32;
        heartbeat.gaps = Gaps(in, true);
        Know(peer, heartbeat.gaps);
        Say(peer, wire::Encode(heartbeat));
        break;
      }
      case 17:
        data_.OpenLink(kClusters[in.Byte() % kClusters.size()], clock_.Now());
        break;
    }
    Run();
  }

  // Whatever happened, it ends, and nothing is kept.
  void End() {
    data_.Fail(absl::OkStatus());
    data_.FailApply(absl::OkStatus());
    data_.FailGaps(absl::OkStatus());
    pool_.EndStreams(std::chrono::milliseconds(0));
    for (Peer& peer : peers_) peer.takes_messages = peer.closes = true;
    for (int i = 0; i < 60 && pool_.size() > 0; ++i) {
      Run();
      clock_.AdvanceBy(std::chrono::seconds(1));
    }
    Require(pool_.size() == 0);
    Require(registry_.Gauges("clusterpulse_hub_ingest_in_flight_bytes", "").With({}).Value() == 0);
    for (const char* name : {"backlog_batches", "backlog_bytes"}) {
      Require(registry_.Gauges("clusterpulse_hub_ingest_" + std::string(name), "").With({}).Value() == 0);
    }
    for (const char* cluster : kClusters) {
      const ingest::FakeCollectorData::Cluster state = data_.Get(cluster);
      for (const model::Batch& batch : state.applied) Require(batch.cluster == cluster);
      // Nothing is called lost that nobody made, or told.
      for (const store::KnownGap& gap : state.gaps.gaps()) {
        // Of an instance that was replaced all numbers up to its last one are missing, also those it never sent.
        if (gap.seqs.first == 0 || gap.cause == model::GapCause::kCollectorLost) continue;
        Require(Knows(cluster + ("/" + gap.instance), gap.seqs));
      }
    }
    for (const model::Batch& batch : history_.written()) Require(!batch.cluster.empty());
  }

 private:
  void Open(Peer& peer, Input& in) {
    if (peer.stream != nullptr && !peer.closed) return;
    peer = Peer();
    auto accepted = pool_.Accept("10.0.0.1:1", in.Byte() % 4 == 0 ? "t" : "", peer.fake);
    Require(accepted.ok());
    peer.stream = *std::move(accepted);
  }
  static model::Registration Registration(Input& in, bool delivery) {
    model::Registration registration;
    registration.cluster = kClusters[in.Byte() % kClusters.size()];
    registration.token = in.Byte() % 8 == 7 ? "wrong" : "t";
    if (!delivery) return registration;
    registration.instance = kInstances[in.Byte() % kInstances.size()];
    const std::uint8_t capabilities = in.Byte();
    registration.capabilities = {
        .delivery = capabilities % 8 != 7, .parts = capabilities % 2 == 0, .config_report = true};
    registration.durable_low = in.Byte() % 16;
    if (capabilities & 32) registration.gaps = Gaps(in, true);
    if (capabilities & 64) registration.held = {1, 1 + in.Byte() % 31u};
    return registration;
  }
  static std::vector<model::Gap> Gaps(Input& in, bool numbered) {
    std::vector<model::Gap> gaps;
    for (int i = in.Byte() % 4; i > 0; --i) {
      const std::uint8_t first = in.Byte(), more = in.Byte();
      model::Gap gap{.cause = static_cast<model::GapCause>(more % 8)};
      gap.from = base::SystemTime(std::chrono::seconds(1933135000 + first));
      gap.to = gap.from + std::chrono::seconds(more);
      if (numbered) gap.seqs = {1u + first % 32, 1u + first % 32 + more % 4};
      gaps.push_back(gap);
    }
    return gaps;
  }
  void Register(Peer& peer, const model::Registration& registration) {
    if (peer.instance.empty() && registration.capabilities.delivery) {
      peer.instance = registration.cluster + "/" + registration.instance;
      if (registration.durable_low > 0) Know(peer.instance, {1, registration.durable_low});
      Know(peer, registration.gaps);
    }
    Say(peer, wire::Encode(registration));
  }
  void Know(const std::string& instance, const model::SeqRange& seqs) { known_[instance].Add(seqs); }
  void Know(const Peer& peer, const std::vector<model::Gap>& gaps) {
    for (const model::Gap& gap : gaps) Know(peer.instance, gap.seqs);
  }
  bool Knows(const std::string& instance, const model::SeqRange& seqs) const {
    const auto known = known_.find(instance);
    if (known == known_.end()) return false;
    for (std::uint64_t seq = seqs.first; seq <= seqs.last; ++seq) {
      if (!known->second.Contains(seq)) return false;
    }
    return true;
  }
  // What happens to the history store.
  void Disturb(Input& in) {
    const std::uint8_t what = in.Byte();
    using Mode = history::FakeHistoryWriter::Mode;
    history_.SetMode(static_cast<Mode>(what % 4));
    history_.SetRoom(!(what & 4));
    history_.SetDurableAfter(std::chrono::milliseconds(what & 8 ? 1000 : 0));
    if (what & 16) history_.Settle(static_cast<Mode>(what >> 6), 3);
    if (what & 32) history_.Crash();
    history_.SetSilent(what & 64);
  }
  // One of the batches it was asked for.
  void SayAgain(Peer& peer, Input& in) {
    if (peer.asked.empty()) return;
    model::SeqRange& range = peer.asked.front().range;
    model::Batch batch;
    batch.cluster = peer.instance.substr(0, peer.instance.find('/'));
    batch.seq = range.first;
    batch.id = "again";
    batch.history_only = true;
    batch.collected_at = clock_.Now() - std::chrono::seconds(in.Byte());
    batch.snapshot.nodes.emplace();
    if (++range.first > range.last) peer.asked.erase(peer.asked.begin());
    Say(peer, wire::Encode(batch));
  }
  void SayBatch(Peer& peer, Input& in) {
    model::Batch batch;
    const std::uint8_t number = in.Byte(), flags = in.Byte();
    batch.seq = number % 32;
    batch.id = "b" + std::to_string(number);
    batch.cluster = flags % 16 == 15 ? "another" : kClusters[in.Byte() % kClusters.size()];
    batch.history_only = flags & 16;
    if (flags & 32) {
      batch.parts = 1 + in.Byte() % 4u;
      batch.part = in.Byte() % 4u;
    }
    batch.interval = std::chrono::seconds(flags & 64 ? 30 : 0);
    batch.collected_at = clock_.Now() + std::chrono::seconds(in.Byte()) * (flags & 128 ? 60 : -60);
    if (number & 64) batch.gaps = Gaps(in, false);
    batch.snapshot.nodes.emplace();
    for (int i = in.Byte() % 4; i > 0; --i) {
      batch.snapshot.nodes->push_back({.name = "n" + std::to_string(i), .os_image = std::string(in.Byte() * 16u, 'x')});
    }
    Say(peer, wire::Encode(batch));
  }
  // Nothing when the hub does not read.
  void Say(Peer& peer, std::string bytes) {
    if (peer.stream == nullptr || peer.closed || peer.fake->finished() || !peer.fake->TakeRead()) return;
    if (const auto message = wire::DecodeFromCollector(bytes); message.ok()) {
      if (const auto* batch = std::get_if<model::Batch>(&*message)) Sent(peer, batch->seq, batch->id);
      if (const auto* bad = std::get_if<wire::BadBatch>(&*message)) Sent(peer, bad->seq, bad->id);
      if (const auto* beat = std::get_if<model::Heartbeat>(&*message)) Know(peer, beat->gaps);
      if (const auto* begin = std::get_if<model::Registration>(&*message)) Know(peer, begin->gaps);
    }
    peer.stream->OnMessage(std::move(bytes));
  }
  void Sent(Peer& peer, std::uint64_t seq, const std::string& id) {
    peer.Sent(seq, id);
    if (seq > 0) Know(peer.instance, {seq, seq});
  }
  void Fail(Input& in) {
    const std::uint8_t what = in.Byte();
    data_.FailGaps(what & 32 ? absl::UnavailableError("down") : absl::OkStatus());
    data_.FailApply(what & 1 ? absl::UnavailableError("down") : absl::OkStatus());
    data_.Fail(what & 2 ? absl::UnavailableError("down") : absl::OkStatus());
    authenticator_.Fail(what & 4 ? absl::UnavailableError("down") : absl::OkStatus());
    if (what & 8) data_.BreakContinuity();
    data_.SetDurableAfter(std::chrono::milliseconds(what & 16 ? 1000 : 0));
  }
  void Break(Peer& peer, Input& in) {
    if (peer.stream == nullptr || peer.closed) return;
    switch (in.Byte() % 4) {
      case 0:
        peer.stream->OnGone();
        break;
      case 1:
        peer.stream->OnHalfClosed();
        break;
      case 2:
        peer.closes = !peer.closes;
        break;
      case 3:
        peer.stream->OnGone();
        peer.stream->OnClosed();
        peer.closed = true;
        break;
    }
  }
  void SetPolicy(const std::string& cluster, std::optional<std::reference_wrapper<Input>> in) {
    const std::uint8_t what = in ? in->get().Byte() : 0;
    ingest::ClusterPolicy policy;
    policy.uid = what & 1 ? "new" : "uid";
    policy.refusal = what & 2 ? "is in pull mode" : "";
    policy.config.hash = what & 4 ? "h2" : "h1";
    if (what & 8) policy.limits = {.max_nodes = 2, .max_rows = 2, .max_bytes_per_second = 1024};
    if (what & 16) {
      clusters_.Erase(cluster);
    } else {
      clusters_.Put(cluster, std::move(policy));
    }
    authenticator_.Put(cluster, what & 32 ? "another" : "t");
    pool_.Recheck(cluster);
  }

  void Run() {
    for (bool busy = true; busy;) {
      busy = false;
      while (pool_.RunOnce()) busy = true;
      for (Peer& peer : peers_) busy |= Act(peer);
    }
  }
  // What the transport does by itself. True: something.
  bool Act(Peer& peer) {
    if (peer.stream == nullptr || peer.closed) return false;
    Require(peer.fake->faults().empty());
    Hear(peer);
    if (peer.takes_messages && peer.fake->TakeWritten()) {
      peer.stream->OnWritten();
      return true;
    }
    if ((peer.closes && peer.fake->finished()) || peer.fake->aborted()) {
      peer.closed = true;
      peer.stream->OnClosed();
      return true;
    }
    return false;
  }
  void Hear(Peer& peer) {
    while (const auto message = peer.fake->Take()) {
      if (const auto* ack = std::get_if<model::DeliveryAck>(&*message)) {
        for (const model::SeqRange& range : ack->applied) {
          Require(range.first <= range.last && range.last - range.first < peer.sent.size());
          for (std::uint64_t seq = range.first; seq <= range.last; ++seq) Require(peer.sent.contains(seq));
        }
        for (const model::SeqRange& range : model::SeqSet(ack->durable).Ranges()) {
          Require(range.last - range.first < 256 && Knows(peer.instance, range));
        }
        for (const model::Rejection& rejection : ack->rejected) Require(peer.sent.contains(rejection.seq));
      } else if (const auto* upstream = std::get_if<model::UpstreamAck>(&*message)) {
        Require(peer.sent_ids.contains(upstream->batch_id));
      } else if (const auto* welcome = std::get_if<model::Welcome>(&*message)) {
        Require(welcome->epoch > 0 && welcome->credits.bytes > 0);
      } else if (const auto* replay = std::get_if<model::Replay>(&*message)) {
        Require(peer.instance.ends_with("/" + replay->instance) && peer.asked.size() < 1000);
        Require(replay->range.last - replay->range.first < ingest::ReplayPlan::kMostAsked);
        Require(Knows(peer.instance, replay->range));
        peer.asked.push_back(*replay);
      }
    }
  }

  base::ManualClock clock_;
  base::SeededRandom random_{3};
  telemetry::Registry registry_;
  ingest::FakeClusters clusters_;
  ingest::FakeAuthenticator authenticator_;
  ingest::FakeCollectorData data_{clock_};
  history::FakeHistoryWriter history_{clock_};
  std::map<std::string, model::SeqSet> known_;  // numbers that were ever heard of, by cluster and instance
  std::array<Peer, kStreams> peers_;
  ingest::StreamPool pool_{{.hub = "hub-1", .version = "1", .max_in_flight = 16 << 10},
                           {clusters_, authenticator_, data_, clock_, random_, &registry_, &history_},
                           log::Logger()};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(std::string_view(reinterpret_cast<const char*>(data), size));
  Hub hub;
  for (int steps = 0; steps < 1000 && !in.empty(); ++steps) hub.Do(in);
  hub.End();
  return 0;
}
