#include "common/metricsource/filter.h"

#include <algorithm>

#include <fmt/format.h>
#include <re2/re2.h>

#include "common/base/printable.h"
#include "common/json/value.h"
#include "common/metricsource/convert.h"
#include "common/metricsource/lexer.h"

namespace clusterpulse::metricsource {
namespace {

// What a pattern may become, and its search with it.
constexpr std::int64_t kMaxPatternMemory = std::int64_t{1} << 20;

std::string_view Trim(std::string_view text, std::string_view what) {
  const std::size_t first = text.find_first_not_of(what);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(what) - first + 1);
}

// Upstream's list: brackets around it are dropped, commas separate, blanks around items do not count. Nothing is empty.
std::vector<std::string> ReadList(std::string_view text) {
  std::vector<std::string> items;
  if (text.find('"') != std::string_view::npos) {
    // ["a, b", "c"] can only be meant as JSON.
    if (const auto json = json::Value::Parse(text); json.ok() && json->IsArray()) {
      for (const json::Value& item : json->items())
        items.push_back(item.IsString() ? std::string(item.StringOr()) : item.Dump());
      return items;
    }
  }
  text = Trim(Trim(text, " \t\r\n"), "[]");
  if (Trim(text, " \t\r\n").empty()) return items;
  for (;;) {
    const std::size_t comma = text.find(',');
    items.emplace_back(Trim(text.substr(0, comma), " \t\r\n"));
    if (comma == std::string_view::npos) return items;
    text.remove_prefix(comma + 1);
  }
}

re2::StringPiece Piece(std::string_view text) { return {text.data(), text.size()}; }

std::string_view KindName(KindSet kinds) {
  return kinds.IsOnly(kNumbers)      ? "number"
         : kinds.IsOnly(Kind::kBool) ? "boolean (true or false)"
                                     : "value of the field";
}

}  // namespace

Filter::Operand Filter::ReadOperand(std::string text, KindSet kinds) {
  Operand operand;
  if (kinds.HasAny(kNumbers) && !ParseNumber(text, operand.number)) ParseQuantity(text, operand.number);
  bool boolean;
  if (kinds.Has(Kind::kBool) && ParseBoolean(text, boolean)) operand.boolean = boolean;
  operand.text = std::move(text);
  return operand;
}

std::optional<Filter> Filter::Compile(const Column& column, FilterOperator op, std::string_view value,
                                      std::string_view path, Diagnostics& diagnostics) {
  const std::string value_path = fmt::format("{}.value", path);
  if (value.size() > kMaxValueBytes) {
    diagnostics.Error(value_path, fmt::format("the value is longer than {} bytes", kMaxValueBytes));
    return std::nullopt;
  }
  // Whether a value of the column can ever be compared with the operand.
  const auto is_possible = [&](const Operand& operand) {
    return column.kinds.Has(Kind::kText) || !operand.number.IsNull() || operand.boolean.has_value();
  };
  const auto refuse = [&](std::string_view text) {
    diagnostics.Error(value_path, fmt::format("\"{}\" is no {}, which {} is", base::Printable(std::string(text), 64),
                                              KindName(column.kinds), Quoted(column.name)));
    return std::nullopt;
  };
  Filter filter;
  filter.op_ = op;
  switch (op) {
    case FilterOperator::kEquals:
    case FilterOperator::kNotEquals:
      filter.operand_ = ReadOperand(std::string(value), column.kinds);
      if (!is_possible(filter.operand_)) return refuse(value);
      break;
    case FilterOperator::kGreaterThan:
    case FilterOperator::kLessThan:
      if (column.kinds.IsOnly(Kind::kBool)) {
        diagnostics.Error(fmt::format("{}.operator", path),
                          fmt::format("{} needs numbers or texts, and {} is a boolean", Name(op), Quoted(column.name)),
                          "equals");
        return std::nullopt;
      }
      // Also for texts: they compare as numbers when both sides are.
      filter.operand_ = ReadOperand(std::string(value), column.kinds & (kNumbers | KindSet(Kind::kText)));
      if (column.kinds.HasAny(kNumbers) && !column.kinds.Has(Kind::kText) && filter.operand_.number.IsNull()) {
        return refuse(value);
      }
      if (column.kinds.IsOnly(Kind::kText)) ParseNumber(value, filter.operand_.number);
      if (column.is_timestamp) filter.time_ = ParseTimestamp(value);
      break;
    case FilterOperator::kIn:
    case FilterOperator::kNotIn: {
      std::vector<std::string> items = ReadList(value);
      if (items.empty()) {
        diagnostics.Error(value_path, fmt::format("{} needs a list with at least one item, such as [a, b]", Name(op)));
        return std::nullopt;
      }
      for (std::string& item : items) {
        filter.list_.push_back(ReadOperand(std::move(item), column.kinds));
        if (!is_possible(filter.list_.back())) return refuse(filter.list_.back().text);
      }
      std::ranges::sort(filter.list_, {}, &Operand::text);
      break;
    }
    case FilterOperator::kMatches: {
      re2::RE2::Options options;
      options.set_log_errors(false);
      options.set_max_mem(kMaxPatternMemory);
      auto pattern = std::make_shared<const re2::RE2>(Piece(value), options);
      if (!pattern->ok()) {
        diagnostics.Error(value_path,
                          fmt::format("\"{}\" is no regular expression: {}", base::Printable(std::string(value), 64),
                                      base::Printable(pattern->error(), 128)));
        return std::nullopt;
      }
      filter.pattern_ = std::move(pattern);
      break;
    }
    case FilterOperator::kContains:
    case FilterOperator::kStartsWith:
    case FilterOperator::kEndsWith:
      filter.operand_.text = value;
      break;
  }
  return filter;
}

bool Filter::Equals(Value value, const Operand& operand) const {
  switch (value.kind()) {
    case Kind::kNull:
      return false;
    case Kind::kBool:
      return operand.boolean == value.AsBool();
    case Kind::kInt:
    case Kind::kDouble:
      return !operand.number.IsNull() && SameValue(value, operand.number);
    case Kind::kText:
      return value.AsText() == operand.text;
  }
  return false;
}

bool Filter::IsIn(Value value) const {
  if (value.IsText()) {
    const auto at = std::ranges::lower_bound(list_, value.AsText(), {},
                                             [](const Operand& o) -> std::string_view { return o.text; });
    return at != list_.end() && at->text == value.AsText();
  }
  return std::ranges::any_of(list_, [&](const Operand& operand) { return Equals(value, operand); });
}

bool Filter::Compare(Value value, bool greater) const {
  if (value.IsText()) {
    const std::string_view text = value.AsText();
    if (time_) {
      if (const auto time = ParseTimestamp(text)) return greater ? *time > *time_ : *time < *time_;
    }
    Value number;
    if (operand_.number.IsNull() || !ParseNumber(text, number)) {
      return greater ? text > operand_.text : text < operand_.text;
    }
    value = number;
  }
  if (!value.IsNumber() || operand_.number.IsNull()) return false;
  const int order = CompareNumbers(value, operand_.number);
  return greater ? order > 0 : order < 0;
}

bool Filter::Matches(Value value, std::string& scratch) const {
  if (value.IsNull()) return false;
  switch (op_) {
    case FilterOperator::kEquals:
      return Equals(value, operand_);
    case FilterOperator::kNotEquals:
      return !Equals(value, operand_);
    case FilterOperator::kIn:
      return IsIn(value);
    case FilterOperator::kNotIn:
      return !IsIn(value);
    case FilterOperator::kGreaterThan:
      return Compare(value, true);
    case FilterOperator::kLessThan:
      return Compare(value, false);
    case FilterOperator::kContains:
    case FilterOperator::kStartsWith:
    case FilterOperator::kEndsWith:
    case FilterOperator::kMatches:
      break;
  }
  std::string_view text;
  if (value.IsText()) {
    text = value.AsText();
  } else {
    scratch.clear();
    AppendText(scratch, value);
    text = scratch;
  }
  if (op_ == FilterOperator::kMatches) return re2::RE2::PartialMatch(Piece(text), *pattern_);
  if (op_ == FilterOperator::kContains) return text.find(operand_.text) != std::string_view::npos;
  return op_ == FilterOperator::kStartsWith ? text.starts_with(operand_.text) : text.ends_with(operand_.text);
}

}  // namespace clusterpulse::metricsource
