#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>

#include "common/json/cursor.h"
#include "common/metricsource/diagnostics.h"
#include "common/metricsource/path.h"
#include "common/metricsource/types.h"
#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

// One field of a source, as it is compiled into a Projection.
struct ProjectedField {
  std::string name;
  Path path;
  FieldType type = FieldType::kString;
  std::optional<std::string> default_text;
  std::string implied = {};  // what an object that lacks the member has; empty: nothing
};

// Who a row is. Borrowed like the values of the row.
struct RowMeta {
  std::string_view ns, name;
  std::string_view labels;  // the JSON object as it was read; empty: none
};

// All fields of a source as one tree of paths, so that an object is read in one pass forwards. Immutable; shared by any
// number of Projectors.
class Projection {
 public:
  // Checks what can be wrong with a field beyond the text of its path: what it may read (CheckReadable), `[*]` of a
  // type that can hold no list, the default. Field i is reported as "<base_path>[i]". nullopt: one was an error.
  static std::optional<Projection> Compile(std::vector<ProjectedField> fields, bool is_secret,
                                           std::string_view base_path, Diagnostics& diagnostics);

  Projection(Projection&&) = default;  // not copied: defaults borrow from the fields
  Projection& operator=(Projection&&) = default;

  std::size_t size() const { return fields_.size(); }
  const std::vector<ProjectedField>& fields() const { return fields_; }
  // Of each field; null: it has none.
  std::span<const Value> defaults() const { return defaults_; }

 private:
  friend class Projector;

  // Which parts of an object's whole text are left out, by where a node is.
  enum class Level : std::uint8_t { kRoot, kMetadata, kAnnotations, kOther };
  enum class MetaPart : std::uint8_t { kNone, kNamespace, kName, kLabels };

  struct Node {
    struct Member {
      std::string key;
      std::uint32_t node;
    };
    struct Element {
      std::int64_t index;
      std::uint32_t node;
    };
    std::vector<Member> members;
    std::vector<Element> elements;  // by index
    std::optional<std::uint32_t> each;
    // Fields that end here: with one value, and with one of many.
    std::vector<std::uint32_t> fields, parts;
    std::vector<std::uint32_t> lists;  // those of `parts` below whose first [*] is this node's `each`
    // All below or here: what a second member of the same name makes undone.
    std::vector<std::uint32_t> all_fields, all_parts;
    std::optional<std::uint32_t> marks;  // where the sizes of all_parts before this node are kept
    bool wants_text = false, wants_size = false, has_negative = false;
    bool is_meta = false;  // meta is here or below
    MetaPart meta = MetaPart::kNone;
    Level level = Level::kOther;
  };

  Projection() = default;
  std::uint32_t Member(std::uint32_t parent, std::string_view key);
  std::uint32_t Element(std::uint32_t parent, std::int64_t index);
  std::uint32_t Each(std::uint32_t parent);
  std::uint32_t NewNode(Level level);
  void AddField(std::uint32_t field);
  void Finish();

  std::vector<ProjectedField> fields_;
  std::vector<Value> defaults_, implied_;  // null: none
  std::vector<Node> nodes_;                // [0] is the object
  std::uint32_t marks_ = 0;
  bool is_secret_ = false;
};

// What became of one field over all objects that were read.
struct FieldCounts {
  std::uint64_t matched = 0;
  std::uint64_t missing = 0;  // the path leads nowhere
  std::uint64_t null = 0;     // an explicit null
  std::uint64_t failed = 0;   // no value of the field's type, or over the row's bound of text

  bool operator==(const FieldCounts&) const = default;
};

// Reads objects through a Projection. Working memory that grows to what the objects need; confined to one thread. The
// projection is borrowed and must outlive this.
class Projector {
 public:
  explicit Projector(const Projection& projection);

  // Fills values[i] for field i: what the path leads to as the field's type; else the default; else null. Texts borrow
  // from the document (until its parser parses again), from `arena` (until its Reset) or from the projection; together
  // they are bounded by TextArena::kMaxBytes, beyond which fields count as failed. REQUIRES: values.size() >= size().
  // kDataLoss: broken JSON; values are then unspecified and nothing is counted. Of several members of the same name the
  // last counts. Work and memory are bounded by the object's size times the number of fields, at any nesting.
  absl::Status Read(json::Cursor object, TextArena& arena, std::span<Value> values, RowMeta& meta);

  std::span<const FieldCounts> counts() const { return counts_; }
  void ResetCounts();
  // Takes the object that was read last out of them: it was not wanted. REQUIRES: once for an object.
  void Uncount();

 private:
  using Node = Projection::Node;
  enum class Outcome : std::uint8_t { kMissing, kNull, kFailed, kMatched };
  // A field behind [*], while its elements are collected.
  struct List {
    std::string text;  // elements with commas
    std::uint32_t size = 0;
    bool is_found = false;
    bool is_over = false;
  };
  struct Mark {
    std::size_t text;
    std::uint32_t size;
    bool is_found, is_over;
  };
  // A null, bool, number or text that has been read; null and not ok: it is broken.
  struct Scalar {
    Value value;
    std::string_view raw;
    bool is_ok = true;
  };

  absl::Status Visit(const Node& node, json::Cursor value);
  absl::Status VisitContainer(const Node& node, json::Cursor value, bool is_array);
  absl::Status VisitChildren(const Node& node, json::Cursor value, bool is_array, std::int64_t length);
  absl::Status WalkElements(const Node& node, json::Cursor array, std::int64_t length);
  // Walks a copy of what was read as a whole.
  absl::Status Nested(std::string_view raw, absl::FunctionRef<absl::Status(json::Cursor)> visit);
  absl::Status SetSize(const Node& node, json::Cursor container);
  absl::Status SetWhole(const Node& node, std::string_view raw);
  absl::Status AppendWhole(Projection::Level level, json::Cursor value, std::string& out);
  bool IsLeftOut(Projection::Level level, std::string_view key) const;
  void Enter(std::uint32_t index, std::uint64_t visit);
  Scalar ReadScalar(json::Cursor value, json::Type type);
  void SetScalar(const Node& node, const Scalar& scalar);
  void Set(std::uint32_t field, Outcome outcome, Value value = Value::Null());
  void SetMeta(const Node& node, std::string_view text);
  void ForgetMeta(const Node& node);
  void AddPart(const Node& node, std::string_view raw);
  // Makes `text` live as long as the row; false: over the bound.
  bool Keep(std::string_view& text);
  void FinishRow();
  // What the field's outcome of this row counts as.
  std::uint64_t& CountOf(std::uint32_t field);

  const Projection& projection_;
  std::vector<FieldCounts> counts_;
  std::vector<Outcome> outcomes_;
  std::vector<List> lists_;
  std::vector<Mark> marks_;
  std::vector<std::uint64_t> seen_;  // by node: the visit of its parent in which it was last met
  std::uint64_t visits_ = 0;
  std::vector<std::unique_ptr<json::Parser>> parsers_;  // by depth of nesting
  std::size_t nested_ = 0;
  std::vector<std::string_view> keys_;
  std::string scratch_;
  // Of the row that is read.
  TextArena* arena_ = nullptr;
  std::span<Value> values_;
  RowMeta* meta_ = nullptr;
  std::size_t text_bytes_ = 0;
};

}  // namespace clusterpulse::metricsource
