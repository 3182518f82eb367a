#include "common/kube/label_selector.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

namespace clusterpulse::kube {
namespace {

using Operator = LabelSelector::Operator;
using Problem = LabelSelector::Problem;

bool IsAlphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// A label's value and the part of its key behind the slash: at most 63 of [A-Za-z0-9._-], beginning and ending with a
// letter or digit.
bool IsLabelWord(std::string_view word) {
  return word.size() <= 63 && IsAlphanumeric(word.front()) && IsAlphanumeric(word.back()) &&
         std::all_of(word.begin(), word.end(),
                     [](char c) { return IsAlphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

bool IsLabelValue(std::string_view value) { return value.empty() || IsLabelWord(value); }

bool IsLabelKey(std::string_view key) {
  if (const auto slash = key.find('/'); slash != std::string_view::npos) {
    const std::string_view domain = key.substr(0, slash);
    const auto is_domain = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    };
    if (domain.empty() || domain.size() > 253 || !std::all_of(domain.begin(), domain.end(), is_domain)) return false;
    key.remove_prefix(slash + 1);
  }
  return !key.empty() && IsLabelWord(key);
}

std::optional<Operator> ParseOperator(std::string_view text) {
  if (text == "In") return Operator::kIn;
  if (text == "NotIn") return Operator::kNotIn;
  if (text == "Exists") return Operator::kExists;
  if (text == "DoesNotExist") return Operator::kDoesNotExist;
  return std::nullopt;
}

bool NeedsValues(Operator op) { return op == Operator::kIn || op == Operator::kNotIn; }

void ReadExpression(const json::Value& expression, const std::string& path, LabelSelector& out,
                    std::vector<Problem>& problems) {
  const std::size_t before = problems.size();
  LabelSelector::Requirement requirement{.key = std::string(expression["key"].StringOr())};
  if (!IsLabelKey(requirement.key)) {
    problems.push_back({path + ".key", fmt::format("\"{}\" is no label key", requirement.key)});
  }
  const std::string_view op = expression["operator"].StringOr();
  const std::optional<Operator> parsed = ParseOperator(op);
  if (!parsed) {
    problems.push_back({path + ".operator", fmt::format("\"{}\" is none of In, NotIn, Exists, DoesNotExist", op)});
    return;
  }
  requirement.op = *parsed;
  for (const json::Value& value : expression["values"].items()) {
    if (!value.IsString() || !IsLabelValue(value.StringOr())) {
      problems.push_back({path + ".values", fmt::format("{} is no label value", value.Dump())});
    } else {
      requirement.values.emplace_back(value.StringOr());
    }
  }
  if (NeedsValues(*parsed) != !expression["values"].items().empty()) {
    problems.push_back(
        {path + ".values", fmt::format("{} {}", op, NeedsValues(*parsed) ? "needs values" : "takes none")});
  }
  if (problems.size() == before) out.requirements.push_back(std::move(requirement));
}

}  // namespace

LabelSelector LabelSelector::Read(const json::Value& object, std::vector<Problem>& problems) {
  LabelSelector selector;
  for (const auto& [key, value] : object["matchLabels"].members()) {
    if (!IsLabelKey(key)) {
      problems.push_back({"matchLabels", fmt::format("\"{}\" is no label key", key)});
    } else if (!value.IsString() || !IsLabelValue(value.StringOr())) {
      problems.push_back({fmt::format("matchLabels[{}]", key), fmt::format("{} is no label value", value.Dump())});
    } else {
      selector.requirements.push_back({key, Operator::kIn, {std::string(value.StringOr())}, true});
    }
  }
  std::size_t index = 0;
  for (const json::Value& expression : object["matchExpressions"].items()) {
    ReadExpression(expression, fmt::format("matchExpressions[{}]", index++), selector, problems);
  }
  return selector;
}

std::string LabelSelector::Text() const {
  std::string text;
  for (const Requirement& requirement : requirements) {
    if (!text.empty()) text += ',';
    if (requirement.is_label) {
      text += fmt::format("{}={}", requirement.key, requirement.values.front());
      continue;
    }
    switch (requirement.op) {
      case Operator::kExists:
        text += requirement.key;
        break;
      case Operator::kDoesNotExist:
        text += fmt::format("!{}", requirement.key);
        break;
      case Operator::kIn:
      case Operator::kNotIn:
        text += fmt::format("{} {} ({})", requirement.key, requirement.op == Operator::kIn ? "in" : "notin",
                            fmt::join(requirement.values, ","));
        break;
    }
  }
  return text;
}

bool LabelSelector::Matches(const model::Labels& labels) const {
  return std::all_of(requirements.begin(), requirements.end(), [&](const Requirement& requirement) {
    const std::optional<std::string_view> value = labels.Find(requirement.key);
    const auto is_listed = [&] {
      return std::find(requirement.values.begin(), requirement.values.end(), *value) != requirement.values.end();
    };
    switch (requirement.op) {
      case Operator::kExists:
        return value.has_value();
      case Operator::kDoesNotExist:
        return !value.has_value();
      case Operator::kIn:
        return value.has_value() && is_listed();
      case Operator::kNotIn:
        return !value.has_value() || !is_listed();
    }
    return false;
  });
}

}  // namespace clusterpulse::kube
