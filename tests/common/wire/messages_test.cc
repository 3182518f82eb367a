#include "common/wire/messages.h"

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include <catch2/catch.hpp>

#include "clusterpulse/collector/v1/collector.pb.h"
#include "tests/common/wire/sample_batch.h"

using namespace clusterpulse;
using namespace clusterpulse::wire;
namespace v1 = clusterpulse::collector::v1;

namespace {

const base::SystemTime kAt{std::chrono::milliseconds(1'700'000'000'123)};

model::CollectorConfig Config() {
  return {.metric_sources = {R"({"a":1})", ""},
          .interval = std::chrono::seconds(30),
          .operator_interval = std::chrono::seconds(300),
          .max_nodes = 5000,
          .max_bytes_per_second = 1 << 20,
          .hash = "abc"};
}

template <typename T>
void CheckFromCollector(const T& message) {
  const auto decoded = DecodeFromCollector(Encode(message));
  CAPTURE(decoded.status().ToString());
  REQUIRE(decoded.ok());
  REQUIRE(std::holds_alternative<T>(*decoded));
  CHECK(std::get<T>(*decoded) == message);
}
template <typename T>
void CheckFromHub(const T& message) {
  const auto decoded = DecodeFromHub(Encode(message));
  CAPTURE(decoded.status().ToString());
  REQUIRE(decoded.ok());
  REQUIRE(std::holds_alternative<T>(*decoded));
  CHECK(std::get<T>(*decoded) == message);
}

}  // namespace

TEST_CASE("messages of the collector come back as they went") {
  CheckFromCollector(model::Registration{.cluster = "edge-1",
                                         .token = "secret",
                                         .version = "1.2.3",
                                         .instance = "i-1",
                                         .held = {3, 9},
                                         .durable_low = 2,
                                         .durable = {{4, 4}, {6, 8}},
                                         .gaps = {{{1, 2}, kAt, kAt, model::GapCause::kSpoolOverflow}},
                                         .capabilities = {true, true, true},
                                         .config_hash = "abc",
                                         .interval = std::chrono::seconds(30)});
  CheckFromCollector(model::Registration{.cluster = "edge-1"});
  CheckFromCollector(FullBatch());
  CheckFromCollector(model::Heartbeat{.cluster = "edge-1",
                                      .sent_at = kAt,
                                      .uptime = std::chrono::seconds(99),
                                      .buffered_batches = 4,
                                      .buffered_bytes = 4096,
                                      .oldest_buffered = kAt,
                                      .last_seq = 12,
                                      .last_collection = std::chrono::milliseconds(7),
                                      .degraded = "pods: forbidden",
                                      .gaps = {{{4, 4}, kAt, kAt, model::GapCause::kCollectorLost}},
                                      .interval = std::chrono::seconds(30)});
  CheckFromCollector(model::Heartbeat{});
  CheckFromCollector(model::ConfigReport{"abc", {"source x: unknown kind"}});
}

TEST_CASE("messages of the hub come back as they went") {
  CheckFromHub(model::Welcome{.hub = "hub-0",
                              .version = "1.2.3",
                              .epoch = 1'700'000'000'123,
                              .durable = {7, {{9, 9}, {11, 20}}},
                              .credits = {16, 4 << 20},
                              .capabilities = {true, false, true},
                              .max_message_bytes = 4 << 20,
                              .max_batch_bytes = 32 << 20,
                              .config = Config(),
                              .last_seq = 24});
  CheckFromHub(model::DeliveryAck{.applied = {{1, 4}, {6, 6}},
                                  .durable = {3, {{5, 5}}},
                                  .rejected = {{7, "too large"}},
                                  .retry_after = std::chrono::milliseconds(250),
                                  .credits = model::Credits{8, 1 << 20}});
  CheckFromHub(model::DeliveryAck{});
  CheckFromHub(model::Replay{"i-1", {5, 8}});
  CheckFromHub(Config());
  CheckFromHub(model::UpstreamAck{"b-1", false, "store is down"});
}

TEST_CASE("a payload that is not known is no fault") {
  std::string unknown;
  SECTION("none") {}
  SECTION("of a later version") {
    unknown = std::string("\xfa\x3f\x03\x0a\x01\x61", 6);  // field 1023, a message
  }
  CHECK(std::holds_alternative<Unknown>(*DecodeFromCollector(unknown)));
  CHECK(std::holds_alternative<Unknown>(*DecodeFromHub(unknown)));
}

TEST_CASE("bytes that are no message") {
  v1::ConnectRequest bad_text;
  bad_text.mutable_register_()->set_cluster_name("ok");
  std::string not_utf8 = bad_text.SerializeAsString();
  not_utf8[not_utf8.find("ok")] = '\xff';
  const std::string cut = Encode(FullBatch()).substr(0, 100);
  for (const std::string& bytes : {std::string("\xff\xff\xff"), cut, not_utf8}) {
    CHECK(DecodeFromCollector(bytes).status().code() == absl::StatusCode::kDataLoss);
  }
  CHECK(DecodeFromHub("\xff").status().code() == absl::StatusCode::kDataLoss);
}

TEST_CASE("a bad batch is told apart, so that its sender learns which one it was") {
  model::Batch batch = FullBatch();
  batch.snapshot.nodes->at(0).name = "not a name";
  const auto decoded = DecodeFromCollector(Encode(batch));
  REQUIRE(decoded.ok());
  const auto* bad = std::get_if<BadBatch>(&*decoded);
  REQUIRE(bad != nullptr);
  CHECK(bad->cluster == batch.cluster);
  CHECK(bad->id == batch.id);
  CHECK(bad->seq == batch.seq);
  CHECK(bad->reason.code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("the head of a batch tells what it is and how much it holds, whatever the rest is") {
  model::Batch batch = FullBatch();
  const std::size_t nodes = batch.snapshot.nodes->size(), sources = batch.sources.size();
  std::size_t rows = 0;
  for (const model::SourceResult& source : batch.sources) rows += source.rows.size();
  REQUIRE(rows > 0);
  std::string bytes = Encode(batch);
  SECTION("as it is") { CHECK(DecodeBatch(bytes).value() == batch); }
  SECTION("a node that breaks a rule") {
    batch.snapshot.nodes->at(0).name = "not a name";
    bytes = Encode(batch);
    CHECK(DecodeBatch(bytes).status().code() == absl::StatusCode::kInvalidArgument);
  }
  SECTION("a node that is none") {
    bytes.at(bytes.find("worker-1")) = '\xff';
    CHECK(DecodeBatch(bytes).status().code() == absl::StatusCode::kDataLoss);
  }
  const auto envelope = DecodeEnvelope(bytes);
  REQUIRE(envelope.ok());
  REQUIRE(std::holds_alternative<BatchHead>(*envelope));
  const auto& head = std::get<BatchHead>(*envelope);
  CHECK(head.nodes == nodes);
  CHECK(head.sources == sources);
  CHECK(head.rows == rows);
  batch.snapshot = {};
  batch.sources.clear();
  CHECK(head.batch == batch);
}

TEST_CASE("an envelope of anything but a batch is the message") {
  const model::Heartbeat heartbeat{.cluster = "edge-1", .last_seq = 7};
  CHECK(std::get<model::Heartbeat>(DecodeEnvelope(Encode(heartbeat)).value()) == heartbeat);
  CHECK(DecodeBatch(Encode(heartbeat)).status().code() == absl::StatusCode::kDataLoss);
  CHECK(DecodeEnvelope("\xff").status().code() == absl::StatusCode::kDataLoss);
  CHECK(DecodeBatch("\xff").status().code() == absl::StatusCode::kDataLoss);
}

TEST_CASE("fields of other messages that break a rule") {
  struct Case {
    const char* said;
    std::function<void(v1::ConnectRequest&)> spoil;
  };
  const std::vector<Case> cases{
      {"instance has 257 bytes, more than 256",
       [](auto& m) { m.mutable_register_()->set_instance(std::string(257, 'x')); }},
      {"version has 257 bytes, more than 256",
       [](auto& m) { m.mutable_register_()->set_version(std::string(257, 'x')); }},
      {"token has 16385 bytes, more than 16384",
       [](auto& m) { m.mutable_register_()->set_token(std::string(16385, 'x')); }},
      {"first_seq..last_seq is 5..4",
       [](auto& m) {
         m.mutable_register_()->set_first_seq(5);
         m.mutable_register_()->set_last_seq(4);
       }},
      {"first_seq..last_seq is 0..4", [](auto& m) { m.mutable_register_()->set_last_seq(4); }},
      {"interval_seconds is 86401, allowed: 0..86400",
       [](auto& m) { m.mutable_register_()->set_interval_seconds(86401); }},
      {"timestamp is not a time between 1970 and 9999",
       [](auto& m) { m.mutable_health()->mutable_timestamp()->set_nanos(1'000'000'000); }},
      {"uptime_seconds is -1, allowed: 0..3153600000", [](auto& m) { m.mutable_health()->set_uptime_seconds(-1); }},
      {"buffered_batches is negative", [](auto& m) { m.mutable_health()->set_buffered_batches(-1); }},
      {"hash has 257 bytes, more than 256",
       [](auto& m) { m.mutable_config_report()->set_hash(std::string(257, 'x')); }},
      {"a problem has 4097 bytes, more than 4096",
       [](auto& m) {
         m.mutable_config_report()->add_problems(std::string(4096, 'x'));
         m.mutable_config_report()->add_problems(std::string(4097, 'x'));
       }},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.said) {
      v1::ConnectRequest message;
      c.spoil(message);
      const auto decoded = DecodeFromCollector(message.SerializeAsString());
      CHECK(decoded.status().code() == absl::StatusCode::kInvalidArgument);
      CHECK(std::string(decoded.status().message()) == c.said);
    }
  }
}

TEST_CASE("what no clock should tell goes as the nearest that is taken") {
  using std::chrono::hours, std::chrono::milliseconds, std::chrono::seconds;
  const auto back = [](const std::string& bytes) {
    const auto decoded = DecodeFromCollector(bytes);
    CAPTURE(decoded.status().ToString());
    REQUIRE(decoded.ok());
    return *decoded;
  };
  const auto heartbeat = std::get<model::Heartbeat>(back(Encode(model::Heartbeat{
      .uptime = seconds(-1), .buffered_batches = -1, .last_collection = milliseconds(-1), .interval = seconds(-1)})));
  CHECK(heartbeat == model::Heartbeat{});
  const auto longest = std::get<model::Heartbeat>(back(
      Encode(model::Heartbeat{.uptime = seconds::max(), .last_collection = hours(24 * 500), .interval = hours(25)})));
  CHECK(longest.uptime == hours(24 * 365 * 100));
  CHECK(longest.last_collection == hours(24 * 400));
  CHECK(longest.interval == hours(24));
  const auto registration =
      std::get<model::Registration>(back(Encode(model::Registration{.cluster = "edge-1", .interval = seconds::max()})));
  CHECK(registration.interval == hours(24));
  const std::string body = EncodeBody(FullBatch());
  const auto age = [&](milliseconds sent) {
    return std::get<model::Batch>(back(BatchMessage(body, {.seq = 1, .age = sent}))).age;
  };
  CHECK(age(milliseconds(-1)) == milliseconds(0));
  CHECK(age(hours(24 * 400)) == hours(24 * 400));
  CHECK(age(hours(24 * 400) + milliseconds(1)) == hours(24 * 400));
}

TEST_CASE("a body is encoded once and stamped with every sending") {
  model::Batch batch = FullBatch();
  const std::string body = EncodeBody(batch);
  const auto stamp = GENERATE(values<Stamp>({{},
                                             {.seq = 7, .age = std::chrono::milliseconds(12), .history_only = true},
                                             {.seq = 7, .part = 2, .parts = 3},
                                             {.seq = ~std::uint64_t{0},
                                              .age = std::chrono::hours(24 * 400),
                                              .history_only = true,
                                              .part = 4094,
                                              .parts = 4096}}));
  const std::string message = BatchMessage(body, stamp);
  CHECK(message.size() <= body.size() + kMostStampBytes);
  const auto decoded = DecodeFromCollector(message);
  REQUIRE(decoded.ok());
  REQUIRE(std::holds_alternative<model::Batch>(*decoded));
  batch.seq = stamp.seq;
  batch.age = stamp.age;
  batch.history_only = stamp.history_only;
  batch.part = stamp.part;
  batch.parts = stamp.parts;
  CHECK(std::get<model::Batch>(*decoded) == batch);
}

TEST_CASE("bodies one after the other are one body") {
  model::Batch first, second;
  first.cluster = second.cluster = "edge-1";
  first.id = second.id = "b";
  first.collected_at = second.collected_at = FullBatch().collected_at;
  first.snapshot.nodes = {model::Node{.name = "a"}, model::Node{.name = "b"}};
  first.snapshot.namespaces = {"x"};
  second.snapshot.nodes = {model::Node{.name = "c"}};
  second.snapshot.namespaces = {"y"};
  second.snapshot.counts = model::ClusterCounts{.nodes = 3};
  const auto decoded = DecodeFromCollector(BatchMessage(EncodeBody(first) + EncodeBody(second), {.seq = 1}));
  REQUIRE(decoded.ok());
  REQUIRE(std::holds_alternative<model::Batch>(*decoded));
  model::Batch want = second;
  want.seq = 1;
  want.snapshot.nodes = {model::Node{.name = "a"}, model::Node{.name = "b"}, model::Node{.name = "c"}};
  want.snapshot.namespaces = {"x", "y"};
  CHECK(std::get<model::Batch>(*decoded) == want);
}

TEST_CASE("ranges must ascend and be none of nothing") {
  struct Case {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    bool ok;
  };
  const auto c = GENERATE(values<Case>({{{{1, 1}, {3, 5}}, true},
                                        {{{0, 1}}, false},
                                        {{{2, 1}}, false},
                                        {{{1, 3}, {3, 5}}, false},
                                        {{{5, 6}, {1, 2}}, false}}));
  v1::ConnectResponse message;
  for (const auto& [first, last] : c.ranges) {
    auto& range = *message.mutable_delivery_ack()->add_durable();
    range.set_first(first);
    range.set_last(last);
  }
  CHECK(DecodeFromHub(message.SerializeAsString()).ok() == c.ok);
}

TEST_CASE("a gap that cannot be is refused") {
  struct Case {
    const char* name;
    model::Gap gap;
    bool in_batch;
  };
  const base::SystemTime later = kAt + std::chrono::seconds(1);
  const std::vector<Case> cases{
      {"without numbers in a heartbeat", {{}, kAt, later}, false},
      {"from no number", {{0, 3}, kAt, later}, false},
      {"backwards", {{4, 3}, kAt, later}, false},
      {"ends before it begins", {{3, 4}, later, kAt}, false},
      {"with numbers in a batch", {{3, 4}, kAt, later}, true},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      model::Batch batch = FullBatch();
      batch.gaps = {c.gap};
      if (c.in_batch) {
        CHECK(DecodeBatch(Encode(batch)).status().code() == absl::StatusCode::kInvalidArgument);
      } else {
        const auto heartbeat = DecodeFromCollector(Encode(model::Heartbeat{.gaps = {c.gap}}));
        CHECK(heartbeat.status().code() == absl::StatusCode::kInvalidArgument);
        const auto registration = DecodeFromCollector(Encode(model::Registration{.cluster = "c", .gaps = {c.gap}}));
        CHECK(registration.status().code() == absl::StatusCode::kInvalidArgument);
      }
    }
  }
}
