// A hub that says anything in any order, over streams that open, stall and break at any moment, and a process that is
// killed and started again, with a spool whose disk fails, or without: the link keeps to its transport's rules, sends
// only what a hub can read, accounts for every batch, and gives no number twice. The input is a list of steps, each a
// byte that chooses it and what it needs.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "collector/link/link_machine.h"
#include "collector/spool/testing/fake_file_system.h"
#include "common/base/testing/manual_clock.h"
#include "tests/collector/link/scripted_transport.h"
#include "tests/fuzz/input.h"

namespace {

using namespace clusterpulse;

using fuzz::Input;
using fuzz::Require;

class Link : private link::HubTransport::Events {
 public:
  Link() { Start(/*with_spool=*/false); }

  void Do(Input& in) {
    switch (in.Byte() % 16) {
      case 0:
        Add(false);
        break;
      case 1:
        Add(true);
        break;
      case 2:
        clock_.AdvanceBy(std::chrono::milliseconds(250) * in.Byte());
        break;
      case 3:
        if (next_ != base::SteadyTime::max() && next_ > clock_.Steady()) clock_.AdvanceBy(next_ - clock_.Steady());
        break;
      case 4:
        Written();
        break;
      case 5:
        Close(static_cast<absl::StatusCode>(in.Byte() % 17));
        break;
      case 6: {
        const std::size_t size = in.Byte() | static_cast<std::size_t>(in.Byte()) << 8;
        Say(in.Bytes(size));
        break;
      }
      case 7:
        if (Say(wire::Encode(
                model::Welcome{.durable = Position(in),
                               .credits = {static_cast<std::uint32_t>(in.Byte()), std::uint64_t{in.Byte()} << 7},
                               .capabilities = {true, true, true},
                               .max_message_bytes = std::uint64_t{in.Byte()} << 5,
                               .last_seq = is_honest_ ? last_sent_[instance_] : in.Byte() % 32u}))) {
          is_welcomed_ = is_told_ = true;
        }
        break;
      case 8:
        Say(wire::Encode(model::DeliveryAck{.applied = {Range(in)},
                                            .durable = Position(in),
                                            .retry_after = std::chrono::milliseconds(in.Byte() % 8 * 1000)}));
        break;
      case 9:
        Say(wire::Encode(model::DeliveryAck{.rejected = {{in.Byte() % 32u, "no"}},
                                            .credits = model::Credits{in.Byte() % 4u, std::uint64_t{in.Byte()} << 6}}));
        break;
      case 10:
        Say(wire::Encode(model::Replay{instance_, Range(in)}));
        break;
      case 11:
        Say(wire::Encode(
            model::UpstreamAck{.batch_id = std::to_string(in.Byte() % 32), .success = in.Byte() % 4 != 0}));
        break;
      case 12: {
        const std::uint8_t how = in.Byte();
        if ((how & 4) != 0) {
          files_.LosePower();
        } else {
          files_.StopAfter(1);
          (void)files_.SyncDir("/elsewhere");  // the last change there is
        }
        End(0);
        files_.Restart();
        if ((how & 2) != 0 || (with_spool_ && !is_told_)) is_honest_ = false;
        is_told_ = false;
        Start((how & 1) != 0);
        break;
      }
      case 13:
        files_.SetFault([](spool::FakeFileSystem::Call, const std::string&) { return absl::UnavailableError("EIO"); });
        break;
      case 14:
        files_.SetFault(nullptr);
        break;
      case 15:
        files_.SetCapacity(std::uint64_t{in.Byte()} << 12);
        break;
    }
    Step();
  }

  // Whatever happened, it stops.
  void End(int seconds = 5) {
    link::LinkMachine& machine = *machine_;
    machine.Stop(std::chrono::seconds(seconds));
    Step();
    for (int i = 0; i < 10'000 && transport_.is_writing && !transport_.is_cancelled; ++i) {
      Written();
      Step();
    }
    clock_.AdvanceBy(std::chrono::seconds(seconds));
    Step();
    if (transport_.is_open) {
      Require(transport_.is_cancelled);
      Close(absl::StatusCode::kCancelled);
      Step();
    }
    Require(machine.status().state == link::LinkState::kStopped);
  }

 private:
  void Start(bool with_spool) {
    machine_.reset();
    outbox_.reset();
    with_spool_ = with_spool;
    made_before_ = made_;
    link::Outbox::Options options{.max_batches = 4, .max_bytes = 4096};
    if (with_spool) {
      options.open_spool = [this] {
        return spool::Spool::Open({.dir = "/spool", .max_bytes = 64 << 10, .segment_bytes = 16 << 10}, files_, clock_,
                                  random_, {});
      };
    }
    outbox_.emplace(options, "memory-" + std::to_string(++processes_), clock_);
    machine_.emplace(
        Options(),
        link::LinkCallbacks{.on_full_batch = [this] { Add(true); },
                            .on_config = [](const model::CollectorConfig&) { return std::vector<std::string>{"p"}; },
                            .heartbeat = [] { return model::Heartbeat{.interval = std::chrono::seconds(30)}; }},
        *outbox_, transport_, static_cast<link::HubTransport::Events&>(*this), clock_, random_, log::Logger(), nullptr);
    next_ = machine_->Step();
  }
  static link::LinkOptions Options() {
    link::LinkOptions options;
    options.address = "hub:1";
    options.cluster = "edge-1";
    options.proxy = {};
    return options;
  }
  static model::SeqRange Range(Input& in) {
    const std::uint64_t first = in.Byte() % 32u;
    return {first, first + in.Byte() % 8u};
  }
  static model::DurablePosition Position(Input& in) {
    model::DurablePosition position{in.Byte() % 32u, {}};
    if (const model::SeqRange range = Range(in); range.first > 0) position.ranges.push_back(range);
    return position;
  }

  void Add(bool full) {
    model::Batch batch;
    batch.cluster = "edge-1";
    batch.id = std::to_string(++made_);
    batch.collected_at = clock_.Now();
    if (made_ % 3 != 0) batch.snapshot.nodes = {model::Node{.name = "n"}};
    if (made_ % 2 != 0) batch.snapshot.info = model::ClusterInfo{.console_url = std::string(made_ % 7 * 200, 'x')};
    const std::uint64_t before = outbox_->stats().last_seq;
    const std::uint64_t seq = outbox_->Add(std::move(batch), full);
    // A spool that could be opened only now has other numbers.
    Require(with_spool_ ? seq > 0 : seq == before + 1);
  }
  void Written() {
    if (!transport_.is_writing || transport_.is_cancelled) return;
    transport_.Written();
    machine_->OnWritten();
  }
  bool Say(std::string_view bytes) {
    if (!transport_.is_open || !transport_.is_receiving) return false;
    transport_.Received();
    machine_->OnMessage(bytes);
    return true;
  }
  void Close(absl::StatusCode code) {
    if (!transport_.is_open) return;
    transport_.Closed();
    machine_->OnClosed(absl::Status(code, "closed"));
  }
  void Step() {
    next_ = machine_->Step();
    Require(transport_.fault.empty());
    while (checked_ < transport_.written.size()) Check(transport_.written[checked_++]);
    const link::Outbox::Stats stats = outbox_->stats();
    if (!with_spool_) {
      const std::uint64_t made = made_ - made_before_;
      Require(stats.batches <= 4 && (stats.batches <= 1 || stats.bytes <= 4096));
      Require(stats.durable + stats.lost + stats.rejected + stats.batches <= made);
      Require(stats.last_seq == made);
      // What is left: kept, or fell out of the buffer while a hub may still make it durable.
      Require(made - stats.durable - stats.lost - stats.rejected - stats.batches <= 1024);
    }
    Require(stats.spooled <= stats.batches);
    CheckGaps(stats);
    const link::LinkState state = machine_->status().state;
    Require(state == link::LinkState::kStreaming || state == link::LinkState::kWaiting || stats.in_flight == 0);
  }
  // By number, apart, and of numbers that were given.
  void CheckGaps(const link::Outbox::Stats& stats) {
    std::uint64_t last = 0;
    for (const model::Gap& gap : outbox_->gaps()) {
      Require(gap.seqs.first > last && gap.seqs.last >= gap.seqs.first && gap.seqs.last <= stats.last_seq);
      Require(gap.from <= gap.to);
      last = gap.seqs.last;
    }
  }
  void Check(const std::string& message) {
    const auto decoded = wire::DecodeFromCollector(message);
    Require(decoded.ok());
    Require(!std::holds_alternative<wire::Unknown>(*decoded) && !std::holds_alternative<wire::BadBatch>(*decoded));
    if (const auto* const registration = std::get_if<model::Registration>(&*decoded)) {
      instance_ = registration->instance;
      is_welcomed_ = false;
    } else if (const auto* const batch = std::get_if<model::Batch>(&*decoded)) {
      Require(batch->seq >= 1);
      if (!is_honest_) return;  // told that it forgot numbers, it forgets
      std::uint64_t& last = last_sent_[instance_];
      last = std::max(last, batch->seq);
      const auto [it, is_new] = ids_[instance_].try_emplace(batch->seq, batch->id);
      // Who forgot numbers cannot know before the hub told; what it offers then is no news to the hub.
      Require(!is_welcomed_ || it->second == batch->id);
    }
  }

  void OnWritten() override {}
  void OnMessage(std::string) override {}
  void OnClosed(absl::Status) override {}

  base::ManualClock clock_;
  base::SeededRandom random_{1};
  spool::FakeFileSystem files_{random_};
  link::ScriptedTransport transport_;
  bool with_spool_ = false;
  // A hub told this process what it knows. One that forgot numbers, gave them again and ended before that leaves the
  // next one no way to know.
  bool is_told_ = false;
  bool is_welcomed_ = false;  // the hub of the stream told what it knows
  bool is_honest_ = true;     // the hub tells the last number that it knows
  std::uint64_t made_ = 0, made_before_ = 0, processes_ = 0;
  std::string instance_;  // of the stream
  std::map<std::string, std::map<std::uint64_t, std::string>>
      ids_;  // of instances: which batch was sent as which number
  std::map<std::string, std::uint64_t> last_sent_;
  std::optional<link::Outbox> outbox_;
  std::optional<link::LinkMachine> machine_;
  base::SteadyTime next_;
  std::size_t checked_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(std::string_view(reinterpret_cast<const char*>(data), size));
  Link link;
  for (int steps = 0; steps < 2000 && !in.empty(); ++steps) link.Do(in);
  link.End();
  return 0;
}
