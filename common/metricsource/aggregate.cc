#include "common/metricsource/aggregate.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include "common/json/writer.h"

namespace clusterpulse::metricsource {
namespace {

__extension__ typedef __int128 Int128;

using Cells = Table::Cells;
constexpr std::uint32_t kNone = UINT32_MAX;

// Rows by number, or all.
struct RowSet {
  std::optional<std::span<const std::uint32_t>> rows;
  std::size_t size = 0;
};

// f(position, row) for each row of the set; the position counts from 0.
template <typename F>
void ForEachRow(const RowSet& set, F f) {
  if (!set.rows) {
    for (std::size_t i = 0; i < set.size; ++i) f(i, i);
  } else {
    for (std::size_t i = 0; i < set.size; ++i) f(i, (*set.rows)[i]);
  }
}

// on_int(position, integer) or on_double(position, double) for each number.
template <typename OnInt, typename OnDouble>
void ForEachNumber(const Cells& cells, const RowSet& set, OnInt on_int, OnDouble on_double) {
  if (cells.IsOnly(Kind::kInt)) {
    ForEachRow(set, [&](std::size_t at, std::size_t row) { on_int(at, cells.AsInt(row)); });
  } else if (cells.IsOnly(Kind::kDouble)) {
    ForEachRow(set, [&](std::size_t at, std::size_t row) { on_double(at, cells.AsDouble(row)); });
  } else {
    ForEachRow(set, [&](std::size_t at, std::size_t row) {
      const Kind kind = cells.kind(row);
      if (kind == Kind::kInt) {
        on_int(at, cells.AsInt(row));
      } else if (kind == Kind::kDouble) {
        on_double(at, cells.AsDouble(row));
      }
    });
  }
}

class Sum {
 public:
  void Add(std::int64_t value) {
    integers_ += value;
    ++count_;
  }
  void Add(double value) {
    // What the rounding of this addition loses is kept beside (Knuth's TwoSum).
    const double sum = doubles_ + value;
    const double added = sum - doubles_;
    lost_ += (doubles_ - (sum - added)) + (value - added);
    doubles_ = sum;
    ++count_;
    has_doubles_ = true;
  }
  Value Total() const {
    if (has_doubles_) return Value::Double(AsDouble());
    if (integers_ >= INT64_MIN && integers_ <= INT64_MAX) return Value::Int(static_cast<std::int64_t>(integers_));
    return Value::Double(static_cast<double>(integers_));
  }
  Value Mean() const {
    if (count_ == 0) return Value::Null();
    return Value::Double((has_doubles_ ? AsDouble() : static_cast<double>(integers_)) / static_cast<double>(count_));
  }

 private:
  double AsDouble() const { return doubles_ + (lost_ + static_cast<double>(integers_)); }

  Int128 integers_ = 0;
  double doubles_ = 0, lost_ = 0;
  std::size_t count_ = 0;
  bool has_doubles_ = false;
};

class Total : public Sum {
 public:
  Value Result() const { return Sum::Total(); }
};

class Mean : public Sum {
 public:
  Value Result() const { return Sum::Mean(); }
};

// The least (sign 1) or greatest (sign -1) number.
template <int kSign>
class Extreme {
 public:
  void Add(std::int64_t value) {
    if (!has_integer_ || (kSign > 0 ? value < integer_ : value > integer_)) integer_ = value;
    has_integer_ = true;
  }
  void Add(double value) {
    if (!has_double_ || (kSign > 0 ? value < double_ : value > double_)) double_ = value;
    has_double_ = true;
  }
  Value Result() const {
    const Value integer = has_integer_ ? Value::Int(integer_) : Value::Null();
    if (!has_double_) return integer;
    const Value other = Value::Double(double_);
    return has_integer_ && CompareNumbers(integer, other) * kSign <= 0 ? integer : other;
  }

 private:
  std::int64_t integer_ = 0;
  double double_ = 0;
  bool has_integer_ = false, has_double_ = false;
};

// The value at `percentile` of unsorted numbers, which are moved about.
template <typename Number>
Value Select(std::span<Number> numbers, int percentile) {
  if (numbers.empty()) return Value::Null();
  const std::uint64_t hundredths = (numbers.size() - 1) * static_cast<std::uint64_t>(percentile);
  const auto rank = static_cast<std::ptrdiff_t>(hundredths / 100);
  const double weight = static_cast<double>(hundredths % 100) / 100;
  const auto at = numbers.begin() + rank;
  std::nth_element(numbers.begin(), at, numbers.end());
  const auto to_value = [](Number number) {
    if constexpr (std::is_same_v<Number, double>) {
      return Value::Double(number);
    } else {
      return Value::Int(number);
    }
  };
  if (weight == 0) return to_value(*at);
  const Number next = *std::min_element(at + 1, numbers.end());
  if (next == *at) return to_value(*at);
  const auto low = static_cast<double>(*at), high = static_cast<double>(next);
  const double between = low + weight * (high - low);
  // The difference of the largest numbers of both signs is none.
  return Value::Double(std::isfinite(between) ? between : low * (1 - weight) + high * weight);
}

// A value as two words that are equal exactly when the values are: its kind, and its bits. Integral doubles are
// integers.
using Key = std::pair<std::uint64_t, std::uint64_t>;
constexpr std::uint64_t kIntTag = 0, kDoubleTag = 1, kBoolTag = 2, kTextTag = 3, kTags = 4;

Key KeyOf(const Cells& cells, std::size_t row) {
  switch (cells.kind(row)) {
    case Kind::kNull:
    case Kind::kBool:
      return {kBoolTag, cells.bits(row)};
    case Kind::kInt:
      return {kIntTag, cells.bits(row)};
    case Kind::kText:
      return {kTextTag, cells.bits(row)};
    case Kind::kDouble:
      break;
  }
  const double value = cells.AsDouble(row);
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  if (value >= -kLimit && value < kLimit) {
    const auto integer = static_cast<std::int64_t>(value);
    if (static_cast<double>(integer) == value) return {kIntTag, static_cast<std::uint64_t>(integer)};
  }
  return {kDoubleTag, std::bit_cast<std::uint64_t>(value)};
}

// Which group each row of a set is in: slots in the order they came.
struct Groups {
  std::vector<std::uint32_t> slots;  // by position
  std::vector<std::string> names;    // by slot
};

class GroupMaker {
 public:
  explicit GroupMaker(Groups& groups) : groups_(groups) {}

  void Make(const Cells& cells, const RowSet& set) {
    groups_.slots.resize(set.size);
    by_text_.assign(cells.texts().size(), kNone);
    if (cells.IsOnly(Kind::kText)) {
      ForEachRow(set, [&](std::size_t at, std::size_t row) {
        std::uint32_t& slot = by_text_[cells.TextNumber(row)];
        if (slot == kNone) slot = SlotOf(std::string(cells.texts().Get(cells.TextNumber(row))));
        groups_.slots[at] = slot;
      });
      return;
    }
    std::uint32_t unknown = kNone;
    ForEachRow(set, [&](std::size_t at, std::size_t row) {
      const Kind kind = cells.kind(row);
      std::uint32_t& slot = kind == Kind::kNull   ? unknown
                            : kind == Kind::kText ? by_text_[cells.TextNumber(row)]
                                                  : by_key_.try_emplace(KeyOf(cells, row), kNone).first->second;
      if (slot == kNone) {
        std::string name;
        if (kind == Kind::kNull) {
          name = kUnknownGroup;
        } else {
          AppendText(name, cells.At(row));
        }
        slot = SlotOf(std::move(name));
      }
      groups_.slots[at] = slot;
    });
  }

 private:
  // Values of one text form are one group.
  std::uint32_t SlotOf(std::string name) {
    const auto [found, is_new] = by_name_.try_emplace(name, static_cast<std::uint32_t>(groups_.names.size()));
    if (is_new) groups_.names.push_back(std::move(name));
    return found->second;
  }

  Groups& groups_;
  std::vector<std::uint32_t> by_text_;
  absl::flat_hash_map<Key, std::uint32_t> by_key_;
  absl::flat_hash_map<std::string, std::uint32_t> by_name_;
};

class Run {
 public:
  Run(const Table& table, std::optional<std::span<const std::uint32_t>> rows)
      : table_(table), all_{rows, rows ? rows->size() : table.size()} {}

  AggregationResult Compute(const Aggregation& aggregation) {
    RowSet set = all_;
    if (aggregation.condition) {
      FilterRows(*aggregation.condition);
      set = {std::span<const std::uint32_t>(selected_), selected_.size()};
    }
    AggregationResult result;
    if (!aggregation.group_by) {
      result.value = One(aggregation, set);
      return result;
    }
    result.is_grouped = true;
    const Groups& groups = GroupsOf(*aggregation.group_by, set, !aggregation.condition);
    const std::vector<Value> values = Each(aggregation, set, groups);
    for (std::size_t slot = 0; slot < values.size(); ++slot)
      result.groups.emplace_back(groups.names[slot], values[slot]);
    std::ranges::sort(result.groups, {}, &std::pair<std::string, Value>::first);
    return result;
  }

 private:
  void FilterRows(const Aggregation::Condition& condition) {
    const Cells& cells = table_.cells(condition.column);
    selected_.clear();
    verdicts_.assign(cells.texts().size(), Verdict::kOpen);  // each text is judged once
    ForEachRow(all_, [&](std::size_t, std::size_t row) {
      bool matches;
      if (cells.kind(row) == Kind::kText) {
        Verdict& verdict = verdicts_[cells.TextNumber(row)];
        if (verdict == Verdict::kOpen) {
          verdict = condition.filter.Matches(cells.At(row), scratch_) ? Verdict::kYes : Verdict::kNo;
        }
        matches = verdict == Verdict::kYes;
      } else {
        matches = condition.filter.Matches(cells.At(row), scratch_);
      }
      if (matches) selected_.push_back(static_cast<std::uint32_t>(row));
    });
  }

  const Groups& GroupsOf(std::uint32_t column, const RowSet& set, bool is_all) {
    if (!is_all) {
      some_groups_ = {};
      GroupMaker(some_groups_).Make(table_.cells(column), set);
      return some_groups_;
    }
    const auto [found, is_new] = groups_.try_emplace(column);
    if (is_new) {
      found->second = std::make_unique<Groups>();
      GroupMaker(*found->second).Make(table_.cells(column), set);
    }
    return *found->second;
  }

  Value One(const Aggregation& aggregation, const RowSet& set) {
    if (aggregation.function == AggregationFunction::kCount) return Value::Int(static_cast<std::int64_t>(set.size));
    if (!aggregation.column) return Value::Null();
    const Cells& cells = table_.cells(*aggregation.column);
    switch (aggregation.function) {
      case AggregationFunction::kCount:
        break;
      case AggregationFunction::kSum:
        return Fold<Total>(cells, set);
      case AggregationFunction::kAvg:
        return Fold<Mean>(cells, set);
      case AggregationFunction::kMin:
        return Fold<Extreme<1>>(cells, set);
      case AggregationFunction::kMax:
        return Fold<Extreme<-1>>(cells, set);
      case AggregationFunction::kPercentile:
        return Percentile(cells, set, aggregation.percentile);
      case AggregationFunction::kDistinct:
        return Distinct(cells, set);
    }
    return Value::Null();
  }

  std::vector<Value> Each(const Aggregation& aggregation, const RowSet& set, const Groups& groups) {
    std::vector<Value> out(groups.names.size());
    if (aggregation.function == AggregationFunction::kCount) {
      std::vector<std::int64_t> counts(groups.names.size());
      for (const std::uint32_t slot : groups.slots) ++counts[slot];
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = Value::Int(counts[i]);
      return out;
    }
    if (!aggregation.column) return out;
    const Cells& cells = table_.cells(*aggregation.column);
    switch (aggregation.function) {
      case AggregationFunction::kCount:
        break;
      case AggregationFunction::kSum:
        FoldEach<Total>(cells, set, groups, out);
        break;
      case AggregationFunction::kAvg:
        FoldEach<Mean>(cells, set, groups, out);
        break;
      case AggregationFunction::kMin:
        FoldEach<Extreme<1>>(cells, set, groups, out);
        break;
      case AggregationFunction::kMax:
        FoldEach<Extreme<-1>>(cells, set, groups, out);
        break;
      case AggregationFunction::kPercentile:
        PercentileEach(cells, set, groups, aggregation.percentile, out);
        break;
      case AggregationFunction::kDistinct:
        DistinctEach(cells, set, groups, out);
        break;
    }
    return out;
  }

  template <typename Accumulator>
  static Value Fold(const Cells& cells, const RowSet& set) {
    Accumulator fold;
    ForEachNumber(
        cells, set, [&](std::size_t, std::int64_t value) { fold.Add(value); },
        [&](std::size_t, double value) { fold.Add(value); });
    return fold.Result();
  }

  template <typename Accumulator>
  static void FoldEach(const Cells& cells, const RowSet& set, const Groups& groups, std::vector<Value>& out) {
    std::vector<Accumulator> folds(out.size());
    ForEachNumber(
        cells, set, [&](std::size_t at, std::int64_t value) { folds[groups.slots[at]].Add(value); },
        [&](std::size_t at, double value) { folds[groups.slots[at]].Add(value); });
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = folds[i].Result();
  }

  Value Percentile(const Cells& cells, const RowSet& set, int percentile) {
    integers_.clear();
    doubles_.clear();
    ForEachNumber(
        cells, set, [&](std::size_t, std::int64_t value) { integers_.push_back(value); },
        [&](std::size_t, double value) { doubles_.push_back(value); });
    if (doubles_.empty()) return Select<std::int64_t>(integers_, percentile);
    for (const std::int64_t value : integers_) doubles_.push_back(static_cast<double>(value));
    return Select<double>(doubles_, percentile);
  }

  // The numbers are put group by group into one piece of memory.
  void PercentileEach(const Cells& cells, const RowSet& set, const Groups& groups, int percentile,
                      std::vector<Value>& out) {
    std::vector<std::size_t> ends(out.size() + 1);
    bool has_doubles = false;
    ForEachNumber(
        cells, set, [&](std::size_t at, std::int64_t) { ++ends[groups.slots[at] + 1]; },
        [&](std::size_t at, double) {
          ++ends[groups.slots[at] + 1];
          has_doubles = true;
        });
    for (std::size_t i = 1; i < ends.size(); ++i) ends[i] += ends[i - 1];
    const std::size_t total = ends.back();
    std::vector<std::size_t> next(ends.begin(), ends.end() - 1);
    if (has_doubles) {
      doubles_.resize(total);
      ForEachNumber(
          cells, set,
          [&](std::size_t at, std::int64_t value) { doubles_[next[groups.slots[at]]++] = static_cast<double>(value); },
          [&](std::size_t at, double value) { doubles_[next[groups.slots[at]]++] = value; });
    } else {
      integers_.resize(total);
      ForEachNumber(
          cells, set, [&](std::size_t at, std::int64_t value) { integers_[next[groups.slots[at]]++] = value; },
          [](std::size_t, double) {});
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t size = ends[i + 1] - ends[i];
      out[i] = has_doubles ? Select(std::span<double>(doubles_).subspan(ends[i], size), percentile)
                           : Select(std::span<std::int64_t>(integers_).subspan(ends[i], size), percentile);
    }
  }

  Value Distinct(const Cells& cells, const RowSet& set) {
    std::size_t count = 0;
    std::vector<bool> texts(cells.texts().size());
    absl::flat_hash_set<Key> others;
    ForEachRow(set, [&](std::size_t, std::size_t row) {
      const Kind kind = cells.kind(row);
      if (kind == Kind::kText) {
        const std::uint32_t number = cells.TextNumber(row);
        count += texts[number] ? 0 : 1;
        texts[number] = true;
      } else if (kind != Kind::kNull) {
        others.insert(KeyOf(cells, row));
      }
    });
    return Value::Int(static_cast<std::int64_t>(count + others.size()));
  }

  static void DistinctEach(const Cells& cells, const RowSet& set, const Groups& groups, std::vector<Value>& out) {
    std::vector<std::int64_t> counts(out.size());
    absl::flat_hash_set<Key> seen;
    ForEachRow(set, [&](std::size_t at, std::size_t row) {
      if (cells.kind(row) == Kind::kNull) return;
      const std::uint32_t slot = groups.slots[at];
      Key key = KeyOf(cells, row);
      key.first += kTags * slot;
      counts[slot] += seen.insert(key).second ? 1 : 0;
    });
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = Value::Int(counts[i]);
  }

  enum class Verdict : std::uint8_t { kOpen, kYes, kNo };

  const Table& table_;
  const RowSet all_;
  std::vector<std::uint32_t> selected_;
  std::vector<Verdict> verdicts_;
  std::string scratch_;
  absl::flat_hash_map<std::uint32_t, std::unique_ptr<Groups>> groups_;  // of all rows
  Groups some_groups_;
  std::vector<std::int64_t> integers_;
  std::vector<double> doubles_;
};

void AppendNumber(Value value, json::Writer& writer) {
  if (value.kind() == Kind::kInt) {
    writer.Int(value.AsInt());
  } else if (value.kind() == Kind::kDouble) {
    writer.Double(value.AsDouble());
  } else {
    writer.Null();
  }
}

}  // namespace

std::vector<AggregationResult> Aggregate(const Table& table, std::span<const Aggregation> aggregations,
                                         std::optional<std::span<const std::uint32_t>> rows) {
  Run run(table, rows);
  std::vector<AggregationResult> results;
  results.reserve(aggregations.size());
  for (const Aggregation& aggregation : aggregations) results.push_back(run.Compute(aggregation));
  return results;
}

void AppendResults(std::span<const Aggregation> aggregations, std::span<const AggregationResult> results,
                   std::string& out) {
  json::Writer writer(out);
  writer.BeginObject();
  for (std::size_t i = 0; i < aggregations.size(); ++i) {
    writer.Key(aggregations[i].name);
    if (!results[i].is_grouped) {
      AppendNumber(results[i].value, writer);
      continue;
    }
    writer.BeginObject();
    for (const auto& [key, value] : results[i].groups) {
      writer.Key(key);
      AppendNumber(value, writer);
    }
    writer.EndObject();
  }
  writer.EndObject();
}

}  // namespace clusterpulse::metricsource
