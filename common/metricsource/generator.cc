#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "common/metricsource/program.h"

namespace clusterpulse::metricsource {
namespace {

class Generator {
 public:
  Generator(const Tree& tree, const std::vector<Checked>& checked, Program& program)
      : tree_(tree),
        checked_(checked),
        program_(program),
        places_(tree.nodes.size()),
        scratch_(arena_, base::SystemTime()) {}

  void Run() {
    for (std::uint32_t i = 0; i < tree_.nodes.size(); ++i) {
      const Node& node = tree_.nodes[i];
      if (node.type == NodeType::kBranch) {
        i = Branch(node, i);
      } else {
        Visit(node, i);
      }
    }
    program_.result = places_.back().operand;
    program_.steps = static_cast<std::int64_t>(program_.code.size());
  }

 private:
  // Where a node's value is. A part of a join has none: it is the list of what is joined.
  struct Where {
    Operand operand = 0;
    std::vector<Operand> parts;
  };

  static bool IsConstant(Operand operand) { return PlaceOf(operand) == Place::kConstant; }
  static bool IsRegister(Operand operand) { return PlaceOf(operand) == Place::kRegister; }
  Value ConstantOf(Operand operand) const { return program_.constants[IndexOf(operand)]; }

  Operand AddConstant(Value value) {
    if (value.IsText()) {
      program_.texts.emplace_back(value.AsText());
      value = Value::Text(program_.texts.back());
    }
    program_.constants.push_back(value);
    return MakeOperand(Place::kConstant, program_.constants.size() - 1);
  }

  // Registers are used as a stack: what an instruction reads is on top, and its result takes the place.
  void Free(std::size_t count) { top_ -= count; }
  std::uint32_t Claim() {
    program_.registers = std::max(program_.registers, top_ + 1);
    return static_cast<std::uint32_t>(top_++);
  }

  // Adds an instruction that reads `operands`, or its result when that is known already.
  Operand Emit(Instruction instruction, std::span<const Operand> operands, bool can_fold = true) {
    std::size_t constants = 0, registers = 0;
    for (const Operand operand : operands) {
      constants += IsConstant(operand) ? 1 : 0;
      registers += IsRegister(operand) ? 1 : 0;
    }
    if (can_fold && constants == operands.size()) {
      Value value;
      if (Fold(instruction, value)) return AddConstant(value);
    }
    Free(registers);
    instruction.to = Claim();
    program_.code.push_back(instruction);
    return MakeOperand(Place::kRegister, instruction.to);
  }

  bool Fold(Instruction instruction, Value& value) {
    Program one;
    one.code.push_back(instruction);
    one.registers = 1;
    one.result = MakeOperand(Place::kRegister, 0);
    // Lent to it, as there may be many.
    one.lists.swap(program_.lists);
    one.constants.swap(program_.constants);
    arena_.Reset();
    scratch_.BeginRow();
    const std::uint64_t errors = scratch_.type_errors() + scratch_.budget_errors();
    value = one.Run(nullptr, scratch_);
    one.lists.swap(program_.lists);
    one.constants.swap(program_.constants);
    return errors == scratch_.type_errors() + scratch_.budget_errors();
  }

  void Visit(const Node& node, std::uint32_t index) {
    Where& where = places_[index];
    switch (node.type) {
      case NodeType::kMissing:
      case NodeType::kBranch:
        return;
      case NodeType::kConstant:
        where.operand = AddConstant(node.symbol == Symbol::kText ? Value::Text(tree_.texts[node.text]) : node.constant);
        return;
      case NodeType::kName:
        where.operand = MakeOperand(Place::kRow, checked_[index].column);
        return;
      case NodeType::kUnary:
        where.operand = Unary(node.symbol == Symbol::kNot ? Op::kNot : Op::kNegate, places_[node.left].operand);
        return;
      case NodeType::kBinary:
        Binary(node, index, where);
        return;
      case NodeType::kCall:
        where.operand = Call(node, *checked_[index].function);
    }
  }

  Operand Unary(Op op, Operand a) {
    Instruction instruction;
    instruction.op = op;
    instruction.a = a;
    const Operand operands[] = {a};
    return Emit(instruction, operands);
  }
  Operand Binary(Op op, Operand a, Operand b) {
    Instruction instruction;
    instruction.op = op;
    instruction.a = a;
    instruction.b = b;
    const Operand operands[] = {a, b};
    return Emit(instruction, operands);
  }

  // An integer constant as a double, where the other side is one anyway: two of a kind are quicker. Only where that is
  // exact.
  Operand Widen(Operand operand, std::uint32_t other) {
    if (!IsConstant(operand) || !(checked_[other].kinds == KindSet(Kind::kDouble))) return operand;
    const Value value = ConstantOf(operand);
    constexpr std::int64_t kExact = std::int64_t{1} << 53;
    if (value.kind() != Kind::kInt || value.AsInt() > kExact || value.AsInt() < -kExact) return operand;
    return AddConstant(Value::Double(static_cast<double>(value.AsInt())));
  }

  void Binary(const Node& node, std::uint32_t index, Where& where) {
    if (checked_[index].is_join) {
      Join(node, index, where);
      return;
    }
    Operand a = places_[node.left].operand, b = places_[node.right].operand;
    switch (node.symbol) {
      case Symbol::kElse:
      case Symbol::kAnd:
      case Symbol::kOr:
        where.operand = EndBranch(node, index, a, b);
        return;
      default:
        break;
    }
    a = Widen(a, node.right);
    b = Widen(b, node.left);
    switch (node.symbol) {
      case Symbol::kGreater:
        where.operand = Binary(Op::kLess, b, a);
        return;
      case Symbol::kGreaterEqual:
        where.operand = Binary(Op::kLessEqual, b, a);
        return;
      default:
        where.operand = Binary(OpOf(node.symbol), a, b);
    }
  }

  static Op OpOf(Symbol symbol) {
    switch (symbol) {
      case Symbol::kPlus:
        return Op::kAdd;
      case Symbol::kMinus:
        return Op::kSubtract;
      case Symbol::kTimes:
        return Op::kMultiply;
      case Symbol::kDivide:
        return Op::kDivide;
      case Symbol::kRemainder:
        return Op::kRemainder;
      case Symbol::kEqual:
        return Op::kEqual;
      case Symbol::kNotEqual:
        return Op::kNotEqual;
      case Symbol::kLess:
        return Op::kLess;
      case Symbol::kLessEqual:
        return Op::kLessEqual;
      case Symbol::kAnd:
        return Op::kAnd;
      case Symbol::kOr:
        return Op::kOr;
      default:
        return Op::kElse;
    }
  }

  Operand List(Op op, const std::vector<Operand>& operands) {
    Instruction instruction;
    instruction.op = op;
    instruction.a = static_cast<Operand>(program_.lists.size());
    instruction.b = static_cast<Operand>(operands.size());
    program_.lists.insert(program_.lists.end(), operands.begin(), operands.end());
    return Emit(instruction, operands);
  }

  void Join(const Node& node, std::uint32_t index, Where& where) {
    std::vector<Operand> parts = std::move(places_[node.left].parts);
    if (parts.empty()) parts.push_back(places_[node.left].operand);
    const Where& right = places_[node.right];
    if (right.parts.empty()) {
      parts.push_back(right.operand);
    } else {
      parts.insert(parts.end(), right.parts.begin(), right.parts.end());
    }
    // Two constants are one; a list with more parts has some that are none.
    const bool is_constant = parts.size() == 2 && IsConstant(parts[0]) && IsConstant(parts[1]);
    if (checked_[index].is_part && !is_constant) {
      where.parts = std::move(parts);
    } else {
      where.operand = List(Op::kJoin, parts);
    }
  }

  Operand Call(const Node& node, const FunctionInfo& function) {
    std::vector<Operand> arguments;
    for (std::uint32_t i = 0; i < node.count; ++i) {
      arguments.push_back(places_[tree_.arguments[node.first + i]].operand);
    }
    Instruction instruction;
    bool can_fold = true;
    switch (function.function) {
      case Function::kConcat:
        return List(Op::kConcat, arguments);
      case Function::kCoalesce:
        return Coalesce(arguments);
      case Function::kNow:
        instruction.op = Op::kNow;
        can_fold = false;
        break;
      case Function::kAge:
        instruction.op = Op::kAge;
        can_fold = false;
        break;
      case Function::kRound:
        return Round(arguments[0], node.count == 1 ? AddConstant(Value::Int(0)) : arguments[1]);
      case Function::kSubstr:
        instruction.op = Op::kSubstr;
        if (node.count == 2) arguments.push_back(AddConstant(Value::Int(INT64_MAX)));
        break;
      case Function::kLower:
        instruction.op = Op::kLower;
        break;
      case Function::kUpper:
        instruction.op = Op::kUpper;
        break;
      case Function::kLen:
        instruction.op = Op::kLen;
        break;
      case Function::kFloor:
        instruction.op = Op::kFloor;
        break;
      case Function::kCeil:
        instruction.op = Op::kCeil;
        break;
      case Function::kAbs:
        instruction.op = Op::kAbs;
        break;
      case Function::kMin:
        instruction.op = Op::kMin;
        break;
      case Function::kMax:
        instruction.op = Op::kMax;
        break;
      case Function::kFormatBytes:
        instruction.op = Op::kFormatBytes;
        break;
      case Function::kContains:
        instruction.op = Op::kContains;
        break;
      case Function::kStartsWith:
        instruction.op = Op::kStartsWith;
        break;
      case Function::kEndsWith:
        instruction.op = Op::kEndsWith;
        break;
      case Function::kToString:
        instruction.op = Op::kToString;
        break;
      case Function::kToNumber:
        instruction.op = Op::kToNumber;
        break;
    }
    if (!arguments.empty()) instruction.a = arguments[0];
    if (arguments.size() > 1) instruction.b = arguments[1];
    if (arguments.size() > 2) instruction.c = arguments[2];
    return Emit(instruction, arguments, can_fold);
  }

  Operand Round(Operand value, Operand decimals) {
    if (IsConstant(decimals)) {
      const Value digits = ConstantOf(decimals);
      // Those powers of ten are exact.
      if (digits.kind() == Kind::kInt && digits.AsInt() >= 0 && digits.AsInt() <= 22) {
        double unit = 1;
        for (std::int64_t i = 0; i < digits.AsInt(); ++i) unit *= 10;
        return Binary(Op::kRoundTo, value, AddConstant(Value::Double(unit)));
      }
    }
    return Binary(Op::kRound, value, decimals);
  }

  // All arguments have been evaluated, as upstream does. From the last one, whose register is the topmost.
  Operand Coalesce(const std::vector<Operand>& arguments) {
    Operand right = arguments.back();
    for (std::size_t i = arguments.size() - 1; i-- > 0;) right = Binary(Op::kElse, arguments[i], right);
    return right;
  }

  // Before the right side of && || ??. Gives the node to go on behind.
  std::uint32_t Branch(const Node& node, std::uint32_t index) {
    const std::uint32_t owner = node.right;
    const Operand left = places_[node.left].operand;
    Where& where = places_[owner];
    if (IsConstant(left)) {
      const Value value = ConstantOf(left);
      const bool decides = node.symbol == Symbol::kElse  ? !value.IsNull()
                           : node.symbol == Symbol::kAnd ? IsCondition(value, false)
                                                         : IsCondition(value, true);
      if (!decides) return index;
      where.operand = node.symbol == Symbol::kElse ? left : AddConstant(Value::Bool(node.symbol == Symbol::kOr));
      return owner;
    }
    if (IsCheap(index + 1, owner)) return index;
    Instruction skip;
    skip.a = left;
    skip.op = node.symbol == Symbol::kElse  ? Op::kSkipUnlessNull
              : node.symbol == Symbol::kAnd ? Op::kSkipIfFalse
                                            : Op::kSkipIfTrue;
    if (IsRegister(left)) Free(1);
    skip.to = Claim();
    // The right side of ?? is only evaluated where the left one is not needed any more.
    if (node.symbol == Symbol::kElse) Free(1);
    places_[node.left].operand = MakeOperand(Place::kRegister, skip.to);
    skips_.push_back({owner, program_.code.size()});
    program_.code.push_back(skip);
    return index;
  }

  // A right side that costs no more than to leave it out, and that no one can tell was evaluated: one node, or a
  // comparison of two that always has a value or null.
  bool IsCheap(std::uint32_t first, std::uint32_t owner) const {
    const std::uint32_t size = owner - first;
    if (size == 1) return true;
    const Node& last = tree_.nodes[owner - 1];
    if (size != 3 || last.type != NodeType::kBinary) return false;
    const KindSet left = checked_[last.left].kinds, right = checked_[last.right].kinds;
    constexpr KindSet kNumeric = kNumbers | KindSet(Kind::kBool);
    switch (last.symbol) {
      case Symbol::kEqual:
      case Symbol::kNotEqual:
        return true;
      case Symbol::kLess:
      case Symbol::kLessEqual:
      case Symbol::kGreater:
      case Symbol::kGreaterEqual:
        return (left | right).IsOnly(kNumeric) || (left | right).IsOnly(Kind::kText);
      default:
        return false;
    }
  }

  static bool IsCondition(Value value, bool wanted) {
    switch (value.kind()) {
      case Kind::kBool:
        return value.AsBool() == wanted;
      case Kind::kInt:
        return (value.AsInt() != 0) == wanted;
      case Kind::kDouble:
        return (value.AsDouble() != 0) == wanted;
      case Kind::kNull:
      case Kind::kText:
        return false;
    }
    return false;
  }

  Operand EndBranch(const Node& node, std::uint32_t index, Operand a, Operand b) {
    const bool has_skip = !skips_.empty() && skips_.back().owner == index;
    if (node.symbol != Symbol::kElse || !has_skip) {
      // A constant null on the left of ?? is its right side.
      if (node.symbol == Symbol::kElse && IsConstant(a)) return b;
      const Operand out = Binary(OpOf(node.symbol), a, b);
      if (has_skip) EndSkip();
      return out;
    }
    if (IsRegister(b)) Free(1);
    Instruction move;
    move.op = Op::kMove;
    move.a = b;
    move.to = Claim();
    const Operand out = MakeOperand(Place::kRegister, move.to);
    if (b != out) program_.code.push_back(move);
    EndSkip();
    return out;
  }

  void EndSkip() {
    program_.code[skips_.back().at].c = static_cast<Operand>(program_.code.size());
    skips_.pop_back();
  }

  struct Skip {
    std::uint32_t owner;  // the operator's node
    std::size_t at;
  };

  const Tree& tree_;
  const std::vector<Checked>& checked_;
  Program& program_;
  std::vector<Where> places_;
  std::vector<Skip> skips_;  // inside each other
  std::size_t top_ = 0;
  TextArena arena_;
  EvaluationContext scratch_;
};

}  // namespace

void Generate(const Tree& tree, const std::vector<Checked>& checked, Program& program) {
  Generator(tree, checked, program).Run();
}

}  // namespace clusterpulse::metricsource
