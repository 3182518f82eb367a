#include "common/wire/node_reader.h"

#include <array>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/common/wire/by_protobuf.h"
#include "tests/common/wire/sample_batch.h"

using namespace clusterpulse;
using namespace clusterpulse::wire;
using std::literals::string_literals::operator""s;

namespace {

std::string Varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string Field(std::uint64_t number, int type, const std::string& value) {
  return Varint(number << 3 | static_cast<std::uint64_t>(type)) + value;
}
std::string Text(std::uint64_t number, const std::string& text) { return Field(number, 2, Varint(text.size()) + text); }
std::string Number(std::uint64_t number, std::uint64_t value) { return Field(number, 0, Varint(value)); }

std::string NodeBytes() {
  v1::MetricsBatch message;
  Encode(FullBatch(), message);
  return message.node_metrics(0).SerializeAsString();
}

// Bytes near those of a node: what is random is the choice, not the form.
class Spoiler {
 public:
  explicit Spoiler(std::uint32_t seed) : random_(seed) {}

  std::string Bytes(std::string bytes) {
    for (std::size_t i = 1 + Below(4); i > 0; --i) {
      const std::size_t at = Below(bytes.size() + 1);
      switch (Below(5)) {
        case 0:
          if (at < bytes.size()) bytes[at] = static_cast<char>(random_());
          break;
        case 1:
          if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << Below(8)));
          break;
        case 2:
          bytes.insert(at, AnyField(2));
          break;
        case 3:
          bytes.erase(at, Below(4));
          break;
        case 4:
          bytes.resize(Below(10) == 0 ? at : bytes.size());
          break;
      }
    }
    return bytes;
  }

  // A field with a number of NodeMetrics or one near, of any wire type.
  std::string AnyField(int depth) {
    static constexpr std::array<std::uint64_t, 8> kBorders{1, 3, 10, 26, 30, 37, 100, 105};
    const std::uint64_t number = kBorders[Below(8)] + Below(6);
    switch (Below(8)) {
      case 0:
        return Field(number, 1, std::string(8, static_cast<char>(random_())));
      case 1:
        return Field(number, 5, "abcd");
      case 2:
        return Field(number, 0, std::string(Below(10), '\x80') + static_cast<char>(Below(4)));  // longer than need be
      case 3:
        return Number(number, random_() % 2 == 0 ? ~std::uint64_t{0} : std::uint64_t{random_()} << Below(33));
      case 4:
        return Field(number, 3, AnyOf(depth)) + Field(number, 4, "");
      case 5:
        return Text(number, "n"s + static_cast<char>(random_()));
      default:
        return Text(number, AnyOf(depth));
    }
  }

 private:
  std::size_t Below(std::size_t end) { return random_() % end; }
  // What conditions, times, taints and entries hold.
  std::string AnyOf(int depth) {
    std::string out;
    for (std::size_t i = Below(4); i > 0 && depth > 0; --i) {
      switch (Below(4)) {
        case 0:
          out += Text(1 + Below(5), std::string(1, static_cast<char>('a' + Below(3))));
          break;
        case 1:
          out += Number(1 + Below(5), random_());
          break;
        default:
          out += Text(1 + Below(5), AnyOf(depth - 1));
          break;
      }
    }
    return out + (Below(4) == 0 ? AnyField(0) : "");
  }

  std::mt19937 random_;
};

}  // namespace

TEST_CASE("what the wire allows reads as protobuf reads it") {
  const std::string name = Text(1, "n");
  struct Case {
    const char* name;
    std::string bytes;
    std::function<bool(const model::Node&)> holds;
  };
  const std::vector<Case> cases{
      {"the last of several counts", Text(1, "a") + name + Number(11, 5) + Number(11, 7),
       [](const model::Node& n) { return n.name == "n" && n.memory_capacity == 7; }},
      {"of a map's key too", name + Text(35, Text(1, "k") + Text(2, "1")) + Text(35, Text(1, "k") + Text(2, "2")),
       [](const model::Node& n) {
         return n.labels == model::Labels{{"k", "2"}};
       }},
      {"and within an entry", name + Text(35, Text(2, "1") + Text(1, "a") + Text(2, "2") + Text(1, "b")),
       [](const model::Node& n) {
         return n.labels == model::Labels{{"b", "2"}};
       }},
      {"an entry without anything", name + Text(102, ""),
       [](const model::Node& n) {
         return n.annotations == model::Labels{{"", ""}};
       }},
      {"a repeated key without a value", name + Text(35, Text(1, "k") + Text(2, "1")) + Text(35, Text(1, "k")),
       [](const model::Node& n) {
         return n.labels == model::Labels{{"k", ""}};
       }},
      {"labels in any order", name + Text(35, Text(1, "b")) + Text(35, Text(1, "a")) + Text(35, Text(1, "c")),
       [](const model::Node& n) { return n.labels.size() == 3 && (*n.labels.begin()).first == "a"; }},
      {"fields of a later version",
       name + Text(500, "x") + Number(501, 1) + Field(502, 5, "abcd") + Field(503, 1, "abcdefgh"),
       [](const model::Node& n) { return n == model::Node{.name = "n"}; }},
      {"a known number of another type is not known",
       name + Number(2, 1) + Text(11, "x") + Number(3, 1) + Number(100, 1),
       [](const model::Node& n) { return n == model::Node{.name = "n"}; }},
      {"a number of 64 bits where 32 are meant", name + Number(22, (std::uint64_t{1} << 40) + 5),
       [](const model::Node& n) { return n.pods.running == 5; }},
      {"a time in two pieces", name + Text(100, Text(5, Number(1, 60)) + Text(5, Number(2, 7))),
       [](const model::Node& n) {
         return n.conditions.at(0).last_transition ==
                base::SystemTime(std::chrono::seconds(60)) + std::chrono::nanoseconds(7);
       }},
      {"a time without anything", name + Text(100, Text(5, "")),
       [](const model::Node& n) { return n.conditions.at(0).last_transition == base::SystemTime(); }},
      {"no time", name + Text(100, Text(1, "Ready")),
       [](const model::Node& n) { return !n.conditions.at(0).last_transition.has_value(); }},
      {"text beyond ASCII", name + Text(37, "b\xc3\xbc\x63her"),
       [](const model::Node& n) { return n.hostname == "b\xc3\xbc\x63her"; }},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      model::Node node;
      REQUIRE(ReadNode(c.bytes, node).ok());
      CHECK(c.holds(node));
      CHECK(NodeDifference(c.bytes) == "");
    }
  }
}

TEST_CASE("what only protobuf can judge is left to it") {
  const std::string name = Text(1, "n");
  struct Case {
    const char* name;
    std::string bytes;
    bool is_message;
  };
  const std::vector<Case> cases{
      {"a group", name + Field(500, 3, Number(1, 1)) + Field(500, 4, ""), true},
      {"a group without an end", name + Field(500, 3, ""), false},
      {"an end without a group", name + Field(500, 4, ""), false},
      {"a wire type there is not", name + Field(500, 6, ""), false},
      {"field 0", name + Number(0, 1), false},
      {"a tag longer than it need be", name + "\xd8\x80\x00\x05"s, true},
      {"a length longer than it need be", "\x0a\x81\x80\x80\x80\x00n"s, true},
      {"a length that is no number of 32 bits", "\x0a\x81\x80\x80\x80\x80\x00n"s, false},
      {"a number of eleven bytes", name + Field(11, 0, std::string(10, '\x80') + '\x01'), false},
      {"a number cut off", name + Field(11, 0, "\x80"), false},
      {"a text cut off", "\x0a\x05n"s, false},
      {"half a double", name + Field(10, 1, "abcd"), false},
      {"half a fixed 32", name + Field(500, 5, "ab"), false},
      {"a name that is not UTF-8", Text(1, "\xff"), false},
      {"a label that is not UTF-8", name + Text(35, Text(1, "k") + Text(2, "\xc3")), false},
      {"a surrogate", name + Text(37, "\xed\xa0\x80"), false},
      {"a condition cut off", name + Text(100, "\x0a\x05n"), false},
      {"a time cut off", name + Text(100, Text(5, "\x08")), false},
      {"a taint cut off", name + Text(101, "\x0a\x05n"), false},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      model::Node node;
      CHECK(ReadNode(c.bytes, node).code() == absl::StatusCode::kDataLoss);
      CHECK(NodeDifference(c.bytes) == "");
      // In a batch, with the scope of nodes and without: the whole is what protobuf says.
      for (const std::string& scopes : {Number(105, v1::SCOPE_NODES), Number(105, v1::SCOPE_OPERATORS)}) {
        const std::string request = Text(1, Text(1, "c") + Text(3, "") + Text(5, c.bytes) + Number(100, 1) + scopes);
        const auto decoded = DecodeFromCollector(request);
        CHECK(decoded.ok() == c.is_message);
        if (decoded.ok()) CHECK(std::holds_alternative<model::Batch>(*decoded));
        if (!decoded.ok()) CHECK(decoded.status().code() == absl::StatusCode::kDataLoss);
        CHECK(BatchDifference(request) == "");
      }
    }
  }
}

TEST_CASE("an unusual form of the message is read by protobuf") {
  const std::string batch = Text(1, "c") + Text(3, "") + Number(100, 1) + Number(105, v1::SCOPE_NODES);
  const std::string first = Text(1, batch + Text(5, Text(1, "a"))), second = Text(1, Text(5, Text(1, "b")));
  struct Case {
    const char* name;
    std::string bytes;
    std::size_t nodes;
  };
  const std::vector<Case> cases{
      {"as usual", first, 1},
      {"in two pieces", first + second, 2},
      {"with more beside it", first + Number(1000, 1), 1},
      {"after another payload", Text(2, "") + first, 1},
      {"nodes of another type are not known", Text(1, batch + Number(5, 1)), 0},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto decoded = DecodeFromCollector(c.bytes);
      REQUIRE(decoded.ok());
      REQUIRE(std::holds_alternative<model::Batch>(*decoded));
      CHECK(std::get<model::Batch>(*decoded).snapshot.nodes->size() == c.nodes);
      CHECK(BatchDifference(c.bytes) == "");
    }
  }
  CHECK(std::holds_alternative<model::Heartbeat>(*DecodeFromCollector(first + Text(2, ""))));
  CHECK_FALSE(DecodeFromCollector(Text(1, batch + Text(5, "\xff")) + Text(2, "")).ok());
}

TEST_CASE("bytes that are no node come before a field that breaks a rule") {
  const std::string nameless = Text(1, "c") + Text(3, "") + Number(100, 1) + Number(105, v1::SCOPE_NODES) + Text(5, "");
  for (const std::string& node : {Text(1, "a"), "\xff"s}) {
    const std::string request = Text(1, nameless + Text(5, node));
    const auto decoded = DecodeFromCollector(request);
    CHECK(decoded.ok() == (node != "\xff"));
    if (decoded.ok()) CHECK(std::holds_alternative<BadBatch>(*decoded));
    CHECK(BatchDifference(request) == "");
  }
}

TEST_CASE("whatever the bytes are, they read as protobuf reads them") {
  const std::string node = NodeBytes();
  const std::string request = Encode(FullBatch());
  int understood = 0, refused = 0, left = 0;
  for (std::uint32_t seed = 0; seed < 20'000; ++seed) {
    Spoiler spoiler(seed);
    const std::string bytes = seed % 3 == 0   ? spoiler.Bytes(Text(1, "n"))
                              : seed % 3 == 1 ? spoiler.Bytes(node)
                                              : Text(1, "n") + spoiler.AnyField(3) + spoiler.AnyField(3);
    CAPTURE(seed);
    REQUIRE(NodeDifference(bytes) == "");
    model::Node read;
    const absl::Status status = ReadNode(bytes, read);
    ++(status.ok() ? understood : status.code() == absl::StatusCode::kDataLoss ? left : refused);

    REQUIRE(BatchDifference(Text(1, Text(1, "c") + Text(5, Text(1, "a")) + Text(5, bytes))) == "");
    if (seed % 4 == 0) REQUIRE(BatchDifference(spoiler.Bytes(request)) == "");
  }
  CHECK(understood > 4000);
  CHECK(refused > 500);
  CHECK(left > 4000);
}
