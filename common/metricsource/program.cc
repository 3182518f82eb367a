#include "common/metricsource/program.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/metricsource/convert.h"
#include "common/metricsource/text_functions.h"

namespace clusterpulse::metricsource {
namespace {

constexpr std::int64_t kMaxInt = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMinInt = std::numeric_limits<std::int64_t>::min();

// The kinds of two values at once: kinds are bits.
constexpr unsigned Bits(Kind kind) { return static_cast<unsigned>(kind); }
unsigned Bits(Value a, Value b) { return Bits(a.kind()) | Bits(b.kind()); }
constexpr unsigned kNull = Bits(Kind::kNull), kBool = Bits(Kind::kBool), kInt = Bits(Kind::kInt),
                   kDouble = Bits(Kind::kDouble), kText = Bits(Kind::kText);

// A number, with a boolean as 0 or 1. REQUIRES: neither null nor text.
Value AsNumber(Value value) { return value.kind() == Kind::kBool ? Value::Int(value.AsBool() ? 1 : 0) : value; }

std::int64_t Add(std::int64_t a, std::int64_t b) {
  std::int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? (b > 0 ? kMaxInt : kMinInt) : sum;
}
std::int64_t Subtract(std::int64_t a, std::int64_t b) {
  std::int64_t difference;
  return __builtin_sub_overflow(a, b, &difference) ? (b < 0 ? kMaxInt : kMinInt) : difference;
}
std::int64_t Multiply(std::int64_t a, std::int64_t b) {
  std::int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? ((a < 0) == (b < 0) ? kMaxInt : kMinInt) : product;
}
Value Remainder(std::int64_t a, std::int64_t b) {
  if (b == 0) return Value::Null();
  return Value::Int(b == -1 ? 0 : a % b);  // the lowest integer by -1 does not fit
}

// What all operators on numbers have in common when the operands are not two of a kind.
template <typename Ints, typename Doubles>
Value OnNumbers(Value a, Value b, EvaluationContext& context, Ints ints, Doubles doubles) {
  const unsigned bits = Bits(a, b);
  if ((bits & kNull) != 0) return Value::Null();
  if ((bits & kText) != 0) return context.TypeError();
  a = AsNumber(a);
  b = AsNumber(b);
  return Bits(a, b) == kInt ? ints(a.AsInt(), b.AsInt()) : doubles(a.Number(), b.Number());
}

[[gnu::noinline]] Value SubtractOther(Value a, Value b, EvaluationContext& context) {
  return OnNumbers(
      a, b, context, [](std::int64_t x, std::int64_t y) { return Value::Int(Subtract(x, y)); },
      [](double x, double y) { return Value::Double(x - y); });
}
[[gnu::noinline]] Value MultiplyOther(Value a, Value b, EvaluationContext& context) {
  return OnNumbers(
      a, b, context, [](std::int64_t x, std::int64_t y) { return Value::Int(Multiply(x, y)); },
      [](double x, double y) { return Value::Double(x * y); });
}
[[gnu::noinline]] Value DivideOther(Value a, Value b, EvaluationContext& context) {
  const auto divide = [](double x, double y) { return y == 0 ? Value::Null() : Value::Double(x / y); };
  return OnNumbers(
      a, b, context,
      [&](std::int64_t x, std::int64_t y) { return divide(static_cast<double>(x), static_cast<double>(y)); }, divide);
}
[[gnu::noinline]] Value RemainderOther(Value a, Value b, EvaluationContext& context) {
  return OnNumbers(
      a, b, context, [](std::int64_t x, std::int64_t y) { return Remainder(x, y); },
      [](double x, double y) { return y == 0 ? Value::Null() : Value::Double(std::fmod(x, y)); });
}

// Order; null when one is null or they have none. `or_equal`: a <= b, else a < b.
[[gnu::noinline]] Value LessOther(Value a, Value b, bool or_equal, EvaluationContext& context) {
  const unsigned bits = Bits(a, b);
  if ((bits & kNull) != 0) return Value::Null();
  int order = 0;
  if (bits == kText) {
    order = a.AsText().compare(b.AsText());
  } else if ((bits & kText) != 0) {
    return context.TypeError();
  } else {
    order = CompareNumbers(AsNumber(a), AsNumber(b));
  }
  return Value::Bool(or_equal ? order <= 0 : order < 0);
}

Value Less(Value a, Value b, EvaluationContext& context) {
  const unsigned bits = Bits(a, b);
  if (bits == kInt) return Value::Bool(a.AsInt() < b.AsInt());
  if (bits == kDouble) return Value::Bool(a.AsDouble() < b.AsDouble());
  return LessOther(a, b, false, context);
}
Value LessEqual(Value a, Value b, EvaluationContext& context) {
  const unsigned bits = Bits(a, b);
  if (bits == kInt) return Value::Bool(a.AsInt() <= b.AsInt());
  if (bits == kDouble) return Value::Bool(a.AsDouble() <= b.AsDouble());
  return LessOther(a, b, true, context);
}

inline bool IsEqual(Value a, Value b) {
  const unsigned bits = Bits(a, b);
  if (bits == kText) {
    const std::string_view x = a.AsText(), y = b.AsText();
    return x.size() == y.size() && x == y;
  }
  return bits == kInt ? a.AsInt() == b.AsInt() : SameValue(a, b);
}

// What a value is as a condition: a boolean, or null where that is unknown.
[[gnu::noinline]] Value ConditionOther(Value value, EvaluationContext& context) {
  switch (value.kind()) {
    case Kind::kNull:
    case Kind::kBool:
      return value;
    case Kind::kInt:
      return Value::Bool(value.AsInt() != 0);
    case Kind::kDouble:
      return Value::Bool(value.AsDouble() != 0);
    case Kind::kText: {
      bool is = false;
      return ParseBoolean(value.AsText(), is) ? Value::Bool(is) : context.TypeError();
    }
  }
  return Value::Null();
}
Value Condition(Value value, EvaluationContext& context) {
  return value.kind() == Kind::kBool ? value : ConditionOther(value, context);
}
bool Is(Value condition, bool wanted) { return condition.kind() == Kind::kBool && condition.AsBool() == wanted; }

// && when `stops` is false, || when it is true: that value decides alone, unknown is worth less than it.
[[gnu::noinline]] Value JunctionOther(Value a, Value b, bool stops, EvaluationContext& context) {
  a = Condition(a, context);
  if (Is(a, stops)) return a;
  b = Condition(b, context);
  return Is(b, stops) || b.IsNull() ? b : a;
}
Value And(Value a, Value b, EvaluationContext& context) {
  if (Bits(a, b) == kBool) return Value::Bool((static_cast<int>(a.AsBool()) & static_cast<int>(b.AsBool())) != 0);
  return JunctionOther(a, b, false, context);
}
Value Or(Value a, Value b, EvaluationContext& context) {
  if (Bits(a, b) == kBool) return Value::Bool((static_cast<int>(a.AsBool()) | static_cast<int>(b.AsBool())) != 0);
  return JunctionOther(a, b, true, context);
}

Value Not(Value value, EvaluationContext& context) {
  value = Condition(value, context);
  return value.IsNull() ? value : Value::Bool(!value.AsBool());
}

Value Negate(Value value, EvaluationContext& context) {
  switch (value.kind()) {
    case Kind::kNull:
      return value;
    case Kind::kBool:
    case Kind::kInt:
      return Value::Int(Subtract(0, AsNumber(value).AsInt()));
    case Kind::kDouble:
      return Value::Double(-value.AsDouble());
    case Kind::kText:
      return context.TypeError();
  }
  return Value::Null();
}

// A function of one number.
template <typename Ints, typename Doubles>
Value OnNumber(Value value, EvaluationContext& context, Ints ints, Doubles doubles) {
  if (value.IsNull()) return value;
  if (value.IsText()) return context.TypeError();
  value = AsNumber(value);
  return value.kind() == Kind::kInt ? Value::Int(ints(value.AsInt())) : Value::Double(doubles(value.AsDouble()));
}

double PowerOfTen(int exponent) {
  static constexpr std::array<double, 23> kExact = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  return exponent < static_cast<int>(kExact.size()) ? kExact[static_cast<std::size_t>(exponent)]
                                                    : std::pow(10.0, exponent);
}

// From 2^52 on all doubles are integers. Below, an int64 holds the whole part, and what is left of it is exact: quicker
// than the C library's functions, and never -0.
bool IsWhole(double value) { return std::fabs(value) >= 4503599627370496.0; }
double RoundToWhole(double value) {
  if (IsWhole(value)) return value;
  auto whole = static_cast<std::int64_t>(value);
  const double rest = value - static_cast<double>(whole);
  if (rest >= 0.5) ++whole;
  if (rest <= -0.5) --whole;
  return static_cast<double>(whole);
}
double Floor(double value) {
  if (IsWhole(value)) return value;
  const auto whole = static_cast<std::int64_t>(value);
  return static_cast<double>(static_cast<double>(whole) > value ? whole - 1 : whole);
}

// To a multiple of 10^digits, half away from zero.
std::int64_t RoundInt(std::int64_t value, int digits) {
  if (digits > 19) return 0;
  if (digits == 19) {  // 10^19 is beyond the limits, half of it is not
    constexpr std::int64_t kHalf = 5'000'000'000'000'000'000;
    return value >= kHalf ? kMaxInt : (value <= -kHalf ? kMinInt : 0);
  }
  std::int64_t unit = 1;
  for (int i = 0; i < digits; ++i) unit *= 10;
  const std::int64_t rest = value % unit, down = value - rest;
  if (rest >= unit - rest) return Add(down, unit);
  return -rest >= unit + rest ? Subtract(down, unit) : down;
}

double RoundDouble(double value, int decimals) {
  if (decimals < 0) {
    const double unit = PowerOfTen(-decimals);
    return std::isfinite(unit) ? RoundToWhole(value / unit) * unit : 0;
  }
  if (decimals == 0 || IsWhole(value)) return RoundToWhole(value);
  const double unit = PowerOfTen(decimals), scaled = value * unit;
  // More digits than a double has.
  if (!std::isfinite(scaled)) return value;
  return RoundToWhole(scaled) / unit;
}

[[gnu::noinline]] Value Round(Value value, Value decimals, EvaluationContext& context) {
  const unsigned bits = Bits(value, decimals);
  if ((bits & kNull) != 0) return Value::Null();
  if ((bits & kText) != 0) return context.TypeError();
  const int digits = static_cast<int>(std::clamp<std::int64_t>(TruncateToInt(AsNumber(decimals)), -400, 400));
  value = AsNumber(value);
  if (value.kind() == Kind::kDouble) return Value::Double(RoundDouble(value.AsDouble(), digits));
  return digits >= 0 ? value : Value::Int(RoundInt(value.AsInt(), -digits));
}

// min when `sign` is 1, max when it is -1. Of equal ones the first.
[[gnu::noinline]] Value ChooseOther(Value a, Value b, int sign, EvaluationContext& context) {
  const unsigned bits = Bits(a, b);
  if ((bits & kNull) != 0) return Value::Null();
  if ((bits & kText) != 0) return context.TypeError();
  a = AsNumber(a);
  b = AsNumber(b);
  return CompareNumbers(a, b) * sign <= 0 ? a : b;
}
Value Min(Value a, Value b, EvaluationContext& context) {
  if (Bits(a, b) == kInt) return Value::Int(std::min(a.AsInt(), b.AsInt()));
  return ChooseOther(a, b, 1, context);
}
Value Max(Value a, Value b, EvaluationContext& context) {
  if (Bits(a, b) == kInt) return Value::Int(std::max(a.AsInt(), b.AsInt()));
  return ChooseOther(a, b, -1, context);
}

// The text of a value without a place for it of its own. REQUIRES: not null; the buffer outlives the text.
using NumberText = std::array<char, kMaxNumberText>;
std::string_view TextOf(Value value, NumberText& buffer) {
  switch (value.kind()) {
    case Kind::kText:
      return value.AsText();
    case Kind::kBool:
      return value.AsBool() ? "true" : "false";
    case Kind::kInt:
    case Kind::kDouble:
      return {buffer.data(), WriteNumber(buffer.data(), value)};
    case Kind::kNull:
      break;
  }
  return {};
}

// For those that give a text: false when the row's budget is spent.
bool ToText(Value value, EvaluationContext& context, std::string_view& out) {
  if (value.kind() != Kind::kInt && value.kind() != Kind::kDouble) {
    NumberText unused;
    out = TextOf(value, unused);
    return true;
  }
  char* const made = context.arena().Allocate(kMaxNumberText);
  if (made == nullptr) return false;
  const std::size_t size = WriteNumber(made, value);
  context.arena().GiveBack(kMaxNumberText - size);
  out = {made, size};
  return true;
}

bool ChargeText(EvaluationContext& context, std::size_t bytes) {
  return bytes < 1024 || context.Charge(static_cast<std::int64_t>(bytes >> 10));
}

}  // namespace

// One run of a program. What gives up for lack of budget sets is_spent_, and the run ends with null.
class Machine {
 public:
  Machine(const Program& program, const Value* row, EvaluationContext& context)
      : program_(program),
        context_(context),
        registers_(context.Registers(program.registers)),
        places_{row, program.constants.data(), registers_} {}

  [[gnu::always_inline]] inline Value Run() {
    const Instruction* const code = program_.code.data();
    const Instruction* const end = code + program_.code.size();
    if (code == end) return At(program_.result);
    for (const Instruction* i = code;;) {
      Value out;
      switch (i->op) {
        case Op::kMove:
          out = At(i->a);
          break;
        case Op::kAdd:
          out = Sum(At(i->a), At(i->b));
          if (is_spent_) [[unlikely]]
            return context_.BudgetError();
          break;
        case Op::kSubtract: {
          const Value a = At(i->a), b = At(i->b);
          const unsigned bits = Bits(a, b);
          out = bits == kInt      ? Value::Int(Subtract(a.AsInt(), b.AsInt()))
                : bits == kDouble ? Value::Double(a.AsDouble() - b.AsDouble())
                                  : SubtractOther(a, b, context_);
          break;
        }
        case Op::kMultiply: {
          const Value a = At(i->a), b = At(i->b);
          const unsigned bits = Bits(a, b);
          out = bits == kDouble ? Value::Double(a.AsDouble() * b.AsDouble())
                : bits == kInt  ? Value::Int(Multiply(a.AsInt(), b.AsInt()))
                                : MultiplyOther(a, b, context_);
          break;
        }
        case Op::kDivide: {
          const Value a = At(i->a), b = At(i->b);
          if ((Bits(a, b) & ~(kInt | kDouble)) != 0) {
            out = DivideOther(a, b, context_);
          } else if (const double divisor = b.Number(); divisor != 0) {
            out = Value::Double(a.Number() / divisor);
          }
          break;
        }
        case Op::kRemainder: {
          const Value a = At(i->a), b = At(i->b);
          out = Bits(a, b) == kInt ? Remainder(a.AsInt(), b.AsInt()) : RemainderOther(a, b, context_);
          break;
        }
        case Op::kNegate:
          out = Negate(At(i->a), context_);
          break;
        case Op::kLess:
          out = Less(At(i->a), At(i->b), context_);
          break;
        case Op::kLessEqual:
          out = LessEqual(At(i->a), At(i->b), context_);
          break;
        case Op::kEqual:
          out = Value::Bool(IsEqual(At(i->a), At(i->b)));
          break;
        case Op::kNotEqual:
          out = Value::Bool(!IsEqual(At(i->a), At(i->b)));
          break;
        case Op::kAnd:
          out = And(At(i->a), At(i->b), context_);
          break;
        case Op::kOr:
          out = Or(At(i->a), At(i->b), context_);
          break;
        case Op::kNot:
          out = Not(At(i->a), context_);
          break;
        case Op::kElse:
          out = At(i->a);
          if (out.IsNull()) out = At(i->b);
          break;
        case Op::kSkipIfFalse:
        case Op::kSkipIfTrue:
          out = Condition(At(i->a), context_);
          if (!Is(out, i->op == Op::kSkipIfTrue)) break;
          registers_[i->to] = out;
          i = code + i->c;
          if (i == end) return out;
          continue;
        case Op::kSkipUnlessNull:
          out = At(i->a);
          if (out.IsNull()) break;
          registers_[i->to] = out;
          i = code + i->c;
          if (i == end) return out;
          continue;
        case Op::kRound:
          out = Round(At(i->a), At(i->b), context_);
          break;
        case Op::kRoundTo: {
          const Value a = At(i->a);
          if (a.kind() == Kind::kDouble) {
            const double value = a.AsDouble(), unit = At(i->b).AsDouble();
            out = IsWhole(value) ? a : Value::Double(RoundToWhole(value * unit) / unit);
          } else {
            out = OnNumber(
                a, context_, [](std::int64_t v) { return v; }, RoundToWhole);
          }
          break;
        }
        case Op::kFloor:
          out = OnNumber(
              At(i->a), context_, [](std::int64_t v) { return v; }, Floor);
          break;
        case Op::kCeil:
          out = OnNumber(
              At(i->a), context_, [](std::int64_t v) { return v; }, [](double v) { return -Floor(-v); });
          break;
        case Op::kAbs:
          out = OnNumber(
              At(i->a), context_, [](std::int64_t v) { return v < 0 ? Subtract(0, v) : v; },
              [](double v) { return std::fabs(v); });
          break;
        case Op::kMin:
          out = Min(At(i->a), At(i->b), context_);
          break;
        case Op::kMax:
          out = Max(At(i->a), At(i->b), context_);
          break;
        case Op::kNow:
          out = Value::Text(context_.now_text());
          break;
        case Op::kLen:
          out = Length(At(i->a));
          break;
        case Op::kStartsWith:
        case Op::kEndsWith:
          out = Ends(i->op, At(i->a), At(i->b));
          break;
        case Op::kAge:
          out = Age(At(i->a));
          if (is_spent_) [[unlikely]]
            return context_.BudgetError();
          break;
        case Op::kToNumber:
          out = ToNumber(At(i->a));
          if (is_spent_) [[unlikely]]
            return context_.BudgetError();
          break;
        case Op::kJoin:
        case Op::kConcat:
          out = JoinList(program_.lists.data() + i->a, i->b, i->op == Op::kConcat);
          if (is_spent_) [[unlikely]]
            return context_.BudgetError();
          break;
        case Op::kLower:
        case Op::kUpper:
          out = Case(At(i->a), i->op == Op::kUpper);
          if (is_spent_) [[unlikely]]
            return context_.BudgetError();
          break;
        case Op::kSubstr:
          out = Substr(At(i->a), At(i->b), At(i->c));
          if (is_spent_) [[unlikely]]
            return context_.BudgetError();
          break;
        case Op::kFormatBytes:
          out = Bytes(At(i->a));
          if (is_spent_) [[unlikely]]
            return context_.BudgetError();
          break;
        case Op::kContains:
          out = Search(At(i->a), At(i->b));
          if (is_spent_) [[unlikely]]
            return context_.BudgetError();
          break;
        case Op::kToString:
          out = ToString(At(i->a));
          if (is_spent_) [[unlikely]]
            return context_.BudgetError();
          break;
      }
      if (i + 1 == end) return out;
      registers_[i->to] = out;
      ++i;
    }
  }

 private:
  const Value& At(Operand operand) const { return places_[PlaceIndex(operand)][IndexOf(operand)]; }

  Value Spent() {
    is_spent_ = true;
    return Value::Null();
  }

  Value Sum(Value a, Value b) {
    const unsigned bits = Bits(a, b);
    if (bits == kInt) return Value::Int(Add(a.AsInt(), b.AsInt()));
    if (bits == kDouble) return Value::Double(a.AsDouble() + b.AsDouble());
    return SumOther(a, b);
  }

  [[gnu::noinline]] Value SumOther(Value a, Value b) {
    if ((Bits(a, b) & (kText | kNull)) == kText) {
      return Join(2, false, [&](std::size_t i) { return i == 0 ? a : b; });
    }
    return OnNumbers(
        a, b, context_, [](std::int64_t x, std::int64_t y) { return Value::Int(Add(x, y)); },
        [](double x, double y) { return Value::Double(x + y); });
  }

  // Of get(0), get(1), ...: the size first, with room for each number, then the text.
  template <typename Get>
  Value Join(std::size_t count, bool drops_null, Get get) {
    std::size_t most = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const Value value = get(i);
      if (value.IsNull() && !drops_null) return value;
      most += Room(value);
    }
    char* const made = Make(most);
    if (made == nullptr) return Spent();
    char* to = made;
    for (std::size_t i = 0; i < count; ++i) to = Append(to, get(i));
    const auto size = static_cast<std::size_t>(to - made);
    context_.arena().GiveBack(most - size);
    return Value::Text({made, size});
  }
  [[gnu::noinline]] Value JoinList(const Operand* operands, std::size_t count, bool drops_null) {
    return Join(count, drops_null, [&](std::size_t i) { return At(operands[i]); });
  }

  static std::size_t Room(Value value) {
    if (value.IsText()) return value.AsText().size();
    return value.IsNull() ? 0 : kMaxNumberText;
  }
  char* Make(std::size_t most) { return ChargeText(context_, most) ? context_.arena().Allocate(most) : nullptr; }
  static char* Append(char* to, Value value) {
    if (value.IsText()) {
      const std::string_view text = value.AsText();
      if (!text.empty()) std::memcpy(to, text.data(), text.size());
      return to + text.size();
    }
    if (value.IsNumber()) return to + WriteNumber(to, value);
    NumberText unused;
    const std::string_view text = TextOf(value, unused);
    return std::copy(text.begin(), text.end(), to);
  }
  Value Case(Value value, bool to_upper) {
    if (value.IsNull()) return value;
    std::string_view text;
    if (!ToText(value, context_, text) || !ChargeText(context_, text.size()) ||
        !ChangeCase(text, to_upper, context_.arena(), text)) {
      return Spent();
    }
    return Value::Text(text);
  }

  Value Substr(Value value, Value start, Value length) {
    const unsigned bits = Bits(value.IsNull() ? Kind::kNull : Kind::kBool) | Bits(start, length);
    if ((bits & kNull) != 0) return Value::Null();
    if ((bits & kText) != 0) return context_.TypeError();
    std::string_view text;
    if (!ToText(value, context_, text)) return Spent();
    return Value::Text(Substring(text, TruncateToInt(AsNumber(start)), TruncateToInt(AsNumber(length))));
  }

  Value ToNumber(Value value) {
    if (value.IsNull()) return value;
    if (!value.IsText()) return AsNumber(value);
    if (!ChargeText(context_, value.AsText().size())) return Spent();
    Value number;
    return ParseNumber(value.AsText(), number) ? number : context_.TypeError();
  }

  Value Age(Value value) {
    if (value.IsNull()) return value;
    if (!value.IsText()) return context_.TypeError();
    if (value.AsText().empty()) return Value::Null();
    if (!ChargeText(context_, value.AsText().size())) return Spent();
    const auto time = ParseTimestamp(value.AsText());
    if (!time) return context_.TypeError();
    using Nanos = std::chrono::nanoseconds;
    const std::int64_t now = std::chrono::duration_cast<Nanos>(context_.now().time_since_epoch()).count();
    const std::int64_t then = std::chrono::duration_cast<Nanos>(time->time_since_epoch()).count();
    return Value::Double(static_cast<double>(Subtract(now, then)) / 1e9);
  }

  Value Bytes(Value value) {
    if (value.IsNull()) return value;
    if (value.IsText()) return context_.TypeError();
    std::string_view text;
    return FormatBytes(AsNumber(value).Number(), context_.arena(), text) ? Value::Text(text) : Spent();
  }

  Value ToString(Value value) {
    if (value.IsNull()) return value;
    std::string_view text;
    return ToText(value, context_, text) ? Value::Text(text) : Spent();
  }

  static Value Length(Value value) {
    if (value.IsNull()) return value;
    NumberText buffer;
    return Value::Int(static_cast<std::int64_t>(TextOf(value, buffer).size()));
  }

  static Value Ends(Op op, Value value, Value part) {
    const auto is_so = [op](std::string_view text, std::string_view wanted) {
      return Value::Bool(op == Op::kStartsWith ? text.starts_with(wanted) : text.ends_with(wanted));
    };
    const unsigned bits = Bits(value, part);
    if (bits == kText) return is_so(value.AsText(), part.AsText());
    if ((bits & kNull) != 0) return Value::Null();
    NumberText buffer, part_buffer;
    return is_so(TextOf(value, buffer), TextOf(part, part_buffer));
  }

  Value Search(Value value, Value part) {
    if ((Bits(value, part) & kNull) != 0) return Value::Null();
    NumberText buffer, part_buffer;
    const std::string_view text = TextOf(value, buffer), wanted = TextOf(part, part_buffer);
    return ChargeText(context_, text.size()) ? Value::Bool(Contains(text, wanted)) : Spent();
  }

  const Program& program_;
  EvaluationContext& context_;
  Value* const registers_;
  const Value* const places_[4];
  bool is_spent_ = false;
};

Value Program::Run(const Value* row, EvaluationContext& context) const {
  if (!context.Charge(steps)) [[unlikely]]
    return context.BudgetError();
  return Machine(*this, row, context).Run();
}

}  // namespace clusterpulse::metricsource
