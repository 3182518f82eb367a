// A hub that says anything in any order, over streams that open, stall and break at any moment: the link keeps to its
// transport's rules, sends only what a hub can read, and accounts for every batch. The input is a list of steps, each a
// byte that chooses it and what it needs.
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "collector/link/link_machine.h"
#include "common/base/testing/manual_clock.h"
#include "tests/collector/link/scripted_transport.h"
#include "tests/fuzz/input.h"

namespace {

using namespace clusterpulse;

using fuzz::Input;
using fuzz::Require;

class Link : private link::HubTransport::Events {
 public:
  Link()
      : outbox_({.max_batches = 4, .max_bytes = 4096}, "i", clock_),
        machine_(Options(),
                 {.on_full_batch = [this] { Add(true); },
                  .on_config = [](const model::CollectorConfig&) { return std::vector<std::string>{"p"}; },
                  .heartbeat = [] { return model::Heartbeat{.interval = std::chrono::seconds(30)}; }},
                 outbox_, transport_, *this, clock_, random_, {}, nullptr) {
    next_ = machine_.Step();
  }

  void Do(Input& in) {
    switch (in.Byte() % 12) {
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
        Say(wire::Encode(
            model::Welcome{.durable = Position(in),
                           .credits = {static_cast<std::uint32_t>(in.Byte()), std::uint64_t{in.Byte()} << 7},
                           .capabilities = {true, true, true},
                           .max_message_bytes = std::uint64_t{in.Byte()} << 5}));
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
        Say(wire::Encode(model::Replay{"i", Range(in)}));
        break;
      case 11:
        Say(wire::Encode(
            model::UpstreamAck{.batch_id = std::to_string(in.Byte() % 32), .success = in.Byte() % 4 != 0}));
        break;
    }
    Step();
  }

  // Whatever happened, it stops.
  void End() {
    machine_.Stop(std::chrono::seconds(5));
    Step();
    for (int i = 0; i < 10'000 && transport_.is_writing && !transport_.is_cancelled; ++i) {
      Written();
      Step();
    }
    clock_.AdvanceBy(std::chrono::seconds(5));
    Step();
    if (transport_.is_open) {
      Require(transport_.is_cancelled);
      Close(absl::StatusCode::kCancelled);
      Step();
    }
    Require(machine_.status().state == link::LinkState::kStopped);
  }

 private:
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
    Require(outbox_.Add(std::move(batch), full) == made_);
  }
  void Written() {
    if (!transport_.is_writing || transport_.is_cancelled) return;
    transport_.Written();
    machine_.OnWritten();
  }
  void Say(std::string_view bytes) {
    if (!transport_.is_open || !transport_.is_receiving) return;
    transport_.Received();
    machine_.OnMessage(bytes);
  }
  void Close(absl::StatusCode code) {
    if (!transport_.is_open) return;
    transport_.Closed();
    machine_.OnClosed(absl::Status(code, "closed"));
  }
  void Step() {
    next_ = machine_.Step();
    Require(transport_.fault.empty());
    while (checked_ < transport_.written.size()) Check(transport_.written[checked_++]);
    const link::Outbox::Stats stats = outbox_.stats();
    Require(stats.batches <= 4 && (stats.batches <= 1 || stats.bytes <= 4096));
    Require(stats.durable + stats.lost + stats.rejected + stats.batches <= made_);
    Require(stats.last_seq == made_);
    // What is left: kept, or fell out of the buffer while a hub may still make it durable.
    Require(made_ - stats.durable - stats.lost - stats.rejected - stats.batches <= 1024);
    const link::LinkState state = machine_.status().state;
    Require(state == link::LinkState::kStreaming || state == link::LinkState::kWaiting || stats.in_flight == 0);
  }
  void Check(const std::string& message) {
    const auto decoded = wire::DecodeFromCollector(message);
    Require(decoded.ok());
    Require(!std::holds_alternative<wire::Unknown>(*decoded) && !std::holds_alternative<wire::BadBatch>(*decoded));
    if (const auto* const batch = std::get_if<model::Batch>(&*decoded)) {
      Require(batch->seq >= 1 && batch->seq <= made_ && batch->id == std::to_string(batch->seq));
    }
  }

  void OnWritten() override {}
  void OnMessage(std::string) override {}
  void OnClosed(absl::Status) override {}

  base::ManualClock clock_;
  base::SeededRandom random_{1};
  link::ScriptedTransport transport_;
  std::uint64_t made_ = 0;
  link::Outbox outbox_;
  link::LinkMachine machine_;
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
