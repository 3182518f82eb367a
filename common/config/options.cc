#include "common/config/options.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "common/base/status.h"

namespace clusterpulse::config {
namespace {

enum class Source { kFlag, kEnvironment };

// Longest value an error line repeats.
constexpr std::size_t kShown = 200;

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string Join(const std::vector<std::string>& words, std::string_view separator) {
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out.append(separator);
    out.append(word);
  }
  return out;
}

std::vector<std::string> SplitList(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const auto comma = text.find(',');
    std::string_view part = text.substr(0, comma);
    while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
    if (!part.empty()) out.emplace_back(part);
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return out;
}

// Name by which a message calls the option.
std::string Called(const Option& option, Source source) {
  return source == Source::kFlag ? "--" + option.flag : option.env;
}

std::string KeyOf(const Option& option) { return option.flag.empty() ? option.env : option.flag; }

std::string TextOf(const Target& target) {
  struct {
    std::string operator()(const std::string* v) const { return *v; }
    std::string operator()(const std::vector<std::string>* v) const { return Join(*v, ","); }
    std::string operator()(const int* v) const { return std::to_string(*v); }
    std::string operator()(const bool* v) const { return *v ? "true" : "false"; }
    std::string operator()(const std::chrono::seconds* v) const { return std::to_string(v->count()); }
  } visitor;
  return std::visit(visitor, target);
}

bool IsBool(const Option& option) { return std::holds_alternative<bool*>(option.target); }

bool IsNumeric(const Option& option) {
  return std::holds_alternative<int*>(option.target) || std::holds_alternative<std::chrono::seconds*>(option.target);
}

// What values are allowed, in words; empty: any text.
std::string Allowed(const Option& option) {
  if (IsBool(option)) return "true or false";
  if (!option.choices.empty()) return "one of " + Join(option.choices, ", ");
  if (!IsNumeric(option)) return "";
  const std::string unit = std::holds_alternative<std::chrono::seconds*>(option.target) ? " of seconds" : "";
  const std::int64_t least = option.floor.value_or(option.min);
  if (option.max == std::numeric_limits<int>::max()) return fmt::format("a whole number{}, at least {}", unit, least);
  return fmt::format("a whole number{} from {} to {}", unit, least, option.max);
}

absl::Status Refuse(const Option& option, Source source, std::string_view text) {
  const std::string shown = option.secret ? "(hidden)" : fmt::format("\"{}\"", text.substr(0, kShown));
  return base::InvalidArgument("{}={}: allowed is {}", Called(option, source), shown, Allowed(option));
}

absl::Status SetBool(const Option& option, Source source, std::string_view text, bool& out, Parsed& parsed) {
  constexpr std::array<std::string_view, 3> kTrue = {"true", "1", "yes"};
  constexpr std::array<std::string_view, 3> kFalse = {"false", "0", "no"};
  // What Go's flag package takes beside those.
  constexpr std::array<std::string_view, 4> kTrueFlag = {"t", "T", "TRUE", "True"};
  constexpr std::array<std::string_view, 4> kFalseFlag = {"f", "F", "FALSE", "False"};
  constexpr std::array<std::string_view, 6> kWords = {"true", "yes", "on", "false", "no", "off"};
  const auto in = [](const auto& words, std::string_view word) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  const bool flag = source == Source::kFlag;
  if (in(kTrue, text) || (flag && in(kTrueFlag, text))) {
    out = true;
  } else if (in(kFalse, text) || (flag && in(kFalseFlag, text))) {
    out = false;
  } else if (!flag && in(kWords, Lower(text))) {
    out = false;
    parsed.warnings.push_back(fmt::format("{}=\"{}\" counts as false; write true or false", option.env, text));
  } else {
    return Refuse(option, source, text);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::int64_t> ReadNumber(const Option& option, Source source, std::string_view text, Parsed& parsed) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end) return Refuse(option, source, text);
  if (option.floor && value < *option.floor) {
    const std::int64_t raised = option.raised_to.value_or(*option.floor);
    parsed.warnings.push_back(
        fmt::format("{}={} is below the least value and runs as {}", Called(option, source), value, raised));
    return raised;
  }
  if (value < option.min || value > option.max) return Refuse(option, source, text);
  return value;
}

absl::Status SetWord(const Option& option, Source source, std::string_view text, std::string& out, Parsed& parsed) {
  if (option.choices.empty()) {
    out = std::string(text);
    return absl::OkStatus();
  }
  std::string word = option.any_case ? Lower(text) : std::string(text);
  if (std::find(option.choices.begin(), option.choices.end(), word) != option.choices.end()) {
    out = std::move(word);
    return absl::OkStatus();
  }
  if (!option.unknown_is_default) return Refuse(option, source, text);
  parsed.warnings.push_back(fmt::format("{}=\"{}\" is unknown and runs as {}; known are {}", Called(option, source),
                                        text.substr(0, kShown), out, Join(option.choices, ", ")));
  return absl::OkStatus();
}

absl::Status Set(const Option& option, Source source, std::string_view text, Parsed& parsed) {
  if (auto* const* word = std::get_if<std::string*>(&option.target)) {
    return SetWord(option, source, text, **word, parsed);
  }
  if (auto* const* list = std::get_if<std::vector<std::string>*>(&option.target)) {
    **list = SplitList(text);
    return absl::OkStatus();
  }
  if (auto* const* boolean = std::get_if<bool*>(&option.target)) {
    return SetBool(option, source, text, **boolean, parsed);
  }
  ASSIGN_OR_RETURN(const std::int64_t number, ReadNumber(option, source, text, parsed));
  if (auto* const* seconds = std::get_if<std::chrono::seconds*>(&option.target)) {
    **seconds = std::chrono::seconds(number);
  } else {
    *std::get<int*>(option.target) = static_cast<int>(number);
  }
  return absl::OkStatus();
}

std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

absl::Status UnknownFlag(const std::vector<Option>& options, std::string_view name) {
  name = name.substr(0, kShown);  // also bounds the work below
  std::string nearest;
  // Further off than a third of its letters is no typing error.
  std::size_t best = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (const Option& option : options) {
    if (option.flag.empty()) continue;
    const std::size_t distance = EditDistance(name, option.flag);
    if (distance >= best) continue;
    best = distance;
    nearest = option.flag;
  }
  if (nearest.empty()) return base::InvalidArgument("unknown flag --{}; --help lists all", name);
  return base::InvalidArgument("unknown flag --{}; did you mean --{}?", name, nearest);
}

bool IsServiceLink(const std::string& variable, std::string_view value) {
  return variable.ends_with("_PORT") && value.starts_with("tcp://");
}

// Default, floor and the like behind a row's help.
std::string Facts(const Option& option) {
  std::string facts;
  const auto add = [&facts](const std::string& fact) {
    if (!facts.empty()) facts += "; ";
    facts += fact;
  };
  if (const std::string allowed = Allowed(option); !allowed.empty() && !IsBool(option)) add(allowed);
  const std::string fallback = option.default_text.empty() ? TextOf(option.target) : option.default_text;
  if (!fallback.empty() && !option.secret) {
    add("default " + fallback + (option.unit.empty() || !option.default_text.empty() ? "" : " " + option.unit));
  }
  return facts;
}

}  // namespace

Environment ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

bool Parsed::IsSet(std::string_view name) const { return std::find(set.begin(), set.end(), name) != set.end(); }

absl::StatusOr<Parsed> Parse(const std::vector<Option>& options, std::span<const std::string> args,
                             const Environment& environment, std::vector<std::string>* operands) {
  Parsed parsed;
  const auto mark = [&parsed](const Option& option) {
    if (!parsed.IsSet(KeyOf(option))) parsed.set.push_back(KeyOf(option));
  };

  // The last of several equal flags wins; so flags are gathered first and applied once.
  std::vector<std::optional<std::string>> flags(options.size());
  for (std::size_t i = 0; i < args.size(); ++i) {
    std::string_view arg = args[i];
    if (arg == "--" && i + 1 == args.size()) break;
    if (operands != nullptr && arg == "--") {
      operands->insert(operands->end(), args.begin() + static_cast<std::ptrdiff_t>(i) + 1, args.end());
      break;
    }
    if (operands != nullptr && (arg.size() < 2 || arg.front() != '-')) {
      operands->emplace_back(arg);
      continue;
    }
    if (arg == "--" || arg.size() < 2 || arg.front() != '-') {
      return base::InvalidArgument("unexpected argument \"{}\"; --help shows the usage",
                                   std::string_view(arg == "--" ? args[i + 1] : args[i]).substr(0, kShown));
    }
    arg.remove_prefix(arg.starts_with("--") ? 2 : 1);
    const auto equals = arg.find('=');
    const std::string_view name = arg.substr(0, equals);
    if (name == "help" || name == "h") {
      parsed.help = true;
      return parsed;
    }
    if (name == "version") {
      parsed.version = true;
      return parsed;
    }
    const auto option = std::find_if(options.begin(), options.end(), [name](const Option& o) {
      return !o.flag.empty() && (o.flag == name || (!o.alias.empty() && o.alias == name));
    });
    if (option == options.end()) return UnknownFlag(options, name);
    std::string value;
    if (equals != std::string_view::npos) {
      value = std::string(arg.substr(equals + 1));
    } else if (IsBool(*option)) {
      value = "true";
    } else if (i + 1 < args.size()) {
      value = args[++i];
    } else {
      return base::InvalidArgument("--{} needs a value", name);
    }
    flags[static_cast<std::size_t>(option - options.begin())] = std::move(value);
  }

  for (std::size_t i = 0; i < options.size(); ++i) {
    const Option& option = options[i];
    if (flags[i] && !flags[i]->empty()) {
      RETURN_IF_ERROR(Set(option, Source::kFlag, *flags[i], parsed));
      mark(option);
      continue;
    }
    if (option.env.empty()) continue;
    const std::optional<std::string> value = environment(option.env);
    if (!value || value->empty() || IsServiceLink(option.env, *value)) continue;
    RETURN_IF_ERROR(Set(option, Source::kEnvironment, *value, parsed));
    mark(option);
  }
  return parsed;
}

std::string HelpText(const std::vector<Option>& options) {
  std::string out;
  for (const Option& option : options) {
    std::string head = "  ";
    if (!option.alias.empty()) head += "-" + option.alias + ", ";
    if (!option.flag.empty()) head += "--" + option.flag;
    if (!option.env.empty()) head += (option.flag.empty() ? "" : "  ") + ("[" + option.env + "]");
    out += head + "\n      " + option.help + "\n";
    if (const std::string facts = Facts(option); !facts.empty()) out += "      " + facts + "\n";
  }
  return out;
}

std::string MarkdownTable(const std::vector<Option>& options) {
  const auto code = [](const std::string& text) { return text.empty() ? std::string("-") : "`" + text + "`"; };
  std::string out = "| Variable | Flag | Default | Allowed | Meaning |\n|---|---|---|---|---|\n";
  for (const Option& option : options) {
    std::string fallback = code(TextOf(option.target));
    if (!option.default_text.empty()) fallback = option.default_text;
    if (option.secret) fallback = "-";
    if (fallback != "-" && option.default_text.empty() && !option.unit.empty()) fallback += " " + option.unit;
    std::string allowed = Allowed(option);
    out += fmt::format("| {} | {} | {} | {} | {} |\n", code(option.env),
                       code(option.flag.empty() ? "" : "--" + option.flag), fallback,
                       allowed.empty() ? "text" : allowed, option.help);
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> Effective(const std::vector<Option>& options) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const Option& option : options) {
    std::string text = TextOf(option.target);
    if (option.secret && !text.empty()) text = "(set)";
    out.emplace_back(KeyOf(option), std::move(text));
  }
  return out;
}

}  // namespace clusterpulse::config
