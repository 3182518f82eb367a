// 20 expressions as MetricSources have them, each over 512 rows of a dozen columns: time to evaluate it divided by the
// time of the same written by hand in C++ over the same rows. The peer knows the columns' types, checks for null what
// can be null, divides by nothing that is 0, gives a Value and makes its text in the same arena: what the same engine
// would do if it were written for this one expression. It is called through a pointer once a row, as an expression is;
// beside that stands the same peer compiled into the loop over the rows. Where both sides call the same function of
// ours that is said, as such rows tell less. Results are compared for every row before time is taken. All run in turns;
// medians of the rounds; allocations are counted.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "common/base/random.h"
#include "common/metricsource/convert.h"
#include "common/metricsource/expression.h"
#include "common/metricsource/text_functions.h"
#include "tests/bench/bench_row.h"
#include "tests/support/counted_allocations.h"

namespace clusterpulse::metricsource {
namespace {

constexpr double kMust = 8, kAim = 4;
constexpr std::size_t kRows = 512;

enum : std::size_t {
  kReady,
  kReplicas,
  kRestarts,
  kUsed,
  kCapacity,
  kShare,
  kName,
  kNamespace,
  kPhase,
  kImage,
  kCreated,
  kPaused,
  kColumnCount
};
const std::vector<Column> kColumns = {
    {"ready", Kind::kInt, false},  {"replicas", Kind::kInt, false},   {"restarts", Kind::kInt, false},
    {"used", kNumbers, false},     {"capacity", kNumbers, false},     {"share", Kind::kDouble, false},
    {"name", Kind::kText, false},  {"namespace", Kind::kText, false}, {"phase", Kind::kText, false},
    {"image", Kind::kText, false}, {"created", Kind::kText, true},    {"paused", Kind::kBool, false}};

using Row = const Value*;

struct Rows {
  std::vector<std::string> texts;
  std::vector<Value> values;  // kColumnCount each
};

double Now() {
  timespec at{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
  return static_cast<double>(at.tv_sec) * 1e9 + static_cast<double>(at.tv_nsec);
}

// Nanoseconds a row.
template <typename Evaluate>
double Measure(int passes, const Rows& rows, TextArena& arena, std::vector<Value>& results, Evaluate evaluate) {
  const double from = Now();
  for (int pass = 0; pass < passes; ++pass) {
    for (std::size_t i = 0; i < kRows; ++i) {
      // Not for each row: it would be a good part of the small times, on both sides.
      if (i % 64 == 0) arena.Reset();
      results[i] = evaluate(rows.values.data() + i * kColumnCount);
    }
    asm volatile("" : : "r"(results.data()) : "memory");  // the results are wanted
  }
  return (Now() - from) / passes / static_cast<double>(kRows);
}

struct Expr {
  const char* text;
  Value (*by_hand)(Row row, EvaluationContext& context);
  // The peer as part of its loop.
  double (*measure_inlined)(int passes, const Rows& rows, std::vector<Value>& results, EvaluationContext& context);
  const char* calls;  // what of ours both sides spend time in
};

template <typename ByHand>
constexpr Expr Make(const char* text, ByHand by_hand, const char* calls = "") {
  return {text, by_hand,
          [](int passes, const Rows& rows, std::vector<Value>& results, EvaluationContext& context) {
            return Measure(passes, rows, context.arena(), results, [&](Row row) { return ByHand()(row, context); });
          },
          calls};
}

Value Joined(std::initializer_list<std::string_view> parts, TextArena& arena) {
  std::size_t size = 0;
  for (const std::string_view part : parts) size += part.size();
  char* const made = arena.Allocate(size);
  if (made == nullptr) return Value::Null();
  char* to = made;
  for (const std::string_view part : parts) {
    std::memcpy(to, part.data(), part.size());
    to += part.size();
  }
  return Value::Text({made, size});
}

double AgeOf(Value created, const EvaluationContext& context, bool& is_known) {
  const auto time = ParseTimestamp(created.AsText());
  is_known = time.has_value();
  if (!is_known) return 0;
  return static_cast<double>(std::chrono::nanoseconds(context.now() - *time).count()) / 1e9;
}

const Expr kExpressions[] = {
    Make("round(ready / max(replicas, 1) * 100, 1)",
         [](Row row, EvaluationContext&) {
           if (row[kReady].IsNull() || row[kReplicas].IsNull()) return Value::Null();
           const double percent = static_cast<double>(row[kReady].AsInt()) /
                                  static_cast<double>(std::max<std::int64_t>(row[kReplicas].AsInt(), 1)) * 100;
           return Value::Double(std::round(percent * 10) / 10);
         }),
    Make("round(capacity / 1073741824, 2)",
         [](Row row, EvaluationContext&) {
           if (row[kCapacity].IsNull()) return Value::Null();
           return Value::Double(std::round(row[kCapacity].Number() / 1073741824 * 100) / 100);
         }),
    Make("restarts > 5",
         [](Row row, EvaluationContext&) {
           return row[kRestarts].IsNull() ? Value::Null() : Value::Bool(row[kRestarts].AsInt() > 5);
         }),
    Make("phase == 'Running'",
         [](Row row, EvaluationContext&) {
           return Value::Bool(!row[kPhase].IsNull() && row[kPhase].AsText() == "Running");
         }),
    Make("phase == 'Failed' || phase == 'Unknown'",
         [](Row row, EvaluationContext&) {
           if (row[kPhase].IsNull()) return Value::Bool(false);
           const std::string_view phase = row[kPhase].AsText();
           return Value::Bool(phase == "Failed" || phase == "Unknown");
         }),
    Make("replicas - ready",
         [](Row row, EvaluationContext&) {
           if (row[kReady].IsNull() || row[kReplicas].IsNull()) return Value::Null();
           std::int64_t out;
           if (__builtin_sub_overflow(row[kReplicas].AsInt(), row[kReady].AsInt(), &out)) {
             out = row[kReady].AsInt() < 0 ? INT64_MAX : INT64_MIN;
           }
           return Value::Int(out);
         }),
    Make("ready < replicas && !paused",
         [](Row row, EvaluationContext&) {
           const bool is_unknown = row[kReady].IsNull() || row[kReplicas].IsNull();
           if (!is_unknown && row[kReady].AsInt() >= row[kReplicas].AsInt()) return Value::Bool(false);
           if (row[kPaused].IsNull()) return Value::Null();
           if (row[kPaused].AsBool()) return Value::Bool(false);
           return is_unknown ? Value::Null() : Value::Bool(true);
         }),
    Make("(used ?? 0) / capacity * 100",
         [](Row row, EvaluationContext&) {
           if (row[kCapacity].IsNull()) return Value::Null();
           const double used = row[kUsed].IsNull() ? 0 : row[kUsed].Number(), capacity = row[kCapacity].Number();
           if (capacity == 0) return Value::Null();
           return Value::Double(used / capacity * 100);
         }),
    Make("share * 100",
         [](Row row, EvaluationContext&) {
           return row[kShare].IsNull() ? Value::Null() : Value::Double(row[kShare].AsDouble() * 100);
         }),
    Make("share > 0.9 && restarts == 0",
         [](Row row, EvaluationContext&) {
           const bool is_zero = !row[kRestarts].IsNull() && row[kRestarts].AsInt() == 0;
           if (row[kShare].IsNull()) return is_zero ? Value::Null() : Value::Bool(false);
           return Value::Bool(row[kShare].AsDouble() > 0.9 && is_zero);
         }),
    Make("coalesce(used, share, 0)",
         [](Row row, EvaluationContext&) {
           if (!row[kUsed].IsNull()) return row[kUsed];
           return row[kShare].IsNull() ? Value::Int(0) : row[kShare];
         }),
    Make("min(ready, replicas) * 100 / max(replicas, 1)",
         [](Row row, EvaluationContext&) {
           if (row[kReady].IsNull() || row[kReplicas].IsNull()) return Value::Null();
           const std::int64_t ready = row[kReady].AsInt(), replicas = row[kReplicas].AsInt();
           std::int64_t scaled;
           if (__builtin_mul_overflow(std::min(ready, replicas), std::int64_t{100}, &scaled)) {
             scaled = ready < 0 || replicas < 0 ? INT64_MIN : INT64_MAX;
           }
           return Value::Double(static_cast<double>(scaled) / static_cast<double>(std::max<std::int64_t>(replicas, 1)));
         }),
    Make("restarts % 10 == 0",
         [](Row row, EvaluationContext&) {
           return Value::Bool(!row[kRestarts].IsNull() && row[kRestarts].AsInt() % 10 == 0);
         }),
    Make("namespace + '/' + name",
         [](Row row, EvaluationContext& context) {
           if (row[kNamespace].IsNull() || row[kName].IsNull()) return Value::Null();
           return Joined({row[kNamespace].AsText(), "/", row[kName].AsText()}, context.arena());
         }),
    Make("concat(name, '-', phase)",
         [](Row row, EvaluationContext& context) {
           return Joined(
               {row[kName].IsNull() ? "" : row[kName].AsText(), "-", row[kPhase].IsNull() ? "" : row[kPhase].AsText()},
               context.arena());
         }),
    Make("startsWith(name, 'kube-')",
         [](Row row, EvaluationContext&) {
           return row[kName].IsNull() ? Value::Null() : Value::Bool(row[kName].AsText().starts_with("kube-"));
         }),
    Make("contains(image, ':latest')",
         [](Row row, EvaluationContext&) {
           if (row[kImage].IsNull()) return Value::Null();
           return Value::Bool(row[kImage].AsText().find(":latest") != std::string_view::npos);
         }),
    Make("substr(image, 0, 12)",
         [](Row row, EvaluationContext&) {
           if (row[kImage].IsNull()) return Value::Null();
           std::string_view cut = row[kImage].AsText().substr(0, 12);
           while (cut.size() == 12 && cut.size() < row[kImage].AsText().size() &&
                  (row[kImage].AsText()[cut.size()] & 0xC0) == 0x80) {
             cut.remove_suffix(1);
           }
           return Value::Text(cut);
         }),
    Make(
        "upper(phase)",
        [](Row row, EvaluationContext& context) {
          std::string_view out;
          if (row[kPhase].IsNull() || !ChangeCase(row[kPhase].AsText(), true, context.arena(), out))
            return Value::Null();
          return Value::Text(out);
        },
        "ChangeCase"),
    Make(
        "round(age(created) / 86400, 1)",
        [](Row row, EvaluationContext& context) {
          if (row[kCreated].IsNull()) return Value::Null();
          bool is_known;
          const double age = AgeOf(row[kCreated], context, is_known);
          return is_known ? Value::Double(std::round(age / 86400 * 10) / 10) : Value::Null();
        },
        "ParseTimestamp"),
};

// One value in 16 is null, as fields without a default are.
Rows MakeRows() {
  Rows out;
  base::SeededRandom random(5);
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(random.Next() % n); };
  constexpr std::string_view kPhases[] = {"Running", "Pending", "Failed", "Unknown", "Succeeded"};
  out.texts.reserve(4 * kRows);
  const auto text = [&](std::string made) { return Value::Text(out.texts.emplace_back(std::move(made))); };
  for (std::size_t i = 0; i < kRows; ++i) {
    const std::int64_t replicas = below(8);
    const std::vector<Value> row = {
        Value::Int(std::min(replicas, below(9))),
        Value::Int(replicas),
        Value::Int(below(12)),
        below(3) == 0 ? Value::Double(static_cast<double>(below(1000)) / 7) : Value::Int(below(1000) << 20),
        Value::Int((1 + below(1000)) << 20),
        Value::Double(random.Uniform()),
        text(fmt::format("{}-controller-{:05x}", below(4) == 0 ? "kube" : "payments", below(1 << 20))),
        text(fmt::format("team-{}", below(40))),
        Value::Text(kPhases[static_cast<std::size_t>(below(5))]),
        text(fmt::format("registry.example.com/team-{}/service:{}", below(40), below(4) == 0 ? "latest" : "v1.20.4")),
        text(fmt::format("2031-{:02}-{:02}T{:02}:00:00Z", 1 + below(12), 1 + below(28), below(24))),
        Value::Bool(below(5) == 0),
    };
    for (const Value value : row) out.values.push_back(below(16) == 0 ? Value::Null() : value);
  }
  return out;
}

[[noreturn]] void Fail(std::string_view what) {
  fmt::print(stderr, "metricsource_expression_bench: {}\n", what);
  std::exit(1);
}

int Run(bool smoke) {
  const Rows rows = MakeRows();
  TextArena arena;
  EvaluationContext context(arena, base::SystemTime(std::chrono::seconds(1956528000)));
  std::vector<Value> results(kRows);
  double logarithms = 0, own_logarithms = 0, inlined_logarithms = 0;
  int own = 0;
  std::size_t allocations = 0;
  for (const Expr& expr : kExpressions) {
    Diagnostics diagnostics;
    const auto expression = Expression::Compile(expr.text, kColumns, expr.text, diagnostics);
    if (!expression) Fail(diagnostics.Summary());
    const auto ours = [&](Row row) {
      context.BeginRow();
      return expression->Evaluate({row, kColumnCount}, context);
    };
    const auto by_hand = [&](Row row) { return expr.by_hand(row, context); };
    std::size_t nulls = 0;
    for (std::size_t i = 0; i < kRows; ++i) {
      const Row row = rows.values.data() + i * kColumnCount;
      arena.Reset();
      const Value a = ours(row), b = by_hand(row);
      if (a.kind() != b.kind() || !SameValue(a, b))
        Fail(fmt::format("{}: row {} is not the same by hand", expr.text, i));
      nulls += a.IsNull() ? 1 : 0;
    }
    if (nulls > kRows / 2) Fail(fmt::format("{}: {} rows are null", expr.text, nulls));

    std::vector<double> times, peers, inlined;
    const int passes = smoke ? 2 : 200;
    for (int round = 0; round < (smoke ? 3 : 21); ++round) {
      const std::size_t start = testing::Allocations();
      const double time = Measure(passes, rows, arena, results, ours);
      allocations += testing::Allocations() - start;
      times.push_back(time);
      peers.push_back(Measure(passes, rows, arena, results, by_hand));
      inlined.push_back(expr.measure_inlined(passes, rows, results, context));
    }
    const double ratio = bench::Median(times) / bench::Median(peers);
    const double inlined_ratio = bench::Median(times) / bench::Median(inlined);
    logarithms += std::log(ratio);
    inlined_logarithms += std::log(inlined_ratio);
    const bool calls = *expr.calls != '\0';
    if (!calls) {
      own_logarithms += std::log(ratio);
      ++own;
    }
    fmt::print("  {:46} {:6.1f} ns / by hand {:5.1f} ns = {:.2f}, inlined {:5.1f} ns = {:.2f}{}{}\n", expr.text,
               bench::Median(times), bench::Median(peers), ratio, bench::Median(inlined), inlined_ratio,
               calls ? ", both in " : "", expr.calls);
  }
  const double mean = std::exp(logarithms / static_cast<double>(std::size(kExpressions)));
  bench::PrintRow(
      "metricsource_expressions",
      fmt::format("{} expressions, {} rows: geometric mean of evaluated / by hand {:.2f} ({:.2f} without those "
                  "that share a function; by hand and inlined {:.2f}), {} allocations",
                  std::size(kExpressions), kRows, mean, std::exp(own_logarithms / own),
                  std::exp(inlined_logarithms / static_cast<double>(std::size(kExpressions))), allocations),
      fmt::format("<= {:.0f}, no allocation", kMust), fmt::format("{:.0f}", kAim));
  return smoke || (mean <= kMust && allocations == 0) ? 0 : 1;
}

}  // namespace
}  // namespace clusterpulse::metricsource

int main(int argc, char** argv) {
  return clusterpulse::metricsource::Run(argc > 1 && std::string_view(argv[1]) == "--smoke");
}
