#include "collector/link/splitter.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "collector/link/history_part.h"

namespace clusterpulse::link {
namespace {

// The entries of all lists of a batch, one list after the other, from `skip` on and `take` of them.
class Window {
 public:
  Window(std::size_t first, std::size_t last) : skip_(first), take_(last - first), is_first_(first == 0) {}

  bool is_first() const { return is_first_; }

  template <typename T>
  std::vector<T> Cut(const std::vector<T>& list) {
    const std::size_t begin = std::min(skip_, list.size());
    const std::size_t count = std::min(take_, list.size() - begin);
    skip_ -= begin;
    take_ -= count;
    const auto at = list.begin() + static_cast<std::ptrdiff_t>(begin);
    return {at, at + static_cast<std::ptrdiff_t>(count)};
  }
  // Absent where none of its entries are; a list without entries is in the first part.
  template <typename T>
  std::optional<std::vector<T>> Cut(const std::optional<std::vector<T>>& list) {
    if (!list.has_value()) return std::nullopt;
    std::vector<T> out = Cut(*list);
    if (out.empty() && !(list->empty() && is_first_)) return std::nullopt;
    return out;
  }

 private:
  std::size_t skip_, take_;
  const bool is_first_;
};

template <typename T>
std::size_t Size(const std::optional<std::vector<T>>& list) {
  return list.has_value() ? list->size() : 0;
}

// REQUIRES: at most one source.
std::size_t CountEntries(const model::Batch& piece) {
  const model::ClusterSnapshot& s = piece.snapshot;
  return Size(s.namespaces) + Size(s.nodes) + Size(s.operators) + Size(s.cluster_operators) +
         (piece.sources.empty() ? 0 : piece.sources.front().rows.size());
}

model::Batch Header(const model::Batch& batch) {
  model::Batch out;
  out.cluster = batch.cluster;
  out.id = batch.id;
  out.collected_at = batch.collected_at;
  out.interval = batch.interval;
  return out;
}

model::Batch CutPart(const model::Batch& piece, std::size_t first, std::size_t last) {
  Window window(first, last);
  model::Batch part = Header(piece);
  const model::ClusterSnapshot& from = piece.snapshot;
  model::ClusterSnapshot& to = part.snapshot;
  to.namespaces = window.Cut(from.namespaces);
  to.nodes = window.Cut(from.nodes);
  to.operators = window.Cut(from.operators);
  to.cluster_operators = window.Cut(from.cluster_operators);
  if (window.is_first()) {
    part.gaps = piece.gaps;
    to.counts = from.counts;
    to.info = from.info;
  }
  if (!piece.sources.empty()) {
    const model::SourceResult& source = piece.sources.front();
    part.sources.push_back({.source = source.source,
                            .resource_count = source.resource_count,
                            .truncated = source.truncated,
                            .duration = source.duration,
                            .rows = window.Cut(source.rows),
                            .definition_hash = source.definition_hash,
                            .age = source.age,
                            .failure = source.failure,
                            .errors = source.errors});
    if (window.is_first()) {
      model::SourceResult& first = part.sources.front();
      first.aggregations = source.aggregations;
      first.aggregations_json = source.aggregations_json;
      first.message = source.message;
      first.fields = source.fields;
    }
  }
  return part;
}

// Cuts entries first..last into as many parts as their size asks for, and those again that are still too large.
void EncodeParts(const model::Batch& piece, std::size_t first, std::size_t last, std::size_t max_body,
                 std::vector<std::string>& out) {
  std::string body = wire::EncodeBody(CutPart(piece, first, last));
  const std::size_t entries = last - first;
  if (body.size() <= max_body || entries <= 1) {
    out.push_back(std::move(body));
    return;
  }
  const std::size_t cuts = std::min(body.size() / max_body + 1, entries);
  body = std::string();
  for (std::size_t i = 0; i < cuts; ++i) {
    EncodeParts(piece, first + entries * i / cuts, first + entries * (i + 1) / cuts, max_body, out);
  }
}

constexpr std::size_t kRowsAtOnce = 128;

// About what it takes encoded.
std::size_t UsualBytes(const model::SourceRow& row) {
  std::size_t bytes = 24 + row.id.size() + row.ns.size() + row.name.size() + row.values_json.size();
  for (const auto& [key, value] : row.labels) bytes += 8 + key.size() + value.size();
  return bytes;
}

// As EncodeParts, of a source whose rows come from `rows`. REQUIRES: the piece holds that source, without rows, and no
// other list.
void EncodeStream(const model::Batch& piece, const model::RowStream& rows, std::size_t max_body,
                  std::vector<std::string>& out) {
  std::vector<model::SourceRow> made;
  std::size_t next = 0, from = 0, made_to = 0;  // next of `made`; which row is its first, and its last
  do {
    model::Batch part = CutPart(piece, from + next, from + next);
    std::vector<model::SourceRow>& own = part.sources.front().rows;
    for (std::size_t bytes = 0;; ++next) {
      if (next == made.size()) {
        if (made_to == rows.count) break;
        made.clear();
        next = 0;
        from = made_to;
        made_to = std::min(rows.count, from + kRowsAtOnce);
        rows.append(from, made_to, made);
        if (made.empty()) break;
      }
      bytes += UsualBytes(made[next]);
      if (bytes > max_body && !own.empty()) break;
      own.push_back(std::move(made[next]));
    }
    EncodeParts(part, 0, own.size(), max_body, out);
  } while (next < made.size());
}

std::size_t MaxBody(std::size_t max_message) { return max_message - std::min(max_message - 1, wire::kMostStampBytes); }

std::vector<std::string> ScopesOf(const model::Batch& batch) {
  const model::ClusterSnapshot& s = batch.snapshot;
  std::vector<std::string> scopes;
  if (s.nodes.has_value()) scopes.emplace_back("nodes");
  if (s.counts.has_value()) scopes.emplace_back("counts");
  if (s.namespaces.has_value()) scopes.emplace_back("namespaces");
  if (s.operators.has_value()) scopes.emplace_back("operators");
  if (s.cluster_operators.has_value()) scopes.emplace_back("cluster_operators");
  if (s.info.has_value()) scopes.emplace_back("info");
  // That a run failed does not take the place of what an earlier one found.
  for (const model::SourceResult& source : batch.sources) {
    scopes.push_back((source.failure.empty() ? "source:" : "failed-source:") + source.source);
  }
  return scopes;
}

Piece MakePiece(const model::Batch& batch, std::vector<std::string> bodies, bool with_history) {
  Piece piece{.bodies = std::move(bodies), .scopes = ScopesOf(batch)};
  if (with_history) piece.history = wire::EncodeBody(HistoryPart(batch));
  for (const std::string& body : piece.bodies) piece.bytes += body.size() + wire::kMostStampBytes;
  piece.is_source = batch.sources.size() == 1 && piece.scopes.size() == 1;
  return piece;
}

// All but streams.
std::vector<Piece> SplitBatch(model::Batch batch, std::size_t max_body, bool with_history) {
  std::vector<Piece> pieces;
  std::string whole = wire::EncodeBody(batch);
  if (whole.size() <= max_body) {
    pieces.push_back(MakePiece(batch, {std::move(whole)}, with_history));
    return pieces;
  }
  whole = std::string();

  const auto add = [&](model::Batch& piece) {
    if (ScopesOf(piece).empty()) return;
    std::vector<std::string> bodies;
    EncodeParts(piece, 0, CountEntries(piece), max_body, bodies);
    pieces.push_back(MakePiece(piece, std::move(bodies), with_history));
    piece.gaps.clear();
  };
  model::ClusterSnapshot& from = batch.snapshot;
  model::Batch piece = Header(batch);
  piece.gaps = batch.gaps;
  piece.snapshot = {.nodes = std::move(from.nodes), .counts = from.counts, .namespaces = std::move(from.namespaces)};
  add(piece);
  piece.snapshot = {.operators = std::move(from.operators)};
  add(piece);
  piece.snapshot = {.info = std::move(from.info), .cluster_operators = std::move(from.cluster_operators)};
  add(piece);
  piece.snapshot = {};
  for (model::SourceResult& source : batch.sources) {
    piece.sources.clear();
    piece.sources.push_back(std::move(source));
    add(piece);
  }
  if (pieces.empty()) pieces.push_back(MakePiece(batch, {wire::EncodeBody(batch)}, with_history));
  return pieces;
}

}  // namespace

std::vector<Piece> Split(model::Batch batch, std::size_t max_message, bool with_history,
                         std::vector<model::RowStream> streams) {
  const std::size_t max_body = MaxBody(max_message);
  model::Batch header = Header(batch);
  std::vector<Piece> pieces;
  if (streams.empty() || !ScopesOf(batch).empty()) {
    pieces = SplitBatch(std::move(batch), max_body, with_history);
  } else {
    header.gaps = std::move(batch.gaps);
  }
  for (model::RowStream& stream : streams) {
    header.sources.clear();
    header.sources.push_back(std::move(stream.head));
    std::vector<std::string> bodies;
    EncodeStream(header, stream, max_body, bodies);
    pieces.push_back(MakePiece(header, std::move(bodies), with_history));
    header.gaps.clear();
  }
  return pieces;
}

absl::StatusOr<Piece> HistoryPiece(std::string body, std::size_t max_message) {
  const std::size_t max_body = MaxBody(max_message);
  if (body.size() <= max_body) {
    Piece piece;
    piece.bytes = body.size() + wire::kMostStampBytes;
    piece.bodies.push_back(std::move(body));
    return piece;
  }
  const absl::StatusOr<wire::FromCollector> message = wire::DecodeFromCollector(wire::BatchMessage(body, {.seq = 1}));
  const auto* const batch = message.ok() ? std::get_if<model::Batch>(&*message) : nullptr;
  if (batch == nullptr || batch->sources.size() > 1) return absl::DataLossError("not the history part of a batch");
  std::vector<std::string> bodies;
  EncodeParts(*batch, 0, CountEntries(*batch), max_body, bodies);
  return MakePiece(*batch, std::move(bodies), /*with_history=*/false);
}

std::optional<std::string> WholeBody(const Piece& piece, std::size_t max_message) {
  std::string body;
  if (piece.bodies.size() > 1 && piece.is_source) {
    // Sources are entries of a list themselves: put together, these would be many of one name.
    auto first = wire::DecodeFromCollector(wire::BatchMessage(piece.bodies.front(), {.seq = 1}));
    if (!first.ok() || !std::holds_alternative<model::Batch>(*first)) return std::nullopt;
    model::Batch& batch = std::get<model::Batch>(*first);
    model::SourceResult& source = batch.sources.front();
    source.truncated = true;
    source.resource_count = static_cast<std::int32_t>(source.rows.size());
    body = wire::EncodeBody(batch);
  } else {
    for (const std::string& part : piece.bodies) body += part;
    // Lists are joined by that; of their number, which namespaces have besides, that of the last part would remain.
    if (piece.bodies.size() > 1 && body.size() / 2 <= max_message) {
      const auto joined = wire::DecodeFromCollector(wire::BatchMessage(body, {.seq = 1}));
      if (joined.ok() && std::holds_alternative<model::Batch>(*joined)) {
        body = wire::EncodeBody(std::get<model::Batch>(*joined));
      }
    }
  }
  if (body.size() + wire::kMostStampBytes > max_message) return std::nullopt;
  return body;
}

}  // namespace clusterpulse::link
