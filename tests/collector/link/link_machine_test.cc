#include "collector/link/link_machine.h"

#include "collector/spool/testing/fake_file_system.h"
#include "tests/collector/link/link_rig.h"

namespace clusterpulse::link {
namespace {

using namespace std::chrono_literals;
using Texts = std::vector<std::string>;

TEST_CASE("a hub of ours: register, welcome, full batch, history, acknowledgements") {
  LinkRig rig;
  rig.Add();
  rig.Add();
  CHECK(rig.state() == LinkState::kIdle);
  rig.Step();
  CHECK(rig.state() == LinkState::kConnecting);
  CHECK(rig.transport.token == "secret-token");
  CHECK(rig.Take() == Texts{"register"});
  CHECK(rig.state() == LinkState::kRegistering);
  rig.Say(LinkRig::DefaultWelcome());
  CHECK(rig.state() == LinkState::kStreaming);
  CHECK(rig.machine.status().hub == "hub-0");
  CHECK_FALSE(rig.machine.status().upstream);
  CHECK(rig.connected == 1);
  CHECK(rig.Take() == Texts{"3", "h1", "h2"});
  rig.Say(model::DeliveryAck{.applied = {{1, 3}}, .durable = {2, {}}});
  CHECK(rig.outbox.stats().in_flight == 0);
  CHECK(rig.outbox.stats().batches == 1);
  rig.Add();
  rig.Step();
  CHECK(rig.Take() == Texts{"4"});
  rig.Close();
  CHECK(rig.state() == LinkState::kBackingOff);
  CHECK(rig.machine.status().last_error.code() == absl::StatusCode::kUnavailable);
}

TEST_CASE("the registration says who we are and what we hold") {
  LinkRig rig;
  rig.Add();
  rig.Register();
  model::Registration want;
  want.cluster = "edge-1";
  want.token = "secret-token";
  want.version = "1.2.3";
  want.instance = "instance-1";
  want.held = {1, 1};
  want.capabilities = {true, true, true};
  want.interval = 30s;
  CHECK(rig.LastRegistration() == want);

  model::Welcome welcome = LinkRig::DefaultWelcome();
  welcome.config.hash = "c1";
  rig.Say(welcome);
  CHECK(rig.Take() == Texts{"report c1", "2", "h1"});
  rig.Say(model::DeliveryAck{.applied = {{1, 2}}, .durable = {1, {}}});
  rig.Close();
  rig.interval = 15s;
  rig.Register();
  want.held = {2, 2};
  want.durable_low = 1;
  want.config_hash = "c1";
  want.interval = 15s;
  CHECK(rig.LastRegistration() == want);
}

TEST_CASE("a welcome frees what the hub has durable before anything is sent") {
  LinkRig rig;
  rig.ConnectOurs();
  CHECK(rig.Take() == Texts{"1"});
  rig.Close();
  rig.Add();
  model::Welcome welcome = LinkRig::DefaultWelcome();
  welcome.durable = {1, {}};
  rig.ConnectOurs(welcome);
  CHECK(rig.Take() == Texts{"3", "h2"});
}

TEST_CASE("after two seconds of silence a hub is served as an upstream hub, and taken for one when it acts like one") {
  LinkRig rig;
  rig.Add();
  rig.Register();
  CHECK(rig.next == rig.clock.Steady() + 2s);
  rig.AdvanceBy(1999ms);
  CHECK(rig.state() == LinkState::kRegistering);
  rig.AdvanceBy(1ms);
  CHECK(rig.state() == LinkState::kWaiting);
  CHECK_FALSE(rig.machine.status().upstream);
  CHECK(rig.connected == 1);
  CHECK(rig.Take() == Texts{"2"});
  CHECK(rig.Logged().find("link established") == std::string::npos);
  rig.AdvanceBy(30s);
  CHECK(rig.Take() == Texts{"heartbeat"});
  SECTION("it acknowledges") { rig.Say(model::UpstreamAck{.batch_id = "b2"}); }
  SECTION("it configures") { rig.Say(model::CollectorConfig{.interval = 45s}); }
  CHECK(rig.state() == LinkState::kStreaming);
  CHECK(rig.machine.status().upstream);
  CHECK(rig.connected == 1);
  CHECK(rig.Logged().find("link established") != std::string::npos);
}

TEST_CASE("a hub of ours that is slow to answer is not taken for an upstream hub") {
  LinkRig rig;
  const auto has = [&](const std::string& line) {
    const std::string text = rig.registry.Render();
    CAPTURE(line, text);
    CHECK(text.find("\nclusterpulse_collector_" + line + "\n") != std::string::npos);
  };
  for (int i = 0; i < 12; ++i) {
    rig.ConnectSilent();
    rig.Take();
    has("connected 0");
    has("connects_total 0");
    rig.AdvanceBy(8s);
    rig.Close(absl::UnavailableError("the store cannot be reached"));
    CHECK(rig.next - rig.clock.Steady() <= 30s);  // the interval, not five minutes
  }
  CHECK(rig.Logged().find("link established") == std::string::npos);
  rig.ConnectOurs();
  has("connected 1");
  has("connects_total 1");
}

TEST_CASE("a hub without a welcome is an upstream hub") {
  LinkRig rig;
  rig.Add();
  rig.Register();
  SECTION("as soon as it configures") { rig.Say(model::CollectorConfig{.metric_sources = {"{}"}}); }
  SECTION("as soon as it acknowledges") { rig.Say(model::UpstreamAck{.batch_id = "unknown"}); }
  CHECK(rig.state() == LinkState::kStreaming);
  CHECK(rig.machine.status().upstream);
  CHECK(rig.connected == 1);
  CHECK(rig.Take() == Texts{"2"});
  rig.Add();
  rig.Step();
  CHECK(rig.Take() == Texts{"3"});
  rig.Say(model::UpstreamAck{.batch_id = "b2"});
  rig.Say(model::UpstreamAck{.batch_id = "b3"});
  CHECK(rig.outbox.stats().batches == 0);
}

TEST_CASE("an upstream hub's configuration is put into force and not reported") {
  LinkRig rig;
  rig.Register();
  rig.Say(model::CollectorConfig{.metric_sources = {"{}", "{}"}, .interval = 45s});
  REQUIRE(rig.configs.size() == 1);
  CHECK(rig.configs[0].interval == 45s);
  CHECK(rig.configs[0].metric_sources.size() == 2);
  CHECK(rig.Take() == Texts{"1"});
}

TEST_CASE("a welcome that comes late still counts") {
  LinkRig rig;
  rig.Add();
  SECTION("after silence") { rig.ConnectSilent(); }
  SECTION("even after a configuration") { rig.ConnectUpstream(); }
  CHECK(rig.Take() == Texts{"2"});
  rig.Say(LinkRig::DefaultWelcome());
  CHECK(rig.state() == LinkState::kStreaming);
  CHECK_FALSE(rig.machine.status().upstream);
  CHECK(rig.machine.status().hub == "hub-0");
  CHECK(rig.connected == 1);
  CHECK(rig.Take() == Texts{"h1"});
  rig.Say(model::DeliveryAck{.applied = {{1, 2}}, .durable = {2, {}}});
  CHECK(rig.outbox.stats().batches == 0);
}

TEST_CASE("an answer may overtake the news that the registration was written") {
  LinkRig rig;
  rig.Step();
  rig.Say(LinkRig::DefaultWelcome());
  CHECK(rig.state() == LinkState::kStreaming);
  CHECK(rig.Take() == Texts{"register", "1"});
}

TEST_CASE("other batches wait for the full one after connecting, but not for long") {
  LinkRig rig;
  rig.adds_full = false;
  rig.Add();
  rig.Add();
  rig.ConnectOurs();
  CHECK(rig.Take().empty());
  SECTION("it comes") {
    rig.AdvanceBy(500ms);
    CHECK(rig.Take().empty());
    rig.Add(true);
    rig.Step();
    CHECK(rig.Take() == Texts{"3", "h1", "h2"});
  }
  SECTION("it does not come") {
    CHECK(rig.next == rig.clock.Steady() + 2s);
    rig.AdvanceBy(2s);
    CHECK(rig.Take() == Texts{"2", "h1"});
  }
}

TEST_CASE("heartbeats are on time whatever the outbox does") {
  LinkRig rig;
  rig.ConnectOurs();
  CHECK(rig.Take() == Texts{"1"});
  CHECK(rig.next == rig.clock.Steady() + 30s);
  SECTION("nothing to send") {}
  SECTION("no credits") {
    for (int i = 0; i < 30; ++i) rig.Add();
    rig.Step();
    rig.Take();
  }
  SECTION("told to wait") { rig.Say(model::DeliveryAck{.retry_after = 100s}); }
  for (int i = 0; i < 5; ++i) {
    rig.AdvanceBy(29s);
    CHECK(rig.Take().empty());
    rig.AdvanceBy(1s);
    CHECK(rig.Take() == Texts{"heartbeat"});
  }
}

TEST_CASE("heartbeats tell of the outbox and of what the owner says") {
  LinkRig rig;
  rig.ConnectOurs();
  rig.Take();
  rig.AdvanceBy(30s);
  const auto decoded = wire::DecodeFromCollector(rig.transport.written.back());
  REQUIRE(decoded.ok());
  const auto& heartbeat = std::get<model::Heartbeat>(*decoded);
  model::Heartbeat want{.cluster = "edge-1",
                        .sent_at = rig.clock.Now(),
                        .uptime = 1h,
                        .buffered_batches = 1,
                        .buffered_bytes = rig.outbox.stats().bytes,
                        .oldest_buffered = NodeBatch("").collected_at,
                        .last_seq = 1,
                        .degraded = "pods: no access",
                        .interval = 30s};
  CHECK(heartbeat == want);
}

TEST_CASE("a late heartbeat does not bring forward the next ones") {
  LinkRig rig;
  rig.ConnectOurs();
  rig.Take();
  rig.AdvanceBy(100s);  // the thread was not run
  CHECK(rig.Take() == Texts{"heartbeat"});
  CHECK(rig.next == rig.clock.Steady() + 15s);
}

TEST_CASE("between the parts of a batch a heartbeat goes, but no other batch") {
  LinkRig rig;
  rig.adds_full = false;
  rig.outbox.Add(NodeBatch("big", 3000, 700), true);
  rig.ConnectOurs();
  rig.AdvanceBy(2s);
  CHECK(rig.Take(1) == Texts{"1.0/3"});
  rig.Add(true);
  rig.clock.AdvanceBy(28s);
  CHECK(rig.Take() == Texts{"1.1/3", "heartbeat", "1.2/3", "2"});
}

TEST_CASE("every configuration is put into force and reported") {
  LinkRig rig;
  rig.problems = {"source a/b: no such type"};
  model::Welcome welcome = LinkRig::DefaultWelcome();
  welcome.config = {.interval = 10s, .hash = "c1"};
  rig.ConnectOurs(welcome);
  REQUIRE(rig.configs.size() == 1);
  CHECK(rig.configs[0] == welcome.config);
  CHECK(rig.connected == 1);
  const auto decoded = wire::DecodeFromCollector(rig.transport.written.back());
  REQUIRE(decoded.ok());
  CHECK(std::get<model::ConfigReport>(*decoded) == model::ConfigReport{"c1", rig.problems});
  CHECK(rig.Take() == Texts{"report c1", "1"});
  rig.Say(model::CollectorConfig{.interval = 20s, .hash = "c2"});
  CHECK(rig.Take() == Texts{"report c2"});
  CHECK(rig.configs.size() == 2);
}

TEST_CASE("texts of the owner are cut to what every hub reads") {
  LinkRig rig;
  rig.problems = std::vector<std::string>(1000, std::string(10'000, 'p') + "\xff");
  rig.problems[0] = "bad \xff\n";
  model::Welcome welcome = LinkRig::DefaultWelcome();
  welcome.config.hash = "c1";
  rig.ConnectOurs(welcome);
  const std::string message = rig.transport.written.back();
  CHECK(message.size() < wire::kMaxOwnMessage);
  const auto decoded = wire::DecodeFromCollector(message);
  REQUIRE(decoded.ok());
  const auto& report = std::get<model::ConfigReport>(*decoded);
  CHECK(report.problems.size() == 100);
  CHECK(report.problems[0] == "bad ??");
  CHECK(report.problems[1] == std::string(4096, 'p'));

  rig.degraded = std::string(5000, '\xff');
  rig.Take();
  rig.AdvanceBy(30s);
  CHECK(rig.Take() == Texts{"heartbeat"});
}

TEST_CASE("no configuration in the welcome, no report to hubs that do not know it") {
  LinkRig rig;
  rig.ConnectOurs();
  CHECK(rig.configs.empty());
  CHECK(rig.Take() == Texts{"1"});
  rig.Close();
  model::Welcome welcome = LinkRig::DefaultWelcome();
  welcome.capabilities.config_report = false;
  welcome.config.hash = "c1";
  rig.ConnectOurs(welcome);
  CHECK(rig.configs.size() == 1);
  CHECK(rig.Take() == Texts{"2", "h1"});
}

TEST_CASE("parts go only to hubs that know them") {
  LinkRig rig;
  rig.adds_full = false;
  rig.outbox.Add(NodeBatch("big", 3000, 500), true);
  model::Welcome welcome = LinkRig::DefaultWelcome();
  welcome.capabilities.parts = false;
  rig.ConnectOurs(welcome);
  rig.AdvanceBy(2s);
  CHECK(rig.Take() == Texts{"1"});
}

TEST_CASE("retry_after holds new batches back, until it is over or taken back") {
  LinkRig rig;
  rig.ConnectOurs();
  CHECK(rig.Take() == Texts{"1"});
  rig.Say(model::DeliveryAck{.retry_after = 10s});
  rig.Add();
  rig.Step();
  CHECK(rig.Take().empty());
  CHECK(rig.next == rig.clock.Steady() + 10s);
  SECTION("over") {
    rig.AdvanceBy(9999ms);
    CHECK(rig.Take().empty());
    rig.AdvanceBy(1ms);
    CHECK(rig.Take() == Texts{"2"});
  }
  SECTION("taken back") {
    rig.Say(model::DeliveryAck{});
    CHECK(rig.Take() == Texts{"2"});
  }
  SECTION("absurdly long") {
    rig.Say(model::DeliveryAck{.retry_after = std::chrono::hours(500)});
    rig.AdvanceBy(5min);
    CHECK(rig.Take() == Texts{"heartbeat", "2"});
  }
}

TEST_CASE("credits, rejections and replays of the hub are heard") {
  LinkRig rig;
  rig.Add();
  rig.Add();
  model::Welcome welcome = LinkRig::DefaultWelcome();
  welcome.credits = {1, 1 << 20};
  rig.ConnectOurs(welcome);
  CHECK(rig.Take() == Texts{"3"});
  rig.Say(model::DeliveryAck{.credits = model::Credits{2, 1 << 20}});
  CHECK(rig.Take() == Texts{"h1"});
  rig.Say(model::DeliveryAck{.rejected = {{1, "malformed"}}});
  CHECK(rig.Take() == Texts{"h2"});
  rig.Say(model::DeliveryAck{.applied = {{2, 3}}});
  rig.Say(model::Replay{"instance-1", {1, 2}});
  CHECK(rig.Take() == Texts{"h2"});
  CHECK(rig.connected == 1);
}

TEST_CASE("state that a hub may have lost comes again with a full batch, and its batches as history") {
  LinkRig rig;
  rig.ConnectOurs();
  CHECK(rig.Take() == Texts{"1"});
  rig.Add();
  rig.Step();
  CHECK(rig.Take() == Texts{"2"});
  rig.Say(model::DeliveryAck{.applied = {{1, 2}}});
  rig.Say(model::Replay{"instance-1", {2, 2}});
  CHECK(rig.connected == 2);
  CHECK(rig.Take() == Texts{"3", "h2"});
  // Once is enough.
  rig.Say(model::DeliveryAck{.applied = {{2, 2}}});
  rig.Say(model::Replay{"instance-1", {1, 2}});
  CHECK(rig.connected == 2);
  rig.Say(model::Replay{"instance-0", {3, 3}});
  CHECK(rig.connected == 2);
}

TEST_CASE("what a hub says too early is ignored") {
  LinkRig rig;
  rig.Add();
  rig.Register();
  SECTION("acknowledgement") { rig.Say(model::DeliveryAck{.applied = {{1, 1}}, .durable = {1, {}}}); }
  SECTION("replay") { rig.Say(model::Replay{"instance-1", {1, 1}}); }
  SECTION("unknown") { rig.SayBytes(""); }
  CHECK(rig.state() == LinkState::kRegistering);
  CHECK(rig.outbox.stats().batches == 1);
  rig.Say(LinkRig::DefaultWelcome());
  CHECK(rig.Take() == Texts{"2", "h1"});
}

TEST_CASE("a message that breaks the protocol ends the stream") {
  // A DeliveryAck with an applied range of nothing.
  const std::string bad_field = wire::Encode(model::DeliveryAck{.applied = {{0, 0}}});
  LinkRig rig;
  SECTION("no message at all, from ours") {
    rig.ConnectOurs();
    rig.SayBytes("\xff\xff\xff");
    CHECK(rig.transport.is_cancelled);
  }
  SECTION("a bad field, from ours") {
    rig.ConnectOurs();
    rig.SayBytes(bad_field);
    CHECK(rig.transport.is_cancelled);
  }
  SECTION("a bad field, before we know whom from") {
    rig.Register();
    rig.SayBytes(bad_field);
    CHECK(rig.transport.is_cancelled);
  }
  SECTION("no message at all, from upstream") {
    rig.ConnectUpstream();
    rig.SayBytes("\xff\xff\xff");
    CHECK(rig.transport.is_cancelled);
  }
  SECTION("a bad field, from upstream") {
    GENERATE(0, 1) == 0 ? rig.ConnectUpstream() : rig.ConnectSilent();
    rig.SayBytes(bad_field);
    CHECK_FALSE(rig.transport.is_cancelled);
    CHECK(rig.transport.is_receiving);
    return;
  }
  CHECK(rig.next == base::SteadyTime::max());
  rig.Close(absl::CancelledError("cancelled"));
  CHECK(rig.state() == LinkState::kBackingOff);
  CHECK(std::string(rig.machine.status().last_error.message()).find("message from the hub") != std::string::npos);
}

TEST_CASE("nothing is written or heard between cancelling and the end of the stream") {
  LinkRig rig;
  rig.ConnectOurs();
  CHECK(rig.Take() == Texts{"1"});
  rig.SayBytes("\xff");
  rig.Add();
  rig.AdvanceBy(40s);
  CHECK(rig.Take().empty());
  rig.machine.OnMessage(wire::Encode(model::DeliveryAck{.applied = {{1, 1}}}));
  CHECK(rig.outbox.stats().in_flight == 1);
}

// Waits that follow ends of streams, one after the other; drawn at their longest.
TEST_CASE("back-off") {
  struct Case {
    const char* name;
    std::chrono::seconds interval;
    absl::StatusCode code;
    std::vector<int> seconds;
  };
  using Code = absl::StatusCode;
  const std::vector<Case> cases = {
      {"up to a minute", 120s, Code::kUnavailable, {1, 2, 4, 8, 16, 32, 60, 60}},
      {"up to the interval", 10s, Code::kUnavailable, {1, 2, 4, 8, 10, 10}},
      {"no interval", 0s, Code::kUnavailable, {1, 2, 4, 8, 16, 32, 60}},
      {"no credential", 10s, Code::kUnauthenticated, {1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300}},
      {"not allowed", 10s, Code::kPermissionDenied, {1, 2, 4, 8, 16, 32, 64, 128, 256, 300}},
      {"another one has the stream", 10s, Code::kAlreadyExists, {1, 2, 4, 8, 10}},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      LinkRig rig;
      rig.interval = c.interval;
      rig.Step();
      for (const int seconds : c.seconds) {
        rig.Close(absl::Status(c.code, "no"));
        REQUIRE(rig.state() == LinkState::kBackingOff);
        const std::chrono::nanoseconds wait = rig.next - rig.clock.Steady();
        CHECK(wait > std::chrono::seconds(seconds) - 2ms);
        CHECK(wait <= std::chrono::seconds(seconds));
        rig.AdvanceBy(wait - 1ms);
        CHECK(rig.state() == LinkState::kBackingOff);
        rig.AdvanceBy(1ms);
        CHECK(rig.state() == LinkState::kConnecting);
      }
    }
  }
}

std::chrono::seconds RoundedWait(const LinkRig& rig) {
  return std::chrono::ceil<std::chrono::seconds>(rig.next - rig.clock.Steady());
}

TEST_CASE("back-off begins anew with the first acknowledgement, not with a connection") {
  LinkRig rig;
  for (int i = 0; i < 4; ++i) {
    rig.ConnectOurs();
    rig.Take();
    rig.Close();
  }
  CHECK(RoundedWait(rig) == 8s);
  rig.ConnectOurs();
  rig.Take();
  SECTION("an acknowledgement of nothing new") {
    rig.Say(model::DeliveryAck{.applied = {{100, 200}}, .durable = {1, {}}});
    rig.Close();
    CHECK(RoundedWait(rig) == 16s);
  }
  SECTION("applied") {
    rig.Say(model::DeliveryAck{.applied = {{rig.outbox.stats().last_seq, rig.outbox.stats().last_seq}}});
    rig.Close();
    CHECK(RoundedWait(rig) == 1s);
  }
}

TEST_CASE("an upstream hub that ends streams is left alone for up to five minutes") {
  LinkRig rig;
  for (int i = 0; i < 12; ++i) {
    rig.ConnectUpstream();
    rig.Take();
    rig.Close();
  }
  CHECK(RoundedWait(rig) == 300s);
  rig.ConnectUpstream();
  rig.Take();
  SECTION("what it refuses, and what it takes that nobody sent, is no progress") {
    rig.Say(model::UpstreamAck{.batch_id = "b13", .success = false});
    rig.Say(model::UpstreamAck{.batch_id = "unknown"});
    rig.Close(absl::OkStatus());
    CHECK(RoundedWait(rig) == 300s);
  }
  SECTION("what it takes is") {
    rig.Say(model::UpstreamAck{.batch_id = "b13"});
    rig.Close(absl::OkStatus());
    CHECK(RoundedWait(rig) == 1s);
  }
  CHECK(rig.machine.status().last_error.message() == "the hub ended the stream");
}

TEST_CASE("a connection must come in time, and a message be taken in time") {
  LinkRig rig;
  rig.Step();
  SECTION("connection") {
    CHECK(rig.next == rig.clock.Steady() + 60s);  // six addresses may have to be tried
    rig.AdvanceBy(59999ms);
    CHECK_FALSE(rig.transport.is_cancelled);
    rig.AdvanceBy(1ms);
  }
  SECTION("message") {
    CHECK(rig.Take() == Texts{"register"});
    rig.Say(LinkRig::DefaultWelcome());
    CHECK(rig.transport.is_writing);
    CHECK(rig.next == rig.clock.Steady() + 120s);
    rig.AdvanceBy(119999ms);
    CHECK_FALSE(rig.transport.is_cancelled);
    rig.AdvanceBy(1ms);
  }
  CHECK(rig.transport.is_cancelled);
  rig.Close(absl::CancelledError());
  CHECK(rig.state() == LinkState::kBackingOff);
  CHECK(rig.machine.status().last_error.code() == absl::StatusCode::kDeadlineExceeded);
}

TEST_CASE("a token that cannot be read is a failed attempt, and the next one reads it anew") {
  LinkOptions options = LinkRig::DefaultOptions();
  bool ok = false;
  options.token = [&]() -> absl::StatusOr<std::string> {
    if (!ok) return absl::NotFoundError("no such file");
    return std::string("fresh");
  };
  LinkRig rig(options);
  rig.Step();
  CHECK(rig.state() == LinkState::kBackingOff);
  CHECK(rig.transport.opens == 0);
  CHECK(rig.machine.status().last_error.code() == absl::StatusCode::kNotFound);
  ok = true;
  rig.AdvanceBy(1s);
  CHECK(rig.state() == LinkState::kConnecting);
  CHECK(rig.transport.token == "fresh");
}

TEST_CASE("stopping at once when nothing is with the hub") {
  LinkRig rig;
  SECTION("before the first attempt") {}
  SECTION("while backing off") {
    rig.Step();
    rig.Close();
  }
  SECTION("while connecting") { rig.Step(); }
  SECTION("while registering") { rig.Register(); }
  SECTION("while streaming") {
    rig.ConnectOurs();
    rig.Take();
    rig.Say(model::DeliveryAck{.applied = {{1, 1}}});
  }
  SECTION("while streaming, told to wait for longer than there is") {
    rig.ConnectOurs();
    rig.Take();
    rig.Say(model::DeliveryAck{.applied = {{1, 1}}, .retry_after = 5s});
    rig.Add();
  }
  rig.machine.Stop(5s);
  rig.Step();
  if (rig.transport.is_half_closed) {
    rig.Close(absl::OkStatus());
  } else if (rig.transport.is_open) {
    CHECK(rig.transport.is_cancelled);
    rig.Close(absl::CancelledError());
  }
  CHECK(rig.state() == LinkState::kStopped);
  CHECK(rig.machine.status().last_error.code() != absl::StatusCode::kCancelled);
  const int opens = rig.transport.opens;
  rig.AdvanceBy(1h);
  CHECK(rig.transport.opens == opens);
}

TEST_CASE("stopping sends what is kept and waits for applied, not for durable") {
  LinkRig rig;
  rig.Add();
  model::Welcome welcome = LinkRig::DefaultWelcome();
  welcome.credits = {2, 4 << 20};
  rig.ConnectOurs(welcome);
  CHECK(rig.Take(1) == Texts{"2"});  // and history is being written
  rig.Add();                         // made a moment before
  rig.machine.Stop(6s);
  rig.Step();
  CHECK_FALSE(rig.transport.is_cancelled);
  CHECK(rig.Take() == Texts{"h1"});
  rig.AdvanceBy(4s);
  rig.Say(model::DeliveryAck{.applied = {{2, 2}}});
  CHECK(rig.Take() == Texts{"3"});
  CHECK_FALSE(rig.transport.is_cancelled);
  CHECK_FALSE(rig.transport.is_half_closed);
  SECTION("applied") {
    rig.Say(model::DeliveryAck{.applied = {{1, 3}}});
    CHECK(rig.transport.is_half_closed);
  }
  SECTION("not in time") {
    CHECK(rig.next == rig.clock.Steady() + 1s);
    rig.AdvanceBy(1s);
    CHECK(rig.transport.is_half_closed);
  }
  SECTION("a later stop is shorter") {
    rig.machine.Stop(10s);
    rig.Step();
    CHECK_FALSE(rig.transport.is_cancelled);
    rig.machine.Stop(0s);
    rig.Step();
    CHECK(rig.transport.is_cancelled);
  }
  rig.Close(absl::CancelledError());
  CHECK(rig.state() == LinkState::kStopped);
  CHECK(rig.next == base::SteadyTime::max());
}

TEST_CASE("stopping right after connecting does not wait for a full batch that will not come") {
  LinkRig rig;
  rig.adds_full = false;
  rig.Add();
  rig.ConnectOurs();
  CHECK(rig.Take().empty());
  rig.machine.Stop(5s);
  rig.Step();
  CHECK(rig.Take() == Texts{"1"});
  rig.Say(model::DeliveryAck{.applied = {{1, 1}}});
  CHECK(rig.transport.is_half_closed);
}

TEST_CASE("a hub of ours is told that the collector ends, and has a second to end the stream") {
  LinkRig rig;
  rig.ConnectOurs();
  rig.Take();
  rig.Say(model::DeliveryAck{.applied = {{1, 1}}});
  const auto stop = [&](std::chrono::milliseconds limit) {
    rig.machine.Stop(limit);
    rig.Step();
  };
  const auto leaves = [&] { return rig.state() == LinkState::kLeaving && rig.transport.is_half_closed; };
  SECTION("it does") {
    stop(6s);
    CHECK(leaves());
    CHECK(rig.next == rig.clock.Steady() + 1s);
    rig.Say(model::DeliveryAck{.durable = {1, {}}});
    CHECK(rig.outbox.stats().batches == 0);
    CHECK_FALSE(rig.transport.is_cancelled);
    rig.Close(absl::OkStatus());
  }
  SECTION("it does not") {
    stop(6s);
    rig.AdvanceBy(999ms);
    CHECK_FALSE(rig.transport.is_cancelled);
    rig.AdvanceBy(1ms);
    CHECK(rig.transport.is_cancelled);
    CHECK(rig.next == base::SteadyTime::max());
    rig.Close(absl::CancelledError());
  }
  SECTION("within the limit, of which the end has half when it is short") {
    rig.Add();
    rig.Step();
    CHECK(rig.Take() == Texts{"2"});
    stop(600ms);
    CHECK(rig.next == rig.clock.Steady() + 300ms);
    rig.AdvanceBy(300ms);
    CHECK(leaves());
    CHECK(rig.next == rig.clock.Steady() + 300ms);
    rig.AdvanceBy(300ms);
    CHECK(rig.transport.is_cancelled);
    rig.Close(absl::CancelledError());
  }
  SECTION("a later stop is shorter") {
    stop(6s);
    CHECK(leaves());
    stop(100ms);
    CHECK(rig.next == rig.clock.Steady() + 100ms);
    stop(0s);
    CHECK(rig.transport.is_cancelled);
    rig.Close(absl::CancelledError());
  }
  SECTION("when what is being written is on its way") {
    rig.AdvanceBy(30s);
    REQUIRE(rig.transport.is_writing);
    stop(6s);
    CHECK(rig.state() == LinkState::kStreaming);
    CHECK_FALSE(rig.transport.is_cancelled);
    SECTION("in time") {
      CHECK(rig.Take() == Texts{"heartbeat"});
      CHECK(leaves());
    }
    SECTION("late") {
      rig.AdvanceBy(5s);
      CHECK(rig.next == rig.clock.Steady() + 1s);
      rig.Take();
      CHECK(leaves());
    }
    SECTION("never") {
      rig.AdvanceBy(5s);
      rig.AdvanceBy(1s);
      CHECK(rig.transport.is_cancelled);
    }
    rig.Close(absl::OkStatus());
  }
  CHECK(rig.state() == LinkState::kStopped);
  CHECK(rig.machine.status().last_error.ok());
}

// A spool on a disk in memory, for a rig that is made after it.
struct SpoolOfRig {
  base::SeededRandom random{1};
  spool::FakeFileSystem files{random};
  base::ManualClock clock;
  bool is_away = false;
  Outbox::Options Options() {
    return {.max_batches = 3, .open_spool = [this]() -> absl::StatusOr<std::unique_ptr<spool::Spool>> {
              if (is_away) return absl::UnavailableError("EIO");
              return spool::Spool::Open({.dir = "/spool"}, files, clock, random, {});
            }};
  }
};

TEST_CASE("stopping with a backlog on disk waits for state alone") {
  SpoolOfRig disk;
  LinkRig rig(LinkRig::DefaultOptions(), disk.Options());
  for (int i = 0; i < 30; ++i) rig.Add();
  rig.ConnectOurs();
  CHECK(rig.Take(2) == Texts{"31", "h1"});
  rig.machine.Stop(6s);
  rig.Step();
  CHECK(rig.Take() == Texts{"h2"});  // was being written
  CHECK(rig.state() == LinkState::kStreaming);
  rig.Say(model::DeliveryAck{.applied = {{1, 2}, {31, 31}}});
  CHECK(rig.state() == LinkState::kLeaving);
  CHECK(rig.outbox.stats().spooled == 31);
}

TEST_CASE("what is lost goes with registration and heartbeats until the hub knows") {
  LinkRig rig(LinkRig::DefaultOptions(), {.max_batches = 2});
  rig.adds_full = false;
  for (int i = 0; i < 5; ++i) rig.Add();
  const auto numbers = [](const std::vector<model::Gap>& gaps) {
    std::vector<model::SeqRange> out;
    for (const model::Gap& gap : gaps) out.push_back(gap.seqs);
    return out;
  };
  const auto last_heartbeat = [&] {
    rig.AdvanceBy(30s);
    rig.Take();
    const auto decoded = wire::DecodeFromCollector(rig.transport.written.back());
    REQUIRE(decoded.ok());
    REQUIRE(std::holds_alternative<model::Heartbeat>(*decoded));
    return std::get<model::Heartbeat>(*decoded);
  };
  const std::vector<model::SeqRange> lost = {{1, 3}};
  rig.ConnectOurs();
  CHECK(numbers(rig.LastRegistration().gaps) == lost);
  rig.AdvanceBy(2s);
  CHECK(rig.Take() == Texts{"5", "h4"});
  CHECK(numbers(last_heartbeat().gaps) == lost);
  rig.Say(model::DeliveryAck{.applied = {{4, 5}}, .durable = {0, {{4, 5}}}});
  CHECK(numbers(last_heartbeat().gaps) == lost);
  rig.Say(model::DeliveryAck{.durable = {5, {}}});
  CHECK(last_heartbeat().gaps.empty());
  rig.Close();
  rig.Register();
  CHECK(rig.LastRegistration().gaps.empty());
  CHECK(rig.LastRegistration().durable_low == 5);
}

TEST_CASE("a spool that can be opened only later ends the stream once nothing waits for the hub") {
  SpoolOfRig disk;
  disk.is_away = true;
  LinkRig rig(LinkRig::DefaultOptions(), disk.Options());
  rig.ConnectOurs();
  CHECK(rig.LastRegistration().instance == "instance-1");
  CHECK(rig.Take() == Texts{"1"});
  disk.is_away = false;
  rig.clock.AdvanceBy(5s);
  rig.Add();
  rig.Step();
  CHECK(rig.Take() == Texts{"2"});
  CHECK_FALSE(rig.transport.is_cancelled);
  rig.Say(model::DeliveryAck{.applied = {{1, 2}}, .durable = {2, {}}});
  CHECK(rig.transport.is_cancelled);
  rig.Close(absl::CancelledError("cancelled"));
  CHECK(rig.state() == LinkState::kBackingOff);
  rig.ConnectOurs();
  CHECK(rig.LastRegistration().instance != "instance-1");
  CHECK(rig.Take() == Texts{"1"});
  CHECK(rig.outbox.stats().spooled == 1);
}

TEST_CASE("a hub that did not list the delivery is left without a word") {
  LinkRig rig;
  model::Welcome welcome = LinkRig::DefaultWelcome();
  welcome.capabilities = {};
  rig.ConnectOurs(welcome);
  rig.Take();
  rig.Say(model::DeliveryAck{.applied = {{1, 1}}});
  rig.machine.Stop(6s);
  rig.Step();
  CHECK(rig.transport.is_cancelled);
  CHECK_FALSE(rig.transport.is_half_closed);
}

TEST_CASE("stopping an upstream hub's stream waits for the newest batch, which is all it takes") {
  LinkRig rig;
  rig.Add();
  rig.ConnectUpstream();
  CHECK(rig.Take() == Texts{"2"});
  rig.machine.Stop(5s);
  rig.Step();
  CHECK_FALSE(rig.transport.is_cancelled);
  rig.Say(model::UpstreamAck{.batch_id = "b2"});
  CHECK(rig.transport.is_cancelled);
  CHECK_FALSE(rig.transport.is_half_closed);
}

// Operators, which come rarely.
model::Batch OperatorBatch(const std::string& id) {
  model::Batch batch = NodeBatch(id);
  batch.snapshot.operators.emplace();
  return batch;
}

TEST_CASE("state that a hub did not get is asked for again, once an interval") {
  LinkRig rig(LinkRig::DefaultOptions(), {.max_batches = 1});
  model::Welcome welcome = LinkRig::DefaultWelcome();
  welcome.credits = {1, 1 << 20};
  rig.ConnectOurs(welcome);
  CHECK(rig.Take() == Texts{"1"});
  rig.outbox.Add(OperatorBatch("operators"), false);  // waits: 1 is in flight
  rig.Step();
  CHECK(rig.Take().empty());
  rig.Add();  // pushes it out
  rig.Step();
  CHECK(rig.connected == 1);
  rig.AdvanceBy(30s);
  CHECK(rig.connected == 2);
  const auto add_and_reject = [&](const model::Batch& batch) {
    for (int i = 0; i < 3; ++i) {
      rig.Say(model::DeliveryAck{.applied = {{1, 100}}});
      rig.Take();
    }
    rig.outbox.Add(batch, false);
    rig.Step();
    rig.Take();
    rig.Say(model::DeliveryAck{.rejected = {{rig.outbox.stats().last_seq, "malformed"}}});
  };
  for (int i = 0; i < 3; ++i) {
    add_and_reject(OperatorBatch("operators"));
    rig.AdvanceBy(29s);
    CHECK(rig.connected == 2 + i);
    rig.AdvanceBy(1s);
    CHECK(rig.connected == 3 + i);
  }
  // What every batch tells is not asked for.
  add_and_reject(NodeBatch("nodes"));
  rig.AdvanceBy(100s);
  CHECK(rig.connected == 5);
}

TEST_CASE("batches go at the pace the hub allows, heartbeats on time") {
  LinkRig rig;
  model::Welcome welcome = LinkRig::DefaultWelcome();
  welcome.config = {.max_bytes_per_second = 1000, .hash = "c1"};
  rig.ConnectOurs(welcome);
  CHECK(rig.Take() == Texts{"report c1", "1"});
  rig.Say(model::DeliveryAck{.applied = {{1, 1}}});
  rig.AdvanceBy(2s);
  rig.outbox.Add(NodeBatch("big", 1, 60'000), false);
  rig.Step();
  CHECK(rig.Take() == Texts{"2"});
  const base::SteadyTime sent = rig.clock.Steady();
  rig.Add();
  rig.Step();
  Texts texts;
  for (int i = 0; i < 10 && (texts.empty() || texts.back() != "3"); ++i) {
    rig.AdvanceBy(rig.next - rig.clock.Steady());
    for (const std::string& text : rig.Take()) texts.push_back(text);
  }
  CHECK(texts == Texts{"heartbeat", "heartbeat", "3"});
  CHECK(rig.clock.Steady() - sent >= 60s);
  CHECK(rig.clock.Steady() - sent < 62s);
  // A new configuration is in force at once for what follows.
  rig.Say(model::CollectorConfig{.hash = "c2"});
  rig.AdvanceBy(1s);
  rig.Take();
  rig.outbox.Add(NodeBatch("big", 1, 60'000), false);
  rig.Step();
  rig.Add();
  CHECK(rig.Take() == Texts{"4", "5"});
}

TEST_CASE("the last turn tells of a transport that does not end a stream") {
  LinkRig rig;
  rig.ConnectOurs();
  rig.AdvanceBy(10s);
  rig.Take();
  CHECK(rig.machine.status().last_turn == rig.clock.Steady());
  rig.SayBytes("\xff");  // breaks it off
  const base::SteadyTime broken = rig.clock.Steady();
  rig.AdvanceBy(100s);
  CHECK(rig.machine.status().last_turn == broken);
  rig.Close(absl::CancelledError());
  CHECK(rig.machine.status().last_turn == rig.clock.Steady());
}

TEST_CASE("stopping finishes a batch in parts") {
  LinkRig rig;
  rig.adds_full = false;
  rig.outbox.Add(NodeBatch("big", 3000, 500), true);
  rig.ConnectOurs();
  rig.AdvanceBy(2s);
  CHECK(rig.Take(1) == Texts{"1.0/2"});
  rig.machine.Stop(5s);
  rig.Step();
  CHECK(rig.Take() == Texts{"1.1/2"});
  rig.Say(model::DeliveryAck{.applied = {{1, 1}}});
  CHECK(rig.transport.is_half_closed);
}

TEST_CASE("the log tells what lasts, and never the token") {
  LinkRig rig;
  const auto count = [&](const std::string& word) {
    return std::count_if(rig.lines.begin(), rig.lines.end(),
                         [&](const std::string& line) { return line.find(word) != std::string::npos; });
  };
  SECTION("short failures") {
    rig.Step();
    rig.Close();
    CHECK(count("\"warn\"") == 0);
    CHECK(count("no link") == 1);
  }
  SECTION("lasting failures, once in ten minutes") {
    rig.interval = 1s;
    rig.Step();
    for (int i = 0; i < 500; ++i) {
      rig.Close();
      rig.AdvanceBy(1s);
    }
    CHECK(count("\"warn\"") == 1);
  }
  SECTION("a refused credential at once") {
    rig.Step();
    rig.Close(absl::UnauthenticatedError("unknown token"));
    CHECK(count("\"warn\"") == 1);
    CHECK(count("unknown token") == 1);
  }
  SECTION("a stream") {
    rig.ConnectOurs();
    rig.Close();
    CHECK(count("link established") == 1);
    CHECK(count("link lost") == 1);
    CHECK(count("\"info\"") == 2);
  }
  CHECK(count("hub:9443") > 0);
  CHECK(rig.Logged().find("secret-token") == std::string::npos);
}

TEST_CASE("metrics tell of the stream") {
  LinkRig rig;
  const auto has = [&](const std::string& line) {
    const std::string text = rig.registry.Render();
    CAPTURE(line, text);
    CHECK(text.find("\nclusterpulse_collector_" + line + "\n") != std::string::npos);
  };
  rig.ConnectOurs();
  has("connected 1");
  has("connects_total 1");
  has("backoff_seconds 0");
  rig.Close();
  has("connected 0");
  has("connection_failures_total 1");
  has("backoff_seconds 0.999");
  rig.ConnectOurs();
  has("connected 1");
  has("connects_total 2");
  has("backoff_seconds 0");
}

TEST_CASE("the state tells since when") {
  LinkRig rig;
  rig.ConnectOurs();
  const base::SystemTime since = rig.clock.Now();
  CHECK(rig.machine.status().since == since);
  rig.AdvanceBy(30s);
  CHECK(rig.machine.status().since == since);
  rig.Close();
  CHECK(rig.machine.status().since == rig.clock.Now());
  CHECK(ToString(rig.state()) == "backing off");
}

}  // namespace
}  // namespace clusterpulse::link
