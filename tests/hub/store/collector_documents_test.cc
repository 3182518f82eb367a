#include "hub/store/collector_documents.h"

#include <catch2/catch.hpp>

namespace clusterpulse::store {
namespace {

using namespace std::chrono_literals;

base::SystemTime At(std::int64_t ms) { return base::SystemTime(std::chrono::milliseconds(1'933'135'628'000 + ms)); }

Presence FullPresence() {
  Presence p;
  p.hub = "hub-0";
  p.instance = "4f2a";
  p.peer = "ipv4:10.0.0.1:443";
  p.version = "v2.3.0 <x>";
  p.upstream = true;
  p.epoch = 1'933'135'628'123;
  p.connected_at = At(1);
  p.last_message = At(2500);
  p.ended_at = At(2600);
  p.end_reason = "connection \"lost\"";
  p.interval = 45s;
  p.config_hash = "abc";
  p.config_problems = {"one", "two"};
  p.superseded = Presence::Rival{"0b11", "ipv6:[::1]:9", At(-7)};
  p.limited = "20000 nodes";
  p.degraded = "pods: forbidden";
  p.buffered_batches = 7;
  p.buffered_bytes = 1u << 20;
  p.oldest_buffered = At(-90'000);
  return p;
}

PushRecord FullRecord() {
  PushRecord r;
  r.data_at = At(10);
  r.received_at = At(20);
  r.interval = 45s;
  r.facts = {12, {7, {"w1 (KubeletNotReady)", "w2"}}, {1, {"dns is degraded: \xc3\xa9"}}};
  r.cluster_operators_at = At(9);
  r.counts = model::ClusterCounts{12, 5, 100, 99, 48.5, 1 << 30, 7};
  r.namespaces = 4;
  r.version = "4.14.2";
  r.platform = "OpenShift";
  r.health = model::Health::kUnhealthy;
  r.message = "7 of 12 nodes are not ready";
  return r;
}

TEST_CASE("what replicas tell each other is read as it was written") {
  CHECK(documents::ReadPresence(documents::OfPresence(FullPresence())) == FullPresence());
  CHECK(documents::ReadPresence(documents::OfPresence({})) == Presence());
  CHECK(documents::ReadPushRecord(documents::OfPushRecord(FullRecord())) == FullRecord());
  CHECK(documents::ReadPushRecord(documents::OfPushRecord({})) == PushRecord());
  const Presence::Rival rival{"i", "p", At(3)};
  CHECK(documents::ReadRival(documents::OfRival(rival)) == rival);
}

TEST_CASE("who was refused is not part of the presence: its holder does not write it") {
  Presence p = FullPresence();
  p.refused = Presence::Rival{"other", "peer", At(0)};
  CHECK(documents::ReadPresence(documents::OfPresence(p)) == FullPresence());
}

TEST_CASE("documents of another version or damaged ones are read as far as they go") {
  for (const char* text : {"", "[]", "null", "{", "7"}) {
    CAPTURE(text);
    CHECK_FALSE(documents::ReadPresence(text).has_value());
    CHECK_FALSE(documents::ReadPushRecord(text).has_value());
    CHECK_FALSE(documents::ReadRival(text).has_value());
  }
  Presence expected;
  expected.hub = "h";
  CHECK(documents::ReadPresence(R"({"hub":"h","epoch":"x","ended_at":"never","superseded":3,"new":[1]})") == expected);
  PushRecord record;
  record.version = "v1";
  record.interval = 0s;
  CHECK(documents::ReadPushRecord(R"({"version":"v1","facts":[],"counts":null,"health":"splendid"})") == record);
}

TEST_CASE("a durable position as text") {
  struct Case {
    const char* text;
    model::DurablePosition position;
    const char* written;  // empty: as read
  };
  const Case cases[] = {
      {"0", {}, ""},
      {"7", {7, {}}, ""},
      {"7,9-12,15", {7, {{9, 12}, {15, 15}}}, ""},
      {"18446744073709551615", {18446744073709551615u, {}}, ""},
      {"", {}, "0"},
      {"x", {}, "0"},
      {"5,", {5, {}}, "5"},
      {"5,9-", {5, {}}, "5"},
      {"5,9-7,20", {5, {}}, "5"},
      {"5,0", {5, {}}, "5"},
      {"5,7;9", {5, {{7, 7}}}, "5,7"},
      {"99999999999999999999", {}, "0"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    CHECK(documents::ReadDurable(c.text) == c.position);
    CHECK(documents::OfDurable(c.position) == (c.written[0] == '\0' ? c.text : c.written));
  }
}

TEST_CASE("held samples as text") {
  const HeldSamples held{base::SystemTime(1'700'000'000'123ms), base::SystemTime(1'700'000'030'456ms), 2};
  CHECK(documents::OfHeld(held) == "1700000000123 1700000030456 2");
  CHECK(documents::ReadHeld("1700000000123 1700000030456 2") == held);
  CHECK(documents::OfHeld({}).empty());
  for (const char* text : {"", "1", "1 2", "1 2 ", "1 2 x", "1 2 3 ", "2 1 3", "1 2 0", "-1 2 3", "1  2 3",
                           "1 99999999999999999 3", "99999999999999999999 2 3"}) {
    CAPTURE(text);
    CHECK(documents::ReadHeld(text).batches == 0);
  }
}

}  // namespace
}  // namespace clusterpulse::store
