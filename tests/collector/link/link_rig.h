#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "collector/link/link_machine.h"
#include "common/base/testing/manual_clock.h"
#include "tests/collector/link/sample.h"
#include "tests/collector/link/scripted_transport.h"

namespace clusterpulse::link {

// The longest wait of every draw, a hair below its base.
class TopRandom final : public base::Random {
 public:
  std::uint64_t Next() override { return ~std::uint64_t{0}; }
};

// A LinkMachine with an owner that adds a full batch when connected, and a hub that the test plays.
struct LinkRig : private HubTransport::Events {
  static LinkOptions DefaultOptions() {
    LinkOptions options;
    options.address = "hub:9443";
    options.cluster = "edge-1";
    options.version = "1.2.3";
    options.token = [] { return std::string("secret-token"); };
    return options;
  }

  base::ManualClock clock;
  TopRandom random;
  telemetry::Registry registry;
  std::vector<std::string> lines;  // of the log
  std::chrono::seconds interval{30};
  std::string degraded = "pods: no access";
  bool adds_full = true;
  std::vector<std::string> problems;  // with every configuration
  int connected = 0;
  std::vector<model::CollectorConfig> configs;
  ScriptedTransport transport;
  Outbox outbox;
  LinkMachine machine;
  base::SteadyTime next{};

  explicit LinkRig(LinkOptions options = DefaultOptions(), Outbox::Options outbox_options = {})
      : outbox(outbox_options, "instance-1", clock),
        machine(std::move(options),
                {.on_full_batch =
                     [this] {
                       ++connected;
                       if (adds_full) Add(true);
                     },
                 .on_config =
                     [this](const model::CollectorConfig& config) {
                       configs.push_back(config);
                       return problems;
                     },
                 .heartbeat =
                     [this] {
                       return model::Heartbeat{
                           .uptime = std::chrono::hours(1), .degraded = degraded, .interval = interval};
                     }},
                outbox, transport, *this, clock, random,
                log::Logger(
                    {.level = log::Level::kDebug, .sink = [this](std::string_view line) { lines.emplace_back(line); }}),
                &registry) {}
  // The port's rules hold in every test.
  ~LinkRig() {
    UNSCOPED_INFO(transport.fault);
    CHECK(transport.fault.empty());
  }

  std::uint64_t Add(bool full = false) { return outbox.Add(NodeBatch("b" + std::to_string(++made_)), full); }
  LinkState state() const { return machine.status().state; }
  void Step() { next = machine.Step(); }
  void AdvanceBy(std::chrono::nanoseconds by) {
    clock.AdvanceBy(by);
    Step();
  }

  // What the machine writes, as far as the hub lets it: "register", "heartbeat", "report", "3" a live batch, "h3"
  // history, "3.0/2" a part.
  std::vector<std::string> Take(std::size_t most = 1000) {
    std::vector<std::string> texts;
    while (transport.is_writing && texts.size() < most) {
      texts.push_back(Text(transport.written.back()));
      transport.Written();
      machine.OnWritten();
      Step();
    }
    return texts;
  }
  template <typename Message>
  void Say(const Message& message) {
    SayBytes(wire::Encode(message));
  }
  void SayBytes(const std::string& bytes) {
    REQUIRE(transport.is_receiving);
    transport.Received();
    machine.OnMessage(bytes);
    Step();
  }
  void Close(absl::Status status = absl::UnavailableError("connection reset")) {
    transport.Closed();
    machine.OnClosed(status);
    Step();
  }

  static model::Welcome DefaultWelcome() {
    return {.hub = "hub-0",
            .version = "0.1",
            .epoch = 7,
            .credits = {16, 4 << 20},
            .capabilities = {.delivery = true, .parts = true, .config_report = true},
            .max_message_bytes = 4 << 20,
            .max_batch_bytes = 32 << 20};
  }
  // From the wait before an attempt to the registration that is on its way.
  void Register() {
    if (state() == LinkState::kBackingOff) clock.AdvanceBy(std::chrono::minutes(5));
    Step();
    REQUIRE(Take() == std::vector<std::string>{"register"});
    REQUIRE(state() == LinkState::kRegistering);
  }
  void ConnectOurs(model::Welcome welcome = DefaultWelcome()) {
    Register();
    Say(welcome);
    REQUIRE(state() == LinkState::kStreaming);
  }
  void ConnectUpstream() {
    Register();
    Say(model::CollectorConfig{});
    REQUIRE(state() == LinkState::kStreaming);
  }
  // To a hub that says nothing: an upstream one, or one of ours that is slow.
  void ConnectSilent() {
    Register();
    AdvanceBy(std::chrono::seconds(2));
    REQUIRE(state() == LinkState::kWaiting);
  }
  model::Registration LastRegistration() const {
    for (auto it = transport.written.rbegin(); it != transport.written.rend(); ++it) {
      const auto decoded = wire::DecodeFromCollector(*it);
      if (decoded.ok() && std::holds_alternative<model::Registration>(*decoded)) {
        return std::get<model::Registration>(*decoded);
      }
    }
    return {};
  }
  std::string Logged() const {
    std::string all;
    for (const std::string& line : lines) all += line + "\n";
    return all;
  }

  static std::string Text(const std::string& message) {
    const auto decoded = wire::DecodeFromCollector(message);
    REQUIRE(decoded.ok());
    if (std::holds_alternative<model::Registration>(*decoded)) return "register";
    if (std::holds_alternative<model::Heartbeat>(*decoded)) return "heartbeat";
    if (const auto* report = std::get_if<model::ConfigReport>(&*decoded)) return "report " + report->hash;
    REQUIRE(std::holds_alternative<model::Batch>(*decoded));
    const auto& batch = std::get<model::Batch>(*decoded);
    std::string text = (batch.history_only ? "h" : "") + std::to_string(batch.seq);
    if (batch.parts > 0) text += "." + std::to_string(batch.part) + "/" + std::to_string(batch.parts);
    return text;
  }

 private:
  void OnWritten() override {}
  void OnMessage(std::string) override {}
  void OnClosed(absl::Status) override {}

  int made_ = 0;
};

}  // namespace clusterpulse::link
