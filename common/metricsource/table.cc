#include "common/metricsource/table.h"

#include <charconv>

#include "common/base/status.h"
#include "common/json/writer.h"
#include "common/kube/object_meta.h"
#include "common/metricsource/convert.h"

namespace clusterpulse::metricsource {
namespace {

// What is around a row's names and values in a message, and what a double mostly takes.
constexpr std::size_t kRowFrame = 32, kDoubleBytes = 20;

std::size_t IntBytes(std::int64_t value) {
  char text[24];
  return static_cast<std::size_t>(std::to_chars(text, text + sizeof text, value).ptr - text);
}

// The value as one of the kinds of its column, or null.
Value Fit(Value value, KindSet kinds) {
  if (value.IsNull() || kinds.Has(value.kind())) return value;
  if (value.kind() == Kind::kInt && kinds.Has(Kind::kDouble)) return Value::Double(static_cast<double>(value.AsInt()));
  if (value.kind() == Kind::kDouble && kinds.Has(Kind::kInt)) {
    const double number = value.AsDouble();
    constexpr double kLimit = 9223372036854775808.0;  // 2^63
    if (number >= -kLimit && number < kLimit && static_cast<double>(static_cast<std::int64_t>(number)) == number) {
      return Value::Int(static_cast<std::int64_t>(number));
    }
  }
  return Value::Null();
}

// A cell of a document. Text borrows from the document or the arena.
absl::Status ReadCell(json::Cursor cell, KindSet kinds, TextArena& arena, Value& out) {
  out = Value::Null();
  const json::Type type = cell.type();
  switch (type) {
    case json::Type::kNull:
      return absl::OkStatus();
    case json::Type::kBool: {
      bool is;
      if (cell.Get(is)) out = Fit(Value::Bool(is), kinds);
      return absl::OkStatus();
    }
    case json::Type::kString: {
      std::string_view text;
      if (cell.Get(text)) out = Fit(Value::Text(text), kinds);
      return absl::OkStatus();
    }
    case json::Type::kNumber: {
      ASSIGN_OR_RETURN(const std::string_view token, cell.Raw());
      Value number;
      if (ParseJsonNumber(token, number)) {
        if (token == "-0") number = Value::Double(-0.0);  // only a double is written like that
        out = Fit(number, kinds);
      }
      return absl::OkStatus();
    }
    case json::Type::kArray:
    case json::Type::kObject: {
      if (!kinds.Has(Kind::kText)) return absl::OkStatus();
      ASSIGN_OR_RETURN(const std::string_view raw, cell.Raw());
      std::string compact;
      AppendCompactJson(raw, compact);
      std::string_view text;
      if (arena.Copy(compact, text)) out = Value::Text(text);
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

}  // namespace

Value Table::Cells::At(std::size_t row) const {
  switch (kind(row)) {
    case Kind::kNull:
      return Value::Null();
    case Kind::kBool:
      return Value::Bool(bits_[row] != 0);
    case Kind::kInt:
      return Value::Int(AsInt(row));
    case Kind::kDouble:
      return Value::Double(AsDouble(row));
    case Kind::kText:
      return Value::Text(texts_.Get(TextNumber(row)));
  }
  return Value::Null();
}

std::size_t Table::Cells::Append(Value value) {
  const Kind kind = value.kind();
  if (bits_.empty()) {
    only_ = kind;
  } else if (kinds_.empty() && kind != only_) {
    kinds_.assign(bits_.size(), only_);
  }
  if (!kinds_.empty()) kinds_.push_back(kind);
  switch (kind) {
    case Kind::kNull:
      bits_.push_back(0);
      return 4;
    case Kind::kBool:
      bits_.push_back(value.AsBool() ? 1 : 0);
      return 5;
    case Kind::kInt:
      bits_.push_back(static_cast<std::uint64_t>(value.AsInt()));
      return IntBytes(value.AsInt());
    case Kind::kDouble:
      bits_.push_back(std::bit_cast<std::uint64_t>(value.AsDouble()));
      return kDoubleBytes;
    case Kind::kText: {
      const std::uint32_t number = texts_.Add(value.AsText());
      if (number == written_.size()) {
        std::string escaped;
        json::AppendEscaped(escaped, value.AsText());
        written_.push_back(static_cast<std::uint32_t>(escaped.size() + 2));
      }
      bits_.push_back(number);
      return written_[number];
    }
  }
  return 0;
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)), cells_(columns_.size()) {
  for (const Column& column : columns_) {
    std::string& key = keys_.emplace_back("\"");
    json::AppendEscaped(key, column.name);
    key += "\":";
    keys_bytes_ += key.size() + 1;
  }
}

// Label sets are kept in one form, whatever form they came in: keys sorted, only texts.
std::uint32_t Table::LabelSet(std::string_view json) {
  if (json.empty() || json == "{}") return label_texts_.Add("");
  if (const std::uint32_t known = label_texts_.Find(json); known != TextDictionary::kNone) return known;
  if (parser_ == nullptr) parser_ = std::make_unique<json::Parser>();
  model::Labels labels;
  const absl::Status status =
      parser_->Parse(json, [&](json::Cursor object) { return kube::ReadLabels(object, labels); });
  if (!status.ok() || labels.empty()) return label_texts_.Add("");
  std::string text;
  json::Writer writer(text);
  writer.BeginObject();
  for (const auto& [key, value] : labels) writer.Member(key, value);
  writer.EndObject();
  return label_texts_.Add(text);
}

void Table::Append(const RowMeta& meta, std::span<const Value> values) {
  namespaces_.push_back(namespace_texts_.Add(meta.ns));
  names_.Append(meta.name);
  labels_.push_back(LabelSet(meta.labels));
  written_ +=
      kRowFrame + 2 * (meta.ns.size() + meta.name.size()) + label_texts_.Get(labels_.back()).size() + keys_bytes_;
  for (std::size_t i = 0; i < cells_.size(); ++i) written_ += cells_[i].Append(values[i]);
}

absl::Status Table::AppendJson(json::Parser& parser, const RowMeta& meta, std::string_view values) {
  if (arena_ == nullptr) arena_ = std::make_unique<TextArena>();
  arena_->Reset();
  row_.assign(columns_.size(), Value::Null());
  if (values.empty()) {
    Append(meta, row_);
    return absl::OkStatus();
  }
  return parser.Parse(values, [&](json::Cursor object) -> absl::Status {
    if (!object.IsObject()) return absl::DataLossError("the values of a row are no object");
    std::size_t next = 0;  // rows mostly have their columns in order
    RETURN_IF_ERROR(object.ForEachMember([&](std::string_view key, json::Cursor cell) -> absl::Status {
      for (std::size_t tried = 0; tried < columns_.size(); ++tried, ++next) {
        if (next == columns_.size()) next = 0;
        if (columns_[next].name != key) continue;
        const std::size_t column = next++;
        return ReadCell(cell, columns_[column].kinds, *arena_, row_[column]);
      }
      return absl::OkStatus();
    }));
    Append(meta, row_);
    return absl::OkStatus();
  });
}

void Table::ReadRow(std::size_t row, std::span<Value> out) const {
  for (std::size_t i = 0; i < cells_.size(); ++i) out[i] = cells_[i].At(row);
}

RowMeta Table::meta(std::size_t row) const {
  return {.ns = namespace_texts_.Get(namespaces_[row]),
          .name = names_.Get(static_cast<std::uint32_t>(row)),
          .labels = label_texts_.Get(labels_[row])};
}

model::Labels Table::Labels(std::size_t row) const {
  model::Labels labels;
  const std::string_view json = label_texts_.Get(labels_[row]);
  if (json.empty()) return labels;
  json::Parser parser;
  // The text is our own.
  (void)parser.Parse(json, [&](json::Cursor object) { return kube::ReadLabels(object, labels); });
  return labels;
}

void Table::AppendValues(std::size_t row, std::string& out) const {
  char before = '{';
  for (std::size_t i = 0; i < cells_.size(); ++i) {
    out += before;
    before = ',';
    out += keys_[i];
    json::Writer writer(out);
    const Cells& cells = cells_[i];
    switch (cells.kind(row)) {
      case Kind::kNull:
        writer.Null();
        break;
      case Kind::kBool:
        writer.Bool(cells.bits(row) != 0);
        break;
      case Kind::kInt:
        writer.Int(cells.AsInt(row));
        break;
      case Kind::kDouble:
        writer.Double(cells.AsDouble(row));
        break;
      case Kind::kText:
        writer.String(cells.texts().Get(cells.TextNumber(row)));
        break;
    }
  }
  if (before == '{') out += '{';
  out += '}';
}

void Table::AppendRecord(std::size_t row, std::string& out) const {
  const RowMeta who = meta(row);
  out += "{\"_id\":\"";
  if (!who.ns.empty()) {
    json::AppendEscaped(out, who.ns);
    out += '/';
  }
  json::AppendEscaped(out, who.name);
  out += '"';
  if (!who.ns.empty()) {
    out += ",\"_namespace\":\"";
    json::AppendEscaped(out, who.ns);
    out += '"';
  }
  out += ",\"_name\":\"";
  json::AppendEscaped(out, who.name);
  out += '"';
  if (!who.labels.empty()) {
    out += ",\"_labels\":";
    out += who.labels;
  }
  out += ",\"values\":";
  AppendValues(row, out);
  out += '}';
}

std::size_t Table::MemoryBytes() const {
  std::size_t bytes = (namespaces_.capacity() + labels_.capacity()) * sizeof(std::uint32_t) +
                      namespace_texts_.MemoryBytes() + names_.MemoryBytes() + label_texts_.MemoryBytes();
  for (const Cells& cells : cells_) {
    bytes += cells.bits_.capacity() * sizeof(std::uint64_t) + cells.kinds_.capacity() * sizeof(Kind) +
             cells.texts_.MemoryBytes() + cells.written_.capacity() * sizeof(std::uint32_t);
  }
  return bytes;
}

}  // namespace clusterpulse::metricsource
