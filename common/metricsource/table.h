#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>

#include "common/json/cursor.h"
#include "common/metricsource/projection.h"
#include "common/metricsource/text_dictionary.h"
#include "common/metricsource/types.h"
#include "common/metricsource/value.h"
#include "common/model/labels.h"

namespace clusterpulse::metricsource {

// The rows of one source from one cluster, column by column: nine bytes a cell at most, every text of a column once,
// the label sets that rows share once. Rows are only added. Confined to one thread while it grows; then any number may
// read.
class Table {
 public:
  // The cells of one column. A cell is the bits of an integer or double, 0 or 1, or the number of a text.
  class Cells {
   public:
    std::size_t size() const { return bits_.size(); }
    Kind kind(std::size_t row) const { return kinds_.empty() ? only_ : kinds_[row]; }
    std::uint64_t bits(std::size_t row) const { return bits_[row]; }
    std::int64_t AsInt(std::size_t row) const { return static_cast<std::int64_t>(bits_[row]); }
    double AsDouble(std::size_t row) const { return std::bit_cast<double>(bits_[row]); }
    std::uint32_t TextNumber(std::size_t row) const { return static_cast<std::uint32_t>(bits_[row]); }
    Value At(std::size_t row) const;
    const TextDictionary& texts() const { return texts_; }
    // Whether all cells have this one kind.
    bool IsOnly(Kind kind) const { return kinds_.empty() && only_ == kind; }

   private:
    friend class Table;
    // Gives what it takes as JSON.
    std::size_t Append(Value value);

    std::vector<std::uint64_t> bits_;
    std::vector<Kind> kinds_;  // empty as long as all are the same
    Kind only_ = Kind::kNull;
    TextDictionary texts_;
    std::vector<std::uint32_t> written_;  // of each text, what it takes as JSON
  };

  explicit Table(std::vector<Column> columns);
  Table(Table&&) noexcept = default;
  Table& operator=(Table&&) noexcept = default;

  const std::vector<Column>& columns() const { return columns_; }
  std::size_t size() const { return labels_.size(); }

  // Keeps a copy of the row. REQUIRES: a value for each column, of one of the column's kinds or null.
  void Append(const RowMeta& meta, std::span<const Value> values);
  // A row as AppendValues wrote it, or an upstream collector: members that are no column are skipped, absent ones are
  // null, a number of the other kind is made to fit where that is exact, lists and objects become text, and what does
  // not fit is null. No bytes are an object without members. kDataLoss: broken JSON or no object; no row is added.
  // `meta` must not borrow from what `parser` has read.
  absl::Status AppendJson(json::Parser& parser, const RowMeta& meta, std::string_view values);

  Value At(std::size_t row, std::size_t column) const { return cells_[column].At(row); }
  const Cells& cells(std::size_t column) const { return cells_[column]; }
  // REQUIRES: out.size() >= columns().size(). Texts borrow from the table.
  void ReadRow(std::size_t row, std::span<Value> out) const;
  RowMeta meta(std::size_t row) const;  // labels: sorted by key; empty when there are none
  model::Labels Labels(std::size_t row) const;

  // {"depth":3,"state":"up"}: the columns in their order.
  void AppendValues(std::size_t row, std::string& out) const;
  // "_id", "_namespace", "_name", "_labels" and "values" (spec 4).
  void AppendRecord(std::size_t row, std::string& out) const;

  std::size_t MemoryBytes() const;

  // About what the rows take in messages, where names and texts are written out with each row.
  std::size_t WrittenBytes() const { return written_; }
  // Of one run: with its aggregations that is a batch as hubs take it (32 MiB).
  static constexpr std::size_t kMostWritten = std::size_t{29} << 20;
  bool IsFull() const { return written_ >= kMostWritten; }

 private:
  std::uint32_t LabelSet(std::string_view json);

  std::vector<Column> columns_;
  std::vector<std::string> keys_;  // `"name":`, escaped
  std::vector<Cells> cells_;
  std::vector<std::uint32_t> namespaces_, labels_;
  TextDictionary namespace_texts_, names_, label_texts_;
  std::unique_ptr<json::Parser> parser_;  // of label sets
  std::unique_ptr<TextArena> arena_;      // of AppendJson
  std::vector<Value> row_;
  std::size_t keys_bytes_ = 0, written_ = 0;
};

}  // namespace clusterpulse::metricsource
