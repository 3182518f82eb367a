#include "common/metricsource/expression.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "common/base/time_format.h"
#include "common/metricsource/checker.h"
#include "common/metricsource/lexer.h"
#include "common/metricsource/parser.h"
#include "common/metricsource/program.h"

namespace clusterpulse::metricsource {

EvaluationContext::EvaluationContext(TextArena& arena, base::SystemTime now) : arena_(arena), now_(now) {
  const std::string text = base::FormatSeconds(now);
  std::copy_n(text.begin(), std::min(text.size(), now_text_.size()), now_text_.begin());
}

std::optional<Expression> Expression::Compile(std::string_view text, std::span<const Column> columns,
                                              std::string_view path, Diagnostics& diagnostics) {
  const std::size_t told = diagnostics.items().size();
  Problems problems(text, told < Diagnostics::kMax ? Diagnostics::kMax - told : 1);
  const Tree tree = Parse(text, problems);
  const std::vector<Checked> checked = Check(text, tree, columns, problems);
  const bool is_refused = problems.has_errors();
  problems.Report(path, diagnostics);
  if (is_refused) return std::nullopt;
  auto program = std::make_shared<Program>();
  Generate(tree, checked, *program);
  Expression out;
  out.kinds_ = checked.back().kinds;
  out.program_ = std::move(program);
  return out;
}

std::vector<std::string> Expression::References(std::string_view text) {
  Problems problems(text);
  const Tree tree = Parse(text, problems);
  std::vector<std::string> names;
  if (problems.has_errors()) return names;
  std::unordered_set<std::string_view> seen;
  for (const Node& node : tree.nodes) {
    if (node.type != NodeType::kName) continue;
    const std::string_view name = text.substr(node.begin, node.end - node.begin);
    if (seen.insert(name).second) names.emplace_back(name);
  }
  return names;
}

std::int64_t Expression::steps() const { return program_->steps; }

Value Expression::Evaluate(std::span<const Value> row, EvaluationContext& context) const {
  return program_->Run(row.data(), context);
}

}  // namespace clusterpulse::metricsource
