#include "hub/app/yaml.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <deque>
#include <limits>
#include <set>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "common/base/printable.h"
#include "common/base/status.h"
#include "common/base/utf8.h"

namespace clusterpulse::app {
namespace {

// Far above what a manifest has. Aliases can make more of a short text, or a value that holds itself.
constexpr int kMaxDepth = 100;
constexpr std::size_t kMaxValues = 2'000'000;
constexpr std::size_t kShown = 100;  // of a word, in a message

// What a scalar is by its text alone, in the order of kKindNames.
enum class Kind { kNull, kBool, kInt, kFloat, kText };
constexpr std::array<std::string_view, 5> kKindNames = {"null", "bool", "int", "float", "str"};

struct Resolved {
  Kind kind = Kind::kText;
  json::Value value;
};

bool IsOneOf(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// As Go's ParseInt and ParseUint with base 0: what only the latter takes is a double.
std::optional<json::Value> Integer(std::string_view text) {
  constexpr std::uint64_t kHighest = std::numeric_limits<std::int64_t>::max();
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  int base = 10;
  if (text.size() > 1 && text[0] == '0') {
    const char mark = static_cast<char>(text[1] | 0x20);
    base = mark == 'x' ? 16 : mark == 'b' ? 2 : 8;
    text.remove_prefix(mark == 'x' || mark == 'b' || mark == 'o' ? 2 : 1);
  }
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, base);
  if (text.empty() || error != std::errc() || rest != end) return std::nullopt;
  if (is_negative) {
    if (number > kHighest + 1) return std::nullopt;
    return static_cast<std::int64_t>(~number + 1);
  }
  if (number > kHighest) return static_cast<double>(number);
  return static_cast<std::int64_t>(number);
}

std::optional<double> Float(std::string_view text) {
  if (text.find_first_not_of("0123456789.eE+-") != std::string_view::npos) return std::nullopt;
  if (text.starts_with('+') && text.size() > 1 && text[1] != '-') text.remove_prefix(1);
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (rest != end) return std::nullopt;
  if (error == std::errc()) return number;
  if (error == std::errc::result_out_of_range && text.find("e-") != std::string_view::npos) return 0.0;
  return std::nullopt;
}

Resolved Resolve(const std::string& text) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN(), kEndless = std::numeric_limits<double>::infinity();
  if (text.empty() || IsOneOf(text, {"~", "null", "Null", "NULL"})) return {Kind::kNull, nullptr};
  if (IsOneOf(text, {"true", "True", "TRUE", "y", "Y", "yes", "Yes", "YES", "on", "On", "ON"})) {
    return {Kind::kBool, true};
  }
  if (IsOneOf(text, {"false", "False", "FALSE", "n", "N", "no", "No", "NO", "off", "Off", "OFF"})) {
    return {Kind::kBool, false};
  }
  if (IsOneOf(text, {".nan", ".NaN", ".NAN"})) return {Kind::kFloat, kNone};
  if (IsOneOf(text, {".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"})) return {Kind::kFloat, kEndless};
  if (IsOneOf(text, {"-.inf", "-.Inf", "-.INF"})) return {Kind::kFloat, -kEndless};
  if (std::string_view("+-.0123456789").find(text[0]) == std::string_view::npos) return {Kind::kText, text};
  std::string number = text;
  std::erase(number, '_');
  if (auto integer = Integer(number)) return {Kind::kInt, *std::move(integer)};
  if (const auto value = Float(number)) return {Kind::kFloat, *value};
  return {Kind::kText, text};
}

struct Node {
  enum class Type { kScalar, kList, kMap };
  Type type = Type::kScalar;
  bool is_block = false;              // a map without braces
  int line = 0, column = 0;           // from 0
  std::string text;                   // of a scalar
  std::string tag = "?";              // of a scalar: "?" is plain, "!" quoted
  std::vector<const Node*> children;  // of a map: key, value, key, value, ...

  bool IsMerge() const { return type == Type::kScalar && tag == "?" && text == "<<"; }
};

template <typename... Args>
absl::Status Refusal(const Node& at, fmt::format_string<Args...> why, Args&&... args) {
  return base::InvalidArgument("reading YAML: line {}, column {}: {}", at.line + 1, at.column + 1,
                               fmt::format(why, std::forward<Args>(args)...));
}

std::string Shown(std::string_view text) { return base::CutUtf8(text, kShown); }

absl::StatusOr<Resolved> ResolveNode(const Node& node) {
  constexpr std::string_view kPrefix = "tag:yaml.org,2002:";
  if (node.tag == "?") return Resolve(node.text);
  if (!node.tag.starts_with(kPrefix)) return Resolved{Kind::kText, node.text};
  const std::string_view tag = std::string_view(node.tag).substr(kPrefix.size());
  // What it stands for is bytes; no member of an object is.
  if (tag == "binary") return Refusal(node, "a value of !!binary");
  if (tag == "str" || std::find(kKindNames.begin(), kKindNames.end(), tag) == kKindNames.end()) {
    return Resolved{Kind::kText, node.text};
  }
  Resolved out = Resolve(node.text);
  const bool is_number = tag == "float" && out.kind == Kind::kInt;
  if (!is_number && kKindNames[static_cast<std::size_t>(out.kind)] != tag) {
    return Refusal(node, "\"{}\" is no !!{}", Shown(node.text), tag);
  }
  return out;
}

// As Go writes a float32 by 'g', which is how kubectl makes texts of such keys.
std::string FloatKey(double value) {
  if (std::isnan(value)) return ".nan";
  if (std::isinf(value)) return value < 0 ? "-.inf" : ".inf";
  std::array<char, 64> text;
  const auto narrow = static_cast<float>(value);
  auto end = std::to_chars(text.data(), text.data() + text.size(), narrow, std::chars_format::scientific).ptr;
  const std::string_view scientific(text.data(), static_cast<std::size_t>(end - text.data()));
  int exponent = 0;
  const std::size_t e = scientific.find('e');
  if (e != std::string_view::npos) std::from_chars(text.data() + e + (text[e + 1] == '+' ? 2 : 1), end, exponent);
  if (exponent >= -4 && exponent < 6) {
    end = std::to_chars(text.data(), text.data() + text.size(), narrow, std::chars_format::fixed).ptr;
  }
  return std::string(text.data(), end);
}

absl::StatusOr<std::string> KeyText(const Node& key) {
  if (key.type != Node::Type::kScalar) {
    return Refusal(key, "a key that is {}", key.type == Node::Type::kList ? "a list" : "an object");
  }
  ASSIGN_OR_RETURN(const Resolved resolved, ResolveNode(key));
  switch (resolved.kind) {
    case Kind::kNull:
      return Refusal(key, "a key that is null");
    case Kind::kBool:
      return std::string(resolved.value.BoolOr() ? "true" : "false");
    case Kind::kInt:
      return resolved.value.Dump();
    case Kind::kFloat:
      return FloatKey(resolved.value.DoubleOr());
    case Kind::kText:
      break;
  }
  return std::string(resolved.value.StringOr());
}

// Nodes into JSON, counted over all documents.
class Converter {
 public:
  absl::StatusOr<json::Value> Convert(const Node& node, int depth = 0) {
    RETURN_IF_ERROR(Count(node, depth));
    switch (node.type) {
      case Node::Type::kScalar:
        return Scalar(node);
      case Node::Type::kList: {
        json::Value::Array array;
        for (const Node* item : node.children) {
          ASSIGN_OR_RETURN(array.emplace_back(), Convert(*item, depth + 1));
        }
        return array;
      }
      case Node::Type::kMap:
        break;
    }
    return Map(node, depth);
  }

 private:
  absl::Status Count(const Node& node, int depth) {
    if (depth > kMaxDepth) return Refusal(node, "nested deeper than {}", kMaxDepth);
    if (++values_ > kMaxValues) return Refusal(node, "more than {} values", kMaxValues);
    return absl::OkStatus();
  }

  static absl::StatusOr<json::Value> Scalar(const Node& node) {
    constexpr double kInts = 9.2e18;
    ASSIGN_OR_RETURN(Resolved resolved, ResolveNode(node));
    if (resolved.kind != Kind::kFloat) return std::move(resolved.value);
    const double number = resolved.value.DoubleOr();
    if (!std::isfinite(number)) return Refusal(node, "{} is no number that JSON has", Shown(node.text));
    if (std::trunc(number) == number && std::abs(number) < kInts) return static_cast<std::int64_t>(number);
    return std::move(resolved.value);
  }

  absl::StatusOr<json::Value> Map(const Node& node, int depth) {
    json::Value::Object object;
    std::set<std::string, std::less<>> own;
    for (std::size_t i = 0; i < node.children.size(); i += 2) {
      const Node &key = *node.children[i], &value = *node.children[i + 1];
      ASSIGN_OR_RETURN(const std::string name, KeyText(key));
      if (!own.insert(name).second) return Refusal(key, "\"{}\" is there twice", Shown(name));
      if (key.IsMerge()) {
        RETURN_IF_ERROR(Merge(key, value, depth, own, object));
        continue;
      }
      ASSIGN_OR_RETURN(object[name], Convert(value, depth + 1));
    }
    return object;
  }

  // What `value` holds, the first of a list first, into `object`.
  absl::Status Merge(const Node& key, const Node& value, int depth, const std::set<std::string, std::less<>>& own,
                     json::Value::Object& object) {
    RETURN_IF_ERROR(Count(value, depth + 1));
    std::vector<const Node*> maps = {&value};
    if (value.type == Node::Type::kList) maps = value.children;
    json::Value::Object merged;
    for (const Node* map : maps) {
      if (map->type != Node::Type::kMap) return Refusal(key, "<< takes an object or a list of objects");
      ASSIGN_OR_RETURN(json::Value from, Convert(*map, depth + 1));
      merged.merge(from.MutableObject());
    }
    for (const auto& [name, member] : merged) {
      if (own.contains(name)) return Refusal(key, "\"{}\" is there twice: before << and in what it adds", Shown(name));
    }
    object.merge(merged);
    return absl::OkStatus();
  }

  std::size_t values_ = 0;
};

// The rest of `path` when it begins with `key`, which is a whole step of it.
std::optional<std::string_view> After(std::string_view path, std::string_view key) {
  const bool is_bracketed = path.starts_with('[');
  if (is_bracketed || path.starts_with('.')) path.remove_prefix(1);
  if (!path.starts_with(key)) return std::nullopt;
  path.remove_prefix(key.size());
  if (is_bracketed) {
    if (!path.starts_with(']')) return std::nullopt;
    return path.substr(1);
  }
  if (!path.empty() && path[0] != '.' && path[0] != '[') return std::nullopt;
  return path;
}

struct Found {
  const Node* node = nullptr;  // null: nothing
  std::string_view rest;       // of the path
  int line = 0;
};

// The member that `path` begins with: the one with the longest key, which may have dots.
Found FindMember(const Node& map, std::string_view path) {
  Found found;
  const Node* merge = nullptr;
  for (std::size_t i = 0; i < map.children.size(); i += 2) {
    const Node &key = *map.children[i], &value = *map.children[i + 1];
    if (key.IsMerge()) merge = &value;
    const auto name = KeyText(key);
    const auto rest = name.ok() ? After(path, *name) : std::nullopt;
    if (!rest || (found.node != nullptr && rest->size() >= found.rest.size())) continue;
    // An absent value has the place of what comes after it.
    const bool is_absent = value.type == Node::Type::kScalar && value.text.empty() && value.tag == "?";
    found = {&value, *rest, is_absent ? key.line : value.line};
  }
  if (found.node != nullptr || merge == nullptr) return found;
  if (merge->type == Node::Type::kMap) return FindMember(*merge, path);
  for (const Node* one : merge->children) {
    if (found = FindMember(*one, path); found.node != nullptr) break;
  }
  return found;
}

Found Step(const Node& node, std::string_view path) {
  if (node.type == Node::Type::kMap) return FindMember(node, path);
  if (node.type != Node::Type::kList || !path.starts_with('[')) return {};
  std::size_t index = 0;
  const char* end = path.data() + path.size();
  const auto [rest, error] = std::from_chars(path.data() + 1, end, index);
  if (error != std::errc() || rest == end || *rest != ']' || index >= node.children.size()) return {};
  path.remove_prefix(static_cast<std::size_t>(rest - path.data()) + 1);
  return {node.children[index], path, node.children[index]->line};
}

// The value at `path`, or the nearest above it: then `rest` is what is left.
Found Find(const Node& root, std::string_view path) {
  Found at{&root, path, root.line};
  while (!at.rest.empty()) {
    const Found next = Step(*at.node, at.rest);
    if (next.node == nullptr) break;
    at = next;
  }
  return at;
}

// yaml-cpp makes single bytes of the escapes \N and \_, which are the characters U+0085 and U+00A0.
std::string Mended(const std::string& text) {
  if (base::IsUtf8(text)) return text;
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = base::Utf8SequenceLength(text, i);
    if (length == 0) {
      base::AppendUtf8(out, static_cast<unsigned char>(text[i]));
    } else {
      out.append(text, i, length);
    }
    i += std::max<std::size_t>(length, 1);
  }
  return out;
}

// Makes nodes of what yaml-cpp finds. An alias is the node itself.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::deque<Node>& nodes) : nodes_(nodes) {}

  // The root of the last document, and where that begins.
  const Node* root() const { return root_; }
  const YAML::Mark& start() const { return start_; }
  // Its keys, in block style, that have no value.
  const std::vector<const Node*>& bare_keys() const { return bare_keys_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    start_ = mark;
    root_ = nullptr;
    anchors_.clear();
    bare_keys_.clear();
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (!open_.empty() && open_.back()->is_block && open_.back()->children.size() % 2 == 1) {
      bare_keys_.push_back(open_.back()->children.back());
    }
    Add(Node::Type::kScalar, mark, anchor);
  }
  void OnAlias(const YAML::Mark&, YAML::anchor_t anchor) override { Attach(*anchors_[anchor]); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Node& node = Add(Node::Type::kScalar, mark, anchor);
    node.text = Mended(value);
    node.tag = tag;
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open_.push_back(&Add(Node::Type::kList, mark, anchor));
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    Node& map = Add(Node::Type::kMap, mark, anchor);
    map.is_block = style == YAML::EmitterStyle::Block;
    open_.push_back(&map);
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  Node& Add(Node::Type type, const YAML::Mark& mark, YAML::anchor_t anchor) {
    Node& node = nodes_.emplace_back();
    node.type = type;
    node.line = mark.line;
    node.column = mark.column;
    Attach(node);
    if (anchor != 0) {
      if (anchors_.size() <= anchor) anchors_.resize(anchor + 1);
      anchors_[anchor] = &node;
    }
    return node;
  }
  void Attach(const Node& node) {
    if (open_.empty()) {
      root_ = &node;
    } else {
      open_.back()->children.push_back(&node);
    }
  }

  std::deque<Node>& nodes_;
  const Node* root_ = nullptr;
  YAML::Mark start_;
  std::vector<Node*> open_;
  std::vector<const Node*> anchors_;  // by number; 0 is none
  std::vector<const Node*> bare_keys_;
};

// A text as yaml-cpp is given it, and as it is looked at again where yaml-cpp takes what YAML does not allow.
class Source {
 public:
  explicit Source(std::string_view text) {
    std::string given(text);
    is_utf16_ = text.starts_with("\xFE\xFF") || text.starts_with("\xFF\xFE");
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    is_json_ = first != std::string_view::npos && text[first] == '{';
    // A quote that is open at the end of the last line is closed by yaml-cpp; it may not be by the end of a document.
    const std::size_t last = text.find_last_not_of(" \t\r");
    if (!is_utf16_ && last != std::string_view::npos && text[last] == '\n') {
      given += text.ends_with('\n') ? "...\n" : "\n...\n";
    }
    stream_.str(std::move(given));
    for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
      lines_.push_back(text.substr(0, end));
      text.remove_prefix(end + 1);
    }
    lines_.push_back(text);
  }

  std::istream& stream() { return stream_; }

  // Whether a document, not the first, may begin there: yaml-cpp takes any text behind one for the next. The objects of
  // a JSON stream follow each other.
  bool MayBegin(int line, int column) const {
    if (is_utf16_) return column == 0;
    if (static_cast<std::size_t>(line) >= lines_.size()) return true;  // the end that was added
    const std::string_view rest = Rest(line, column);
    return (column == 0 && rest.starts_with("---")) || (is_json_ && rest.starts_with('{'));
  }

  // Whether a plain key that has no value is one: yaml-cpp takes any line of an object for a key.
  bool IsKey(const Node& key) const {
    std::string_view rest = is_utf16_ ? std::string_view() : Rest(key.line, key.column);
    if (key.tag != "?" || key.text.empty() || !rest.starts_with(key.text)) return true;
    rest.remove_prefix(key.text.size());
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(" \t")));
    std::string_view before =
        lines_[static_cast<std::size_t>(key.line)].substr(0, static_cast<std::size_t>(key.column));
    before = before.substr(0, before.find_last_not_of(" \t") + 1);
    return rest.starts_with(':') || before.ends_with('?');
  }

 private:
  std::string_view Rest(int line, int column) const {
    const auto at = static_cast<std::size_t>(line), from = static_cast<std::size_t>(column);
    return at < lines_.size() && from <= lines_[at].size() ? lines_[at].substr(from) : std::string_view();
  }

  bool is_utf16_ = false, is_json_ = false;
  std::vector<std::string_view> lines_;  // of the text, without a byte order mark
  std::istringstream stream_;
};

// `last`: the line, from 1, of the last value that was found.
absl::Status Broken(const YAML::Exception& e, int last) {
  const Node at{.line = e.mark.line, .column = e.mark.column};
  const bool is_open = e.msg == YAML::ErrorMsg::EOF_IN_SCALAR || e.msg == YAML::ErrorMsg::DOC_IN_SCALAR;
  if (is_open) return Refusal(at, "a quote in or after line {} is not closed", last);
  return Refusal(at, "{}", base::Printable(e.msg, kShown));  // it may name half of a character
}

}  // namespace

struct YamlText::Tree {
  std::deque<Node> nodes;  // owns
  std::vector<const Node*> roots;
};

YamlText::YamlText(std::unique_ptr<Tree> tree) : tree_(std::move(tree)) {}
YamlText::YamlText(YamlText&&) noexcept = default;
YamlText& YamlText::operator=(YamlText&&) noexcept = default;
YamlText::~YamlText() = default;

absl::StatusOr<YamlText> YamlText::Parse(std::string_view text) {
  YamlText out(std::make_unique<Tree>());
  Source source(text);
  TreeBuilder builder(out.tree_->nodes);
  Converter converter;
  try {
    YAML::Parser parser(source.stream());
    for (bool is_first = true; parser.HandleNextDocument(builder); is_first = false) {
      const YAML::Mark& start = builder.start();
      if (!is_first && !source.MayBegin(start.line, start.column)) {
        return Refusal({.line = start.line, .column = start.column}, "text after the end of the document");
      }
      for (const Node* key : builder.bare_keys()) {
        if (!source.IsKey(*key)) return Refusal(*key, "\"{}\" has no \":\" behind it", Shown(key->text));
      }
      if (builder.root() == nullptr) continue;
      ASSIGN_OR_RETURN(json::Value document, converter.Convert(*builder.root()));
      if (document.IsNull()) continue;
      out.documents_.push_back(std::move(document));
      out.tree_->roots.push_back(builder.root());
    }
  } catch (const YAML::DeepRecursion& e) {
    return Refusal({.line = e.mark.line, .column = e.mark.column}, "nested deeper than {}", kMaxDepth);
  } catch (const YAML::Exception& e) {
    return Broken(e, out.tree_->nodes.empty() ? 1 : out.tree_->nodes.back().line + 1);
  }
  return out;
}

int YamlText::Line(std::size_t document, std::string_view path) const {
  if (document >= tree_->roots.size()) return 0;
  return Find(*tree_->roots[document], path).line + 1;
}

std::optional<std::string> YamlText::Unquoted(std::size_t document, std::string_view path) const {
  if (document >= tree_->roots.size()) return std::nullopt;
  const Found found = Find(*tree_->roots[document], path);
  if (!found.rest.empty() || found.node->type != Node::Type::kScalar || found.node->tag != "?") return std::nullopt;
  const Kind kind = Resolve(found.node->text).kind;
  if (kind == Kind::kText || kind == Kind::kNull) return std::nullopt;
  return found.node->text;
}

absl::StatusOr<std::vector<json::Value>> YamlToJson(std::string_view text) {
  ASSIGN_OR_RETURN(const YamlText read, YamlText::Parse(text));
  return read.documents();
}

}  // namespace clusterpulse::app
