#include "collector/link/splitter.h"

#include <algorithm>

#include "collector/link/history_part.h"
#include "common/wire/batch_codec.h"
#include "tests/collector/link/sample.h"
#include "tests/common/wire/sample_batch.h"

namespace clusterpulse::link {
namespace {

// What is left of a batch when only its content counts.
model::Batch Content(model::Batch batch) {
  batch.seq = 0;
  batch.age = std::chrono::milliseconds(0);
  batch.part = batch.parts = 0;
  batch.history_only = false;
  return batch;
}

std::vector<model::Batch> ReadParts(const Piece& piece) {
  std::vector<model::Batch> parts;
  const auto count = static_cast<std::uint32_t>(piece.bodies.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    wire::Stamp stamp{.seq = 9};
    if (count > 1) stamp.part = i, stamp.parts = count;
    parts.push_back(ReadBatch(wire::BatchMessage(piece.bodies[i], stamp)));
    CHECK(parts.back().part == stamp.part);
    CHECK(parts.back().parts == stamp.parts);
  }
  return parts;
}

model::Batch Joined(const std::vector<model::Batch>& parts) {
  model::Batch whole = Content(parts.front());
  for (std::size_t i = 1; i < parts.size(); ++i) JoinInto(whole, parts[i]);
  return whole;
}

std::size_t Entries(const model::Batch& batch) {
  const auto size = [](const auto& list) { return list.has_value() ? list->size() : 0; };
  std::size_t entries = size(batch.snapshot.nodes) + size(batch.snapshot.namespaces) + size(batch.snapshot.operators) +
                        size(batch.snapshot.cluster_operators);
  for (const auto& source : batch.sources) entries += source.rows.size();
  return entries;
}

// Any content, any scopes, sizes from nothing to many messages.
model::Batch RandomBatch(base::Random& random) {
  const auto upto = [&](std::size_t most) { return static_cast<std::size_t>(random.Next() % (most + 1)); };
  const auto text = [&] { return std::string(upto(3) == 0 ? upto(900) : upto(30), 'z'); };
  model::Batch batch;
  batch.cluster = "edge-1";
  batch.id = "id-" + std::to_string(random.Next());
  batch.collected_at = base::SystemTime(std::chrono::milliseconds(1'700'000'000'123));
  batch.interval = std::chrono::seconds(30);
  model::ClusterSnapshot& s = batch.snapshot;
  if (upto(3) > 0) {
    s.nodes.emplace();
    for (std::size_t i = 0, n = upto(30); i < n; ++i) s.nodes->push_back(SampleNode(i, text().size()));
  }
  if (upto(3) > 0) s.counts = model::ClusterCounts{.nodes = 3, .pods = static_cast<int>(upto(99))};
  if (upto(3) > 0) {
    s.namespaces.emplace();
    for (std::size_t i = 0, n = upto(200); i < n; ++i) s.namespaces->push_back("ns-" + std::to_string(1000 + i));
  }
  if (upto(3) > 0) s.info = model::ClusterInfo{.version = "1.29", .console_url = text()};
  if (upto(3) > 0) {
    s.operators.emplace();
    for (std::size_t i = 0, n = upto(20); i < n; ++i) {
      s.operators->push_back(model::OlmOperator{.name = "op" + std::to_string(i), .display_name = text()});
    }
  }
  if (upto(3) > 0) {
    s.cluster_operators.emplace();
    for (std::size_t i = 0, n = upto(20); i < n; ++i) {
      s.cluster_operators->push_back(model::ClusterOperator{.name = "co" + std::to_string(i), .message = text()});
    }
  }
  if (upto(3) == 0) {
    batch.gaps.push_back({{}, batch.collected_at - std::chrono::hours(1), batch.collected_at});
  }
  for (std::size_t i = 0, n = upto(3); i < n; ++i) {
    batch.sources.push_back(SampleSource("source-" + std::to_string(i), upto(40), upto(100)));
  }
  return batch;
}

TEST_CASE("pieces and parts joined are the batch, whatever it holds") {
  base::SeededRandom random(20260301);
  int in_parts = 0, split = 0;
  for (int round = 0; round < 500; ++round) {
    const model::Batch batch = RandomBatch(random);
    const std::size_t max_message = 300 + random.Next() % 4000;
    CAPTURE(round, max_message);
    const std::vector<Piece> pieces = Split(batch, max_message, /*with_history=*/true);
    REQUIRE(!pieces.empty());
    split += pieces.size() > 1 ? 1 : 0;

    model::Batch whole, history;
    std::vector<std::string> scopes;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const Piece& piece = pieces[i];
      in_parts += piece.bodies.size() > 1 ? 1 : 0;
      const std::vector<model::Batch> parts = ReadParts(piece);
      std::size_t bytes = 0;
      for (std::size_t part = 0; part < parts.size(); ++part) {
        const std::size_t size = piece.bodies[part].size() + wire::kMostStampBytes;
        bytes += size;
        // What does not fit is one entry; the first part has also what is no entry.
        if (size > max_message) CHECK(Entries(parts[part]) <= 1);
      }
      CHECK(piece.bytes == bytes);
      CHECK(piece.is_source == (piece.scopes.size() == 1 && piece.scopes.front().rfind("source:", 0) == 0));
      scopes.insert(scopes.end(), piece.scopes.begin(), piece.scopes.end());
      const auto history_piece = HistoryPiece(piece.history, max_message);
      REQUIRE(history_piece.ok());
      const std::vector<model::Batch> history_parts = ReadParts(*history_piece);
      for (std::size_t part = 0; part < parts.size(); ++part) {
        if (i + part > 0) CHECK(parts[part].gaps.empty());
      }
      if (i == 0) {
        whole = Joined(parts);
        history = Joined(history_parts);
      } else {
        JoinInto(whole, Joined(parts));
        JoinInto(history, Joined(history_parts));
      }
    }
    CHECK(whole == batch);
    CHECK(history == HistoryPart(batch));
    std::sort(scopes.begin(), scopes.end());
    CHECK(std::adjacent_find(scopes.begin(), scopes.end()) == scopes.end());
  }
  CHECK(in_parts > 100);
  CHECK(split > 100);
}

TEST_CASE("a source whose rows are made on the way is the same as one that has them") {
  base::SeededRandom random(20260302);
  for (int round = 0; round < 300; ++round) {
    const std::size_t rows = random.Next() % 4 == 0 ? random.Next() % 3 : random.Next() % 700;
    const std::size_t max_message = 300 + random.Next() % 30000;
    CAPTURE(round, rows, max_message);
    model::Batch batch = NodeBatch("a");
    batch.gaps.push_back({{}, batch.collected_at - std::chrono::hours(1), batch.collected_at});
    model::SourceResult whole = SampleSource("streamed", rows, random.Next() % 200);
    whole.aggregations = {{"total", 7}};
    whole.aggregations_json = R"({"total":7})";
    whole.definition_hash = "1234";
    whole.age = std::chrono::milliseconds(1500);
    whole.message = "namespace a: forbidden";
    whole.fields = {{"size", rows, 0, 0}};
    whole.resource_count = static_cast<std::int32_t>(rows);
    const bool is_alone = round % 2 == 0;
    if (is_alone) batch.snapshot = {};
    std::size_t made = 0, most = 0;
    std::vector<model::RowStream> streams(1);
    streams[0].head = whole;
    streams[0].head.rows.clear();
    streams[0].count = rows;
    streams[0].append = [&](std::size_t first, std::size_t last, std::vector<model::SourceRow>& out) {
      CHECK(first == made);
      CHECK(out.empty());
      most = std::max(most, last - first);
      made = last;
      out.insert(out.end(), whole.rows.begin() + static_cast<std::ptrdiff_t>(first),
                 whole.rows.begin() + static_cast<std::ptrdiff_t>(last));
    };
    const std::vector<Piece> pieces = Split(batch, max_message, /*with_history=*/true, std::move(streams));
    CHECK(made == rows);
    CHECK(most <= 200);
    const Piece& piece = pieces.back();
    CHECK(piece.is_source);
    CHECK(piece.scopes == std::vector<std::string>{"source:" + whole.source});
    if (is_alone) CHECK(pieces.size() == 1);
    const std::vector<model::Batch> parts = ReadParts(piece);
    for (std::size_t part = 0; part < parts.size(); ++part) {
      const std::size_t size = piece.bodies[part].size() + wire::kMostStampBytes;
      if (size > max_message) CHECK(Entries(parts[part]) <= 1);
      if (!is_alone || part > 0) CHECK(parts[part].gaps.empty());
    }
    if (is_alone) CHECK(parts[0].gaps == batch.gaps);
    const model::Batch joined = Joined(parts);
    REQUIRE(joined.sources.size() == 1);
    CHECK(joined.sources[0] == whole);
    const model::Batch history = ReadBatch(wire::BatchMessage(piece.history, {.seq = 1}));
    CHECK(history.sources.at(0).aggregations == whole.aggregations);
    CHECK(history.sources.at(0).age == whole.age);
  }
}

TEST_CASE("what is no history part is told from one") {
  CHECK(HistoryPiece(std::string(2000, 'x'), 1000).status().code() == absl::StatusCode::kDataLoss);
  CHECK(HistoryPiece(wire::Encode(model::Heartbeat{.degraded = std::string(2000, 'x')}), 1000).status().code() ==
        absl::StatusCode::kDataLoss);
}

TEST_CASE("a batch that fits stays whole") {
  const model::Batch batch = wire::FullBatch();
  const std::vector<Piece> pieces = Split(batch);
  REQUIRE(pieces.size() == 1);
  CHECK(pieces[0].scopes == std::vector<std::string>{"nodes", "counts", "namespaces", "operators", "cluster_operators",
                                                     "info", "failed-source:team-a/certificates"});
  CHECK_FALSE(pieces[0].is_source);
  CHECK(Content(ReadParts(pieces[0]).front()) == Content(batch));
}

TEST_CASE("a batch without anything is one piece without scopes") {
  model::Batch batch = NodeBatch("a");
  batch.snapshot = {};
  for (const std::size_t max_message : {std::size_t{1} << 20, std::size_t{1}}) {
    const std::vector<Piece> pieces = Split(batch, max_message);
    REQUIRE(pieces.size() == 1);
    CHECK(pieces[0].scopes.empty());
    CHECK(pieces[0].bodies.size() == 1);
  }
}

TEST_CASE("a large batch is split along its scopes") {
  model::Batch batch = wire::FullBatch();
  batch.sources = {SampleSource("a", 3), SampleSource("b", 0)};
  const std::vector<Piece> pieces = Split(batch, 1200);
  std::vector<std::vector<std::string>> scopes;
  for (const Piece& piece : pieces) scopes.push_back(piece.scopes);
  CHECK(scopes == std::vector<std::vector<std::string>>{{"nodes", "counts", "namespaces"},
                                                        {"operators"},
                                                        {"cluster_operators", "info"},
                                                        {"source:team-a/a"},
                                                        {"source:team-a/b"}});
  for (const Piece& piece : pieces) CHECK(piece.bodies.size() == 1);
  CHECK(pieces[3].is_source);
  CHECK_FALSE(pieces[1].is_source);
}

TEST_CASE("thousands of nodes go in messages of ours, of even size") {
  const model::Batch batch = NodeBatch("a", 3000, 2000);
  const std::vector<Piece> pieces = Split(batch);
  REQUIRE(pieces.size() == 1);
  const Piece& piece = pieces.front();
  CHECK(piece.bodies.size() >= 6);
  CHECK(piece.bodies.size() <= 8);
  for (const std::string& body : piece.bodies) {
    CHECK(wire::BatchMessage(body, {.seq = ~std::uint64_t{0},
                                    .age = std::chrono::hours(9000),
                                    .history_only = true,
                                    .part = 4000,
                                    .parts = 4001})
              .size() <= wire::kMaxOwnMessage);
  }
  CHECK(Joined(ReadParts(piece)) == batch);
}

TEST_CASE("for a hub without parts nodes go whole, or not at all") {
  const model::Batch batch = NodeBatch("a", 300, 100);
  const Piece piece = Split(batch, 10'000).front();
  REQUIRE(piece.bodies.size() > 1);
  const auto body = WholeBody(piece, wire::kMaxUpstreamMessage);
  REQUIRE(body.has_value());
  CHECK(Content(ReadBatch(wire::BatchMessage(*body, {.seq = 1}))) == batch);
  CHECK(WholeBody(piece, body->size() + wire::kMostStampBytes).has_value());
  CHECK_FALSE(WholeBody(piece, body->size() + wire::kMostStampBytes - 1).has_value());
}

TEST_CASE("for a hub without parts the number of namespaces is that of all") {
  model::Batch batch = NodeBatch("a", 40, 100);
  batch.snapshot.namespaces->clear();
  for (int i = 1000; i < 2500; ++i) batch.snapshot.namespaces->push_back("ns-" + std::to_string(i));
  const Piece piece = Split(batch, 4000).front();
  REQUIRE(piece.bodies.size() > 3);
  const auto body = WholeBody(piece, wire::kMaxUpstreamMessage);
  REQUIRE(body.has_value());
  wire::v1::MetricsBatch message;
  REQUIRE(message.ParseFromString(*body));
  CHECK(message.cluster_metrics().namespaces() == 1500);
  CHECK(message.cluster_metrics().namespace_list_size() == 1500);
  CHECK(message.cluster_metrics().nodes() == 40);
  CHECK(Content(ReadBatch(wire::BatchMessage(*body, {.seq = 1}))) == batch);
}

TEST_CASE("for a hub without parts a source is cut, and says so") {
  model::Batch batch = NodeBatch("a");
  batch.snapshot = {};
  batch.sources = {SampleSource("big", 300, 100)};
  const Piece piece = Split(batch, 10'000).front();
  REQUIRE(piece.bodies.size() > 1);
  const auto body = WholeBody(piece, 10'000);
  REQUIRE(body.has_value());
  const model::Batch cut = ReadBatch(wire::BatchMessage(*body, {.seq = 1}));
  REQUIRE(cut.sources.size() == 1);
  const model::SourceResult& source = cut.sources.front();
  const std::vector<model::SourceRow>& all = batch.sources.front().rows;
  CHECK(source.truncated);
  CHECK(source.rows.size() > 30);
  CHECK(source.rows.size() < all.size());
  CHECK(std::equal(source.rows.begin(), source.rows.end(), all.begin()));
  CHECK(source.resource_count == static_cast<int>(source.rows.size()));
  CHECK(source.aggregations == batch.sources.front().aggregations);
  CHECK_FALSE(WholeBody(piece, 1000).has_value());
}

}  // namespace
}  // namespace clusterpulse::link
