#include "common/kube/testing/selector.h"

#include <algorithm>

#include "common/base/status.h"
#include "common/kube/api_error.h"

namespace clusterpulse::kube {
namespace {

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Splits at commas that are not inside parentheses.
std::vector<std::string_view> SplitTerms(std::string_view text) {
  std::vector<std::string_view> terms;
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (text[i] == ',' && depth == 0)) {
      if (const auto term = Trim(text.substr(begin, i - begin)); !term.empty()) terms.push_back(term);
      begin = i + 1;
    } else if (text[i] == '(') {
      ++depth;
    } else if (text[i] == ')') {
      --depth;
    }
  }
  return terms;
}

absl::Status Malformed(std::string_view text) {
  return ToStatus({.code = 400,
                   .reason = "BadRequest",
                   .message = fmt::format("unable to parse requirement: \"{}\"", text),
                   .retry_after = {}});
}

}  // namespace

const std::string* FindIn(const FlatMap& map, std::string_view key) {
  const auto it = std::find_if(map.begin(), map.end(), [key](const auto& entry) { return entry.first == key; });
  return it == map.end() ? nullptr : &it->second;
}

absl::StatusOr<Selector::Term> Selector::ParseTerm(std::string_view text, bool labels) {
  if (const auto at = text.find("!="); at != text.npos) {
    return Term{std::string(Trim(text.substr(0, at))), Operator::kNotIn, {std::string(Trim(text.substr(at + 2)))}};
  }
  if (const auto at = text.find('='); at != text.npos) {
    const auto behind = text.substr(at + 1);
    const auto value = behind.starts_with('=') ? behind.substr(1) : behind;
    return Term{std::string(Trim(text.substr(0, at))), Operator::kIn, {std::string(Trim(value))}};
  }
  if (!labels) return Malformed(text);
  if (const auto open = text.find('('); open != text.npos) {
    if (text.back() != ')') return Malformed(text);
    const auto head = Trim(text.substr(0, open));
    const auto space = head.find(' ');
    if (space == head.npos) return Malformed(text);
    const auto word = Trim(head.substr(space));
    if (word != "in" && word != "notin") return Malformed(text);
    Term term{std::string(head.substr(0, space)), word == "in" ? Operator::kIn : Operator::kNotIn, {}};
    for (const auto value : SplitTerms(text.substr(open + 1, text.size() - open - 2))) term.values.emplace_back(value);
    return term;
  }
  if (text.find(' ') != text.npos) return Malformed(text);
  if (text.front() == '!') return Term{std::string(Trim(text.substr(1))), Operator::kNotExists, {}};
  return Term{std::string(text), Operator::kExists, {}};
}

absl::StatusOr<Selector> Selector::ParseLabels(std::string_view text) {
  Selector selector;
  for (const auto part : SplitTerms(text)) {
    ASSIGN_OR_RETURN(Term term, ParseTerm(part, true));
    selector.terms_.push_back(std::move(term));
  }
  return selector;
}

absl::StatusOr<Selector> Selector::ParseFields(std::string_view text) {
  Selector selector;
  for (const auto part : SplitTerms(text)) {
    ASSIGN_OR_RETURN(Term term, ParseTerm(part, false));
    selector.terms_.push_back(std::move(term));
  }
  return selector;
}

bool Selector::Matches(const FlatMap& values) const {
  return std::all_of(terms_.begin(), terms_.end(), [&values](const Term& term) {
    const std::string* value = FindIn(values, term.key);
    const bool listed =
        value != nullptr && std::find(term.values.begin(), term.values.end(), *value) != term.values.end();
    switch (term.op) {
      case Operator::kIn:
        return listed;
      case Operator::kNotIn:
        return !listed;
      case Operator::kExists:
        return value != nullptr;
      case Operator::kNotExists:
        return value == nullptr;
    }
    return false;
  });
}

std::vector<std::string> Selector::Keys() const {
  std::vector<std::string> keys;
  for (const Term& term : terms_) keys.push_back(term.key);
  return keys;
}

}  // namespace clusterpulse::kube
