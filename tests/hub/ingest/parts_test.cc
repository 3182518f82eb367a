#include "hub/ingest/parts.h"

#include <random>

#include <catch2/catch.hpp>

#include "common/wire/messages.h"

namespace clusterpulse::ingest {
namespace {

template <typename T>
void Deal(const std::vector<T>& items, std::mt19937& random, std::vector<model::Batch>& parts,
          std::optional<std::vector<T>> model::ClusterSnapshot::*scope) {
  std::size_t part = 0;
  for (const T& item : items) {
    part = std::min(parts.size() - 1, part + random() % 2);
    auto& list = parts[part].snapshot.*scope;
    if (!list.has_value()) list.emplace();
    list->push_back(item);
  }
  if (items.empty()) (parts[0].snapshot.*scope).emplace();
}

TEST_CASE("joined parts are the batch they were made of") {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    model::Batch whole;
    whole.cluster = "c";
    whole.id = "id";
    whole.seq = 4;
    whole.collected_at = base::SystemTime(std::chrono::seconds(1933135000));
    whole.snapshot.nodes.emplace();
    whole.snapshot.namespaces.emplace();
    whole.snapshot.operators.emplace();
    whole.snapshot.cluster_operators.emplace();
    for (unsigned i = random() % 20; i > 0; --i) whole.snapshot.nodes->push_back({.name = "n" + std::to_string(i)});
    for (unsigned i = random() % 5; i > 0; --i) whole.snapshot.operators->push_back({.name = "o"});
    for (unsigned i = random() % 5; i > 0; --i) {
      whole.snapshot.cluster_operators->push_back({.name = "co" + std::to_string(i)});
    }
    for (unsigned i = 0; i < random() % 9; ++i) whole.snapshot.namespaces->push_back("ns" + std::to_string(i));
    whole.snapshot.counts.emplace().pods = 7;
    whole.snapshot.info.emplace().version = "v1";
    model::SourceResult source{.source = "ns/s", .resource_count = 3, .aggregations = {{"a", 1.5}}};
    for (unsigned i = random() % 9; i > 0; --i) source.rows.push_back({.id = std::to_string(i), .values_json = "{}"});

    std::vector<model::Batch> parts(1 + random() % 5);
    for (std::uint32_t i = 0; i < parts.size(); ++i) {
      parts[i].cluster = "c";
      parts[i].id = "id";
      parts[i].seq = 4;
      parts[i].collected_at = whole.collected_at;
      parts[i].part = i;
      parts[i].parts = static_cast<std::uint32_t>(parts.size());
    }
    Deal(*whole.snapshot.nodes, random, parts, &model::ClusterSnapshot::nodes);
    Deal(*whole.snapshot.namespaces, random, parts, &model::ClusterSnapshot::namespaces);
    Deal(*whole.snapshot.operators, random, parts, &model::ClusterSnapshot::operators);
    Deal(*whole.snapshot.cluster_operators, random, parts, &model::ClusterSnapshot::cluster_operators);
    parts[random() % parts.size()].snapshot.counts = whole.snapshot.counts;
    parts[random() % parts.size()].snapshot.info = whole.snapshot.info;
    // A source's properties are in each part that has rows of it, its aggregations in the first.
    std::size_t at = 0;
    parts[0].sources.push_back(source);
    parts[0].sources[0].rows.clear();
    for (const model::SourceRow& row : source.rows) {
      at = std::min(parts.size() - 1, at + random() % 2);
      if (parts[at].sources.empty()) {
        parts[at].sources.push_back({.source = "ns/s", .resource_count = 3});
      }
      parts[at].sources[0].rows.push_back(row);
    }
    whole.sources.push_back(source);

    std::vector<std::string> messages;
    for (const model::Batch& part : parts) messages.push_back(wire::Encode(part));
    const auto joined = DecodeParts(messages);
    REQUIRE(joined.ok());
    REQUIRE(*joined == whole);
  }
}

TEST_CASE("what is no batch is none") {
  CHECK(DecodeParts({}).status().code() == absl::StatusCode::kInternal);
  CHECK(DecodeParts({wire::Encode(model::Heartbeat{})}).status().code() == absl::StatusCode::kDataLoss);
  CHECK(DecodeParts({"\xff\xff"}).status().code() == absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace clusterpulse::ingest
