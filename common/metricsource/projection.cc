#include "common/metricsource/projection.h"

#include <algorithm>

#include <absl/container/inlined_vector.h>
#include <fmt/format.h>

#include "common/base/printable.h"
#include "common/base/status.h"
#include "common/base/utf8.h"
#include "common/json/writer.h"
#include "common/metricsource/convert.h"

namespace clusterpulse::metricsource {
namespace {

constexpr std::int64_t kUnknownLength = -1;

}  // namespace

std::uint32_t Projection::NewNode(Level level) {
  nodes_.emplace_back().level = level;
  return static_cast<std::uint32_t>(nodes_.size() - 1);
}

std::uint32_t Projection::Member(std::uint32_t parent, std::string_view key) {
  for (const Node::Member& member : nodes_[parent].members) {
    if (member.key == key) return member.node;
  }
  const Level above = nodes_[parent].level;
  const Level level = above == Level::kRoot && key == "metadata"          ? Level::kMetadata
                      : above == Level::kMetadata && key == "annotations" ? Level::kAnnotations
                                                                          : Level::kOther;
  const std::uint32_t made = NewNode(level);
  nodes_[parent].members.push_back({std::string(key), made});
  return made;
}

std::uint32_t Projection::Element(std::uint32_t parent, std::int64_t index) {
  for (const Node::Element& element : nodes_[parent].elements) {
    if (element.index == index) return element.node;
  }
  const std::uint32_t made = NewNode(Level::kOther);
  nodes_[parent].elements.push_back({index, made});
  nodes_[parent].has_negative |= index < 0;
  return made;
}

std::uint32_t Projection::Each(std::uint32_t parent) {
  if (!nodes_[parent].each) {
    const std::uint32_t made = NewNode(Level::kOther);
    nodes_[parent].each = made;
  }
  return *nodes_[parent].each;
}

void Projection::AddField(std::uint32_t field) {
  const Path& path = fields_[field].path;
  std::uint32_t at = 0;
  bool is_part = false;
  for (const Path::Segment& segment : path.segments()) {
    switch (segment.type) {
      case Path::Segment::Type::kKey:
        at = Member(at, segment.key);
        break;
      case Path::Segment::Type::kIndex:
        at = Element(at, segment.index);
        break;
      case Path::Segment::Type::kAll:
        if (!is_part) nodes_[at].lists.push_back(field);
        is_part = true;
        at = Each(at);
        break;
    }
    (path.fans_out() ? nodes_[at].all_parts : nodes_[at].all_fields).push_back(field);
  }
  Node& node = nodes_[at];
  if (is_part) {
    node.parts.push_back(field);
    return;
  }
  node.fields.push_back(field);
  node.wants_text |= fields_[field].type == FieldType::kString;
  node.wants_size |= fields_[field].type == FieldType::kArrayLength;
}

void Projection::Finish() {
  const std::uint32_t metadata = Member(0, "metadata");
  nodes_[metadata].is_meta = true;
  for (const auto& [key, part] : {std::pair<std::string_view, MetaPart>{"namespace", MetaPart::kNamespace},
                                  {"name", MetaPart::kName},
                                  {"labels", MetaPart::kLabels}}) {
    Node& node = nodes_[Member(metadata, key)];
    node.meta = part;
    node.is_meta = true;
  }
  for (Node& node : nodes_) {
    if (node.all_parts.empty()) continue;
    node.marks = marks_;
    marks_ += static_cast<std::uint32_t>(node.all_parts.size());
  }
}

std::optional<Projection> Projection::Compile(std::vector<ProjectedField> fields, bool is_secret,
                                              std::string_view base_path, Diagnostics& diagnostics) {
  Projection made;
  made.is_secret_ = is_secret;
  made.fields_ = std::move(fields);
  made.NewNode(Level::kRoot);
  bool is_ok = true;
  for (std::uint32_t i = 0; i < made.fields_.size(); ++i) {
    const ProjectedField& field = made.fields_[i];
    const std::string where = fmt::format("{}[{}]", base_path, i);
    is_ok &= CheckReadable(field.path, is_secret, where + ".path", diagnostics);
    if (field.path.fans_out() && field.type != FieldType::kString && field.type != FieldType::kArrayLength) {
      diagnostics.Error(where + ".type", fmt::format("a path with [*] gives a list, which is no {}; string holds it as "
                                                     "JSON, arrayLength its size",
                                                     Name(field.type)));
      is_ok = false;
    }
    std::optional<Value> value;
    if (field.default_text) {
      if (base::IsUtf8(*field.default_text)) value = ConvertDefault(field.type, *field.default_text);
      if (!value) {
        diagnostics.Error(
            where + ".default",
            fmt::format("\"{}\" is no {}", base::Printable(*field.default_text, 64),
                        field.type == FieldType::kArrayLength ? "integer, as arrayLength needs it" : Name(field.type)));
        is_ok = false;
      }
    }
    made.defaults_.push_back(value.value_or(Value::Null()));
    const bool is_implied = !field.implied.empty() && field.type == FieldType::kString;
    made.implied_.push_back(is_implied ? Value::Text(field.implied) : Value::Null());
    made.AddField(i);
  }
  if (!is_ok) return std::nullopt;
  made.Finish();
  return made;
}

Projector::Projector(const Projection& projection)
    : projection_(projection),
      counts_(projection.size()),
      outcomes_(projection.size()),
      lists_(projection.size()),
      marks_(projection.marks_),
      seen_(projection.nodes_.size()) {}

void Projector::ResetCounts() { std::ranges::fill(counts_, FieldCounts()); }

bool Projector::Keep(std::string_view& text) { return nested_ == 0 || arena_->Copy(text, text); }

void Projector::Set(std::uint32_t field, Outcome outcome, Value value) {
  if (value.IsText()) {
    // What is borrowed counts like what is made.
    text_bytes_ += value.AsText().size();
    if (text_bytes_ > TextArena::kMaxBytes) {
      text_bytes_ -= value.AsText().size();
      outcome = Outcome::kFailed;
    }
  }
  outcomes_[field] = outcome;
  values_[field] = value;
}

void Projector::SetMeta(const Node& node, std::string_view text) {
  if (!Keep(text)) return;
  switch (node.meta) {
    case Projection::MetaPart::kNone:
      break;
    case Projection::MetaPart::kNamespace:
      meta_->ns = text;
      break;
    case Projection::MetaPart::kName:
      meta_->name = text;
      break;
    case Projection::MetaPart::kLabels:
      meta_->labels = text;
      break;
  }
}

void Projector::ForgetMeta(const Node& node) {
  if (node.meta == Projection::MetaPart::kNone) {
    *meta_ = {};
  } else {
    SetMeta(node, {});
  }
}

void Projector::Enter(std::uint32_t index, std::uint64_t visit) {
  const Node& node = projection_.nodes_[index];
  if (seen_[index] != visit) {
    seen_[index] = visit;
    for (std::size_t k = 0; k < node.all_parts.size(); ++k) {
      const List& list = lists_[node.all_parts[k]];
      marks_[*node.marks + k] = {list.text.size(), list.size, list.is_found, list.is_over};
    }
    return;
  }
  for (const std::uint32_t field : node.all_fields) Set(field, Outcome::kMissing);
  for (std::size_t k = 0; k < node.all_parts.size(); ++k) {
    List& list = lists_[node.all_parts[k]];
    const Mark& mark = marks_[*node.marks + k];
    list.text.resize(mark.text);
    list.size = mark.size;
    list.is_found = mark.is_found;
    list.is_over = mark.is_over;
  }
  if (node.is_meta) ForgetMeta(node);
}

Projector::Scalar Projector::ReadScalar(json::Cursor value, json::Type type) {
  Scalar scalar;
  const auto raw = value.Raw();
  if (!raw.ok()) return {.is_ok = false};
  scalar.raw = *raw;
  switch (type) {
    case json::Type::kNull:
      scalar.is_ok = scalar.raw == "null";
      break;
    case json::Type::kBool:
      scalar.is_ok = scalar.raw == "true" || scalar.raw == "false";
      if (scalar.is_ok) scalar.value = Value::Bool(scalar.raw == "true");
      break;
    case json::Type::kNumber:
      scalar.is_ok = ParseJsonNumber(scalar.raw, scalar.value);
      break;
    case json::Type::kString: {
      std::string_view text;
      scalar.is_ok = value.Get(text) && Keep(text);
      if (scalar.is_ok) scalar.value = Value::Text(text);
      break;
    }
    case json::Type::kArray:
    case json::Type::kObject:
      scalar.is_ok = false;
      break;
  }
  return scalar;
}

void Projector::SetScalar(const Node& node, const Scalar& scalar) {
  if (!node.parts.empty() && scalar.is_ok && !scalar.value.IsNull()) AddPart(node, scalar.raw);
  if (node.meta != Projection::MetaPart::kNone && node.meta != Projection::MetaPart::kLabels && scalar.value.IsText()) {
    SetMeta(node, scalar.value.AsText());
  }
  for (const std::uint32_t field : node.fields) {
    Value value;
    if (scalar.is_ok && scalar.value.IsNull()) {
      Set(field, Outcome::kNull);
    } else if (scalar.is_ok &&
               ConvertScalar(projection_.fields_[field].type, scalar.value, scalar.raw, *arena_, value)) {
      Set(field, Outcome::kMatched, value);
    } else {
      Set(field, Outcome::kFailed);
    }
  }
}

void Projector::AddPart(const Node& node, std::string_view raw) {
  for (const std::uint32_t field : node.parts) {
    List& list = lists_[field];
    ++list.size;
    if (projection_.fields_[field].type == FieldType::kArrayLength || list.is_over) continue;
    if (list.text.size() + raw.size() + 3 > TextArena::kMaxBytes) {  // the comma and the brackets
      list.is_over = true;
      continue;
    }
    if (list.size > 1) list.text += ',';
    AppendCompactJson(raw, list.text);
  }
}

absl::Status Projector::Nested(std::string_view raw, absl::FunctionRef<absl::Status(json::Cursor)> visit) {
  if (nested_ == parsers_.size()) parsers_.push_back(std::make_unique<json::Parser>());
  json::Parser& parser = *parsers_[nested_++];
  absl::Status status = parser.Parse(raw, visit);
  --nested_;
  return status;
}

bool Projector::IsLeftOut(Projection::Level level, std::string_view key) const {
  switch (level) {
    case Projection::Level::kRoot:
      return projection_.is_secret_ && (key == "data" || key == "stringData");
    case Projection::Level::kAnnotations:
      return key == kLastAppliedAnnotation;
    case Projection::Level::kMetadata:
    case Projection::Level::kOther:
      return false;
  }
  return false;
}

absl::Status Projector::AppendWhole(Projection::Level level, json::Cursor value, std::string& out) {
  using Level = Projection::Level;
  if (level == Level::kOther || !value.IsObject()) {
    ASSIGN_OR_RETURN(const std::string_view raw, value.Raw());
    AppendCompactJson(raw, out);
    return absl::OkStatus();
  }
  char before = '{';
  RETURN_IF_ERROR(value.ForEachMember([&](std::string_view key, json::Cursor member) -> absl::Status {
    if (IsLeftOut(level, key)) return absl::OkStatus();
    out += before;
    before = ',';
    out += '"';
    json::AppendEscaped(out, key);
    out += "\":";
    const Level below = level == Level::kRoot && key == "metadata"          ? Level::kMetadata
                        : level == Level::kMetadata && key == "annotations" ? Level::kAnnotations
                                                                            : Level::kOther;
    return AppendWhole(below, member, out);
  }));
  if (before == '{') out += '{';
  out += '}';
  return absl::OkStatus();
}

absl::Status Projector::SetWhole(const Node& node, std::string_view raw) {
  scratch_.clear();
  if (node.level == Projection::Level::kOther) {
    AppendCompactJson(raw, scratch_);
  } else {
    RETURN_IF_ERROR(Nested(raw, [&](json::Cursor value) { return AppendWhole(node.level, value, scratch_); }));
  }
  // What the API server wrote is compact already and can be borrowed.
  std::string_view text = scratch_.size() == raw.size() && node.level == Projection::Level::kOther ? raw : scratch_;
  const bool is_kept = text.data() == raw.data() ? Keep(text) : arena_->Copy(text, text);
  for (const std::uint32_t field : node.fields) {
    if (projection_.fields_[field].type != FieldType::kString) continue;
    Set(field, is_kept ? Outcome::kMatched : Outcome::kFailed, is_kept ? Value::Text(text) : Value::Null());
  }
  return absl::OkStatus();
}

absl::Status Projector::SetSize(const Node& node, json::Cursor container) {
  std::int64_t size = 0;
  if (container.IsObject()) {
    keys_.clear();
    RETURN_IF_ERROR(container.ForEachMember([&](std::string_view key, json::Cursor) {
      if (!IsLeftOut(node.level, key)) keys_.push_back(key);
    }));
    std::ranges::sort(keys_);
    size = std::unique(keys_.begin(), keys_.end()) - keys_.begin();
  } else {
    RETURN_IF_ERROR(container.ForEachElement([&](json::Cursor) { ++size; }));
  }
  for (const std::uint32_t field : node.fields) {
    if (projection_.fields_[field].type == FieldType::kArrayLength) Set(field, Outcome::kMatched, Value::Int(size));
  }
  return absl::OkStatus();
}

absl::Status Projector::WalkElements(const Node& node, json::Cursor array, std::int64_t length) {
  if (node.each) {
    for (const std::uint32_t field : node.lists) lists_[field].is_found = true;
  }
  std::int64_t at = 0;
  return array.ForEachElement([&](json::Cursor element) -> absl::Status {
    // One element can have several names: [0], [-1] and [*].
    absl::InlinedVector<const Node*, 4> nodes;
    if (node.each) nodes.push_back(&projection_.nodes_[*node.each]);
    for (const Node::Element& wanted : node.elements) {
      if ((wanted.index < 0 ? wanted.index + length : wanted.index) == at) {
        nodes.push_back(&projection_.nodes_[wanted.node]);
      }
    }
    ++at;
    if (nodes.empty()) return absl::OkStatus();
    if (nodes.size() == 1) return Visit(*nodes[0], element);
    const json::Type type = element.type();
    if (type != json::Type::kArray && type != json::Type::kObject) {
      const Scalar scalar = ReadScalar(element, type);
      for (const Node* one : nodes) SetScalar(*one, scalar);
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const std::string_view raw, element.Raw());
    for (const Node* one : nodes) {
      RETURN_IF_ERROR(Nested(raw, [&](json::Cursor copy) { return Visit(*one, copy); }));
    }
    return absl::OkStatus();
  });
}

absl::Status Projector::VisitChildren(const Node& node, json::Cursor value, bool is_array, std::int64_t length) {
  if (is_array) return WalkElements(node, value, length);
  const std::uint64_t visit = ++visits_;
  return value.ForEachMember([&](std::string_view key, json::Cursor member) -> absl::Status {
    for (const Node::Member& wanted : node.members) {
      if (wanted.key != key) continue;
      Enter(wanted.node, visit);
      return Visit(projection_.nodes_[wanted.node], member);
    }
    return absl::OkStatus();
  });
}

absl::Status Projector::VisitContainer(const Node& node, json::Cursor value, bool is_array) {
  for (const std::uint32_t field : node.fields) {
    const FieldType type = projection_.fields_[field].type;
    if (type != FieldType::kString && type != FieldType::kArrayLength) Set(field, Outcome::kFailed);
  }
  const bool labels = node.meta == Projection::MetaPart::kLabels && !is_array;
  const bool children = is_array ? node.each || !node.elements.empty() : !node.members.empty();
  const bool from_back = is_array && node.has_negative;
  if (!node.wants_text && !labels && node.parts.empty()) {
    if (!children) return node.wants_size ? SetSize(node, value) : absl::OkStatus();
    if (!node.wants_size && !from_back) return VisitChildren(node, value, is_array, kUnknownLength);
  }
  // Wanted in several ways: the walk goes forwards only, so the rest is done with a copy.
  ASSIGN_OR_RETURN(const std::string_view raw, value.Raw());
  if (labels) SetMeta(node, raw);
  if (!node.parts.empty()) AddPart(node, raw);
  if (node.wants_text) RETURN_IF_ERROR(SetWhole(node, raw));
  if (node.wants_size) RETURN_IF_ERROR(Nested(raw, [&](json::Cursor copy) { return SetSize(node, copy); }));
  if (!children) return absl::OkStatus();
  std::int64_t length = kUnknownLength;
  if (from_back) {
    length = 0;
    RETURN_IF_ERROR(
        Nested(raw, [&](json::Cursor copy) { return copy.ForEachElement([&](json::Cursor) { ++length; }); }));
  }
  return Nested(raw, [&](json::Cursor copy) { return VisitChildren(node, copy, is_array, length); });
}

absl::Status Projector::Visit(const Node& node, json::Cursor value) {
  const json::Type type = value.type();
  if (type == json::Type::kArray || type == json::Type::kObject) {
    return VisitContainer(node, value, type == json::Type::kArray);
  }
  SetScalar(node, ReadScalar(value, type));
  return absl::OkStatus();
}

void Projector::FinishRow() {
  for (std::uint32_t i = 0; i < outcomes_.size(); ++i) {
    const ProjectedField& field = projection_.fields_[i];
    if (field.path.fans_out() && lists_[i].is_found) {
      const List& list = lists_[i];
      if (field.type == FieldType::kArrayLength) {
        Set(i, Outcome::kMatched, Value::Int(list.size));
      } else {
        char* const text = list.is_over ? nullptr : arena_->Allocate(list.text.size() + 2);
        if (text == nullptr) {
          Set(i, Outcome::kFailed);
        } else {
          text[0] = '[';
          list.text.copy(text + 1, list.text.size());
          text[list.text.size() + 1] = ']';
          Set(i, Outcome::kMatched, Value::Text({text, list.text.size() + 2}));
        }
      }
    }
    if (outcomes_[i] == Outcome::kMissing && !projection_.implied_[i].IsNull()) {
      Set(i, Outcome::kMatched, projection_.implied_[i]);
    }
    ++CountOf(i);
    if (outcomes_[i] != Outcome::kMatched) values_[i] = projection_.defaults_[i];
  }
}

std::uint64_t& Projector::CountOf(std::uint32_t field) {
  FieldCounts& counts = counts_[field];
  switch (outcomes_[field]) {
    case Outcome::kMissing:
      return counts.missing;
    case Outcome::kNull:
      return counts.null;
    case Outcome::kFailed:
      return counts.failed;
    case Outcome::kMatched:
      break;
  }
  return counts.matched;
}

void Projector::Uncount() {
  for (std::uint32_t i = 0; i < outcomes_.size(); ++i) --CountOf(i);
}

absl::Status Projector::Read(json::Cursor object, TextArena& arena, std::span<Value> values, RowMeta& meta) {
  arena_ = &arena;
  values_ = values;
  meta_ = &meta;
  meta = {};
  text_bytes_ = 0;
  std::ranges::fill(outcomes_, Outcome::kMissing);
  for (List& list : lists_) {
    list.text.clear();
    list.size = 0;
    list.is_found = list.is_over = false;
  }
  RETURN_IF_ERROR(Visit(projection_.nodes_[0], object));
  FinishRow();
  return absl::OkStatus();
}

}  // namespace clusterpulse::metricsource
