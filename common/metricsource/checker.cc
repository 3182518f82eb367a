#include "common/metricsource/checker.h"

#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

namespace clusterpulse::metricsource {
namespace {

// A boolean counts as 0 or 1 where a number is needed.
constexpr KindSet kNumeric = kNumbers | KindSet(Kind::kBool);
constexpr KindSet kWhole = KindSet(Kind::kInt) | KindSet(Kind::kBool);

// What an operation on numbers gives: integers of integers, else doubles.
KindSet NumberOf(KindSet a, KindSet b) {
  if (!a.HasAny(kNumeric) || !b.HasAny(kNumeric)) return {};
  KindSet out;
  if (a.HasAny(kWhole) && b.HasAny(kWhole)) out = out | Kind::kInt;
  if (a.Has(Kind::kDouble) || b.Has(Kind::kDouble)) out = out | Kind::kDouble;
  return out;
}

bool IsOnlyText(KindSet kinds) { return !kinds.IsEmpty() && kinds.IsOnly(Kind::kText); }

std::string_view KindName(KindSet kinds) {
  if (kinds.IsOnly(Kind::kText)) return "text";
  if (kinds.IsOnly(Kind::kBool)) return "a boolean";
  return "a number";
}

class Checker {
 public:
  Checker(std::string_view text, const Tree& tree, std::span<const Column> columns, Problems& problems)
      : text_(text), tree_(tree), columns_(columns), problems_(problems), out_(tree.nodes.size()) {}

  std::vector<Checked> Run() {
    for (std::size_t i = 0; i < tree_.nodes.size(); ++i) Visit(tree_.nodes[i], out_[i]);
    if (!out_.empty() && out_.back().kinds.IsEmpty() && !problems_.has_errors()) {
      problems_.Warning(0, "the expression is always null");
    }
    return std::move(out_);
  }

 private:
  std::string_view Word(const Node& node) const { return text_.substr(node.begin, node.end - node.begin); }
  KindSet Kinds(std::uint32_t node) const { return out_[node].kinds; }

  // "state" is text; for what has no name: it is text.
  std::string Is(std::uint32_t index) const {
    const Node& node = tree_.nodes[index];
    const bool has_name = node.type == NodeType::kName || node.type == NodeType::kCall;
    return fmt::format("{} is {}", has_name ? Quoted(Word(node)) : "it", KindName(Kinds(index)));
  }
  std::string AsNumber(std::uint32_t index) const {
    const Node& node = tree_.nodes[index];
    return node.type == NodeType::kName ? fmt::format("toNumber({})", Word(node)) : "";
  }

  void Visit(const Node& node, Checked& out) {
    switch (node.type) {
      case NodeType::kMissing:
        out.kinds = kAnyKind;
        return;
      case NodeType::kBranch:
        return;
      case NodeType::kConstant:
        out.kinds = node.symbol == Symbol::kText ? KindSet(Kind::kText) : KindSet(node.constant.kind());
        return;
      case NodeType::kName:
        Name(node, out);
        return;
      case NodeType::kUnary:
        Unary(node, out);
        return;
      case NodeType::kBinary:
        Binary(node, out);
        return;
      case NodeType::kCall:
        Call(node, out);
    }
  }

  // Of columns of the same name the first.
  std::optional<std::uint32_t> Find(std::string_view name) {
    if (by_name_.empty()) {
      for (std::size_t i = 0; i < columns_.size(); ++i) {
        by_name_.emplace(columns_[i].name, static_cast<std::uint32_t>(i));
      }
    }
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? std::nullopt : std::optional(found->second);
  }

  void Name(const Node& node, Checked& out) {
    const std::string_view name = Word(node);
    if (const auto column = Find(name)) {
      out.column = *column;
      out.kinds = columns_[*column].kinds;
      return;
    }
    out.kinds = kAnyKind;
    if (problems_.is_full()) {
      problems_.Error(node.begin, fmt::format("unknown name {}", Quoted(name)));
      return;
    }
    std::vector<std::string_view> names;
    names.reserve(columns_.size());
    for (const Column& column : columns_) names.push_back(column.name);
    const std::string nearest = Nearest(name, names);
    if (nearest.empty() && FindFunction(name) != nullptr) {
      problems_.Error(node.begin, fmt::format("{} is a function and needs \"(\"", Quoted(name)));
    } else {
      problems_.Error(node.begin, fmt::format("unknown name {}: no field or computed value has it", Quoted(name)),
                      nearest);
    }
  }

  void Unary(const Node& node, Checked& out) {
    const KindSet kinds = Kinds(node.left);
    if (node.symbol == Symbol::kNot) {
      Condition(node, node.left);
      if (!kinds.IsEmpty()) out.kinds = Kind::kBool;
      return;
    }
    NeedsNumber("\"-\"", node.left);
    out.kinds = NumberOf(kinds, kinds);
  }

  void Binary(const Node& node, Checked& out) {
    const KindSet left = Kinds(node.left), right = Kinds(node.right);
    switch (node.symbol) {
      case Symbol::kElse:
        out.kinds = left | right;
        return;
      case Symbol::kAnd:
      case Symbol::kOr:
        Condition(node, node.left);
        Condition(node, node.right);
        out.kinds = Kind::kBool;
        return;
      case Symbol::kEqual:
      case Symbol::kNotEqual:
        out.kinds = Kind::kBool;
        Equality(node, left, right);
        return;
      case Symbol::kLess:
      case Symbol::kLessEqual:
      case Symbol::kGreater:
      case Symbol::kGreaterEqual:
        if (left.IsEmpty() || right.IsEmpty()) return;
        out.kinds = Kind::kBool;
        if ((left.Has(Kind::kText) && right.Has(Kind::kText)) || (left.HasAny(kNumeric) && right.HasAny(kNumeric))) {
          return;
        }
        problems_.Error(node.begin,
                        fmt::format("{} cannot order {} and {}", Quoted(Word(node)), KindName(left), KindName(right)),
                        AsNumber(IsOnlyText(left) ? node.left : node.right));
        return;
      case Symbol::kPlus:
        if (left.IsEmpty() || right.IsEmpty()) return;
        out.kinds = NumberOf(left, right);
        if (left.Has(Kind::kText) || right.Has(Kind::kText)) out.kinds = out.kinds | Kind::kText;
        out.is_join = IsOnlyText(left) || IsOnlyText(right);
        if (out.is_join) {
          out.kinds = Kind::kText;
          out_[node.left].is_part = out_[node.left].is_join;
          out_[node.right].is_part = out_[node.right].is_join;
        }
        return;
      default:
        NeedsNumber(Quoted(Word(node)), node.left);
        NeedsNumber(Quoted(Word(node)), node.right);
        out.kinds = NumberOf(left, right);
        if (node.symbol == Symbol::kDivide && !out.kinds.IsEmpty()) out.kinds = Kind::kDouble;
    }
  }

  void Call(const Node& node, Checked& out) {
    out.kinds = kAnyKind;
    const std::string_view name = Word(node);
    out.function = FindFunction(name);
    if (out.function == nullptr) {
      if (Find(name)) {
        problems_.Error(node.begin, fmt::format("{} is a value, not a function", Quoted(name)));
      } else if (name == "if") {
        problems_.Error(node.begin, "unknown function \"if\": there is no conditional");
      } else {
        problems_.Error(node.begin, fmt::format("unknown function {}", Quoted(name)), Nearest(name, FunctionNames()));
      }
      return;
    }
    const FunctionInfo& function = *out.function;
    const std::span<const std::uint32_t> arguments(tree_.arguments.data() + node.first, node.count);
    if (node.count < function.least || (function.most != kAnyNumber && node.count > function.most)) {
      problems_.Error(node.begin, fmt::format("{} takes {}, not {}", Quoted(name), Count(function), node.count));
      return;
    }
    bool is_null = false;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      const Takes takes = i == 0 ? function.first : function.others;
      if (takes == Takes::kNumber) NeedsNumber(Quoted(name), arguments[i]);
      if (takes == Takes::kText && !Kinds(arguments[i]).IsEmpty() && !Kinds(arguments[i]).Has(Kind::kText)) {
        problems_.Error(Where(arguments[i]), fmt::format("{} needs text, but {}", Quoted(name), Is(arguments[i])));
      }
      is_null = is_null || Kinds(arguments[i]).IsEmpty();
    }
    out.kinds = ResultOf(function.function, arguments);
    const bool passes_null = function.function != Function::kConcat && function.function != Function::kCoalesce;
    if (is_null && passes_null) out.kinds = {};
  }

  KindSet ResultOf(Function function, std::span<const std::uint32_t> arguments) const {
    switch (function) {
      case Function::kConcat:
      case Function::kLower:
      case Function::kUpper:
      case Function::kSubstr:
      case Function::kNow:
      case Function::kFormatBytes:
      case Function::kToString:
        return Kind::kText;
      case Function::kContains:
      case Function::kStartsWith:
      case Function::kEndsWith:
        return Kind::kBool;
      case Function::kLen:
        return Kind::kInt;
      case Function::kAge:
        return Kind::kDouble;
      case Function::kCoalesce: {
        KindSet kinds;
        for (const std::uint32_t argument : arguments) kinds = kinds | Kinds(argument);
        return kinds;
      }
      case Function::kMin:
      case Function::kMax:
        // One of the two as it is: an integer beside a double stays one.
        return AsNumbers(Kinds(arguments[0]) | Kinds(arguments[1]));
      case Function::kRound:
      case Function::kFloor:
      case Function::kCeil:
      case Function::kAbs:
        return AsNumbers(Kinds(arguments[0]));
      case Function::kToNumber:
        return Kinds(arguments[0]).Has(Kind::kText) ? kNumbers : AsNumbers(Kinds(arguments[0]));
    }
    return kAnyKind;
  }

  static KindSet AsNumbers(KindSet kinds) {
    KindSet out;
    if (kinds.HasAny(kWhole)) out = out | Kind::kInt;
    if (kinds.Has(Kind::kDouble)) out = out | Kind::kDouble;
    return out;
  }

  static std::string Count(const FunctionInfo& function) {
    const auto arguments = [](int n) { return n == 1 ? "1 argument" : fmt::format("{} arguments", n); };
    if (function.most == kAnyNumber) return "at least " + arguments(function.least);
    if (function.least == function.most) return function.most == 0 ? "no arguments" : arguments(function.most);
    return fmt::format("{} or {}", function.least, arguments(function.most));
  }

  std::size_t Where(std::uint32_t node) const { return tree_.nodes[node].begin; }

  void NeedsNumber(std::string_view what, std::uint32_t operand) {
    const KindSet kinds = Kinds(operand);
    if (kinds.IsEmpty() || kinds.HasAny(kNumeric)) return;
    problems_.Error(Where(operand), fmt::format("{} needs a number, but {}", what, Is(operand)), AsNumber(operand));
  }

  void Condition(const Node& node, std::uint32_t operand) {
    if (!IsOnlyText(Kinds(operand))) return;
    problems_.Warning(Where(operand),
                      fmt::format("{} needs a boolean, but {}: only \"true\", \"false\", \"1\" and \"0\" count",
                                  Quoted(Word(node)), Is(operand)));
  }

  void Equality(const Node& node, KindSet left, KindSet right) {
    if (left.IsEmpty() || right.IsEmpty() || left.HasAny(right)) return;
    if (left.HasAny(kNumbers) && right.HasAny(kNumbers)) return;
    problems_.Warning(node.begin, fmt::format("{} compares {} with {}, which are never equal", Quoted(Word(node)),
                                              KindName(left), KindName(right)));
  }

  std::string_view text_;
  const Tree& tree_;
  std::span<const Column> columns_;
  Problems& problems_;
  std::vector<Checked> out_;
  std::unordered_map<std::string_view, std::uint32_t> by_name_;  // made when it is first needed
};

}  // namespace

std::vector<Checked> Check(std::string_view text, const Tree& tree, std::span<const Column> columns,
                           Problems& problems) {
  return Checker(text, tree, columns, problems).Run();
}

}  // namespace clusterpulse::metricsource
