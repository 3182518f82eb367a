#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "common/model/batch.h"
#include "common/model/row_stream.h"
#include "common/wire/messages.h"

// Batches in messages of bounded size (delivery.md 6). Stateless; nothing outside these functions needs the batch
// itself once it is split.
namespace clusterpulse::link {

inline constexpr std::size_t kMaxBatch = std::size_t{32} << 20;  // what a hub of ours joins, if it tells no other

// What one sequence number stands for.
struct Piece {
  // Bodies (wire::EncodeBody). One: it goes whole. More: parts, each with some of the lists' entries in their order;
  // what is no list entry (counts, info, aggregations) is in the first, the properties of a source in each. Joined they
  // are the piece.
  std::vector<std::string> bodies;
  std::size_t bytes = 0;  // of all bodies as messages
  // What it holds: "nodes", "counts", ..., "source:<namespace>/<name>", "failed-source:<namespace>/<name>".
  std::vector<std::string> scopes;
  bool is_source = false;  // holds one source and nothing else
  std::string history;     // body of its history part (history_part.h), if that was asked for
};

// A batch that fits into one message of `max_message` bytes stays one piece. Otherwise it is split along scopes: nodes
// with counts and namespaces, operators, cluster operators with info, each source; and a piece that still does not fit
// is cut into parts. A single node, operator or row above `max_message` makes a part of its own, which is larger. Never
// empty: a batch that holds nothing is one piece without scopes. The batch's gaps go with the first piece. Each of
// `streams`, which belong to the batch too, is a piece of its own; its rows are made part by part.
std::vector<Piece> Split(model::Batch batch, std::size_t max_message = wire::kMaxOwnMessage, bool with_history = false,
                         std::vector<model::RowStream> streams = {});

// A history part as a piece that can be sent, in parts if it is larger than a message. kDataLoss: it is none.
absl::StatusOr<Piece> HistoryPiece(std::string body, std::size_t max_message = wire::kMaxOwnMessage);

// The body for a hub that joins no parts: of a source the rows of its first part, marked truncated; of anything else
// all. Nullopt: larger than a message of `max_message` bytes.
std::optional<std::string> WholeBody(const Piece& piece, std::size_t max_message);

}  // namespace clusterpulse::link
