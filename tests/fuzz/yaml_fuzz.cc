// YAML, as `clusterpulse-hub metricsource` reads it: any text gives documents that JSON can say, each of whose values
// has a line of the text, or is refused with a reason.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "common/base/utf8.h"
#include "hub/app/yaml.h"
#include "tests/fuzz/input.h"

using namespace clusterpulse;
using clusterpulse::fuzz::Require;

namespace {

bool IsText(std::string_view text) {
  const auto is_control = [](char c) { return c >= 0 && c < ' ' && c != '\t' && c != '\n' && c != '\r'; };
  return base::IsUtf8(text) && std::none_of(text.begin(), text.end(), is_control);
}

// Of the first value in each list and object.
void CheckLines(const app::YamlText& yaml, int lines, std::size_t document, const json::Value& value,
                const std::string& path, int depth) {
  const int line = yaml.Line(document, path);
  Require(line >= 1 && line <= lines + 1);
  if (depth == 4) return;
  if (!value.members().empty()) {
    const auto& [key, member] = *value.members().begin();
    CheckLines(yaml, lines, document, member, path.empty() ? key : path + "." + key, depth + 1);
  } else if (!value.items().empty()) {
    CheckLines(yaml, lines, document, value.items().back(), fmt::format("{}[{}]", path, value.items().size() - 1),
               depth + 1);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (!IsText(text)) return 0;  // is refused before
  const auto yaml = app::YamlText::Parse(text);
  if (!yaml.ok()) {
    Require(absl::IsInvalidArgument(yaml.status()));
    Require(base::IsUtf8({yaml.status().message().data(), yaml.status().message().size()}));
    return 0;
  }
  const int lines = static_cast<int>(std::count(text.begin(), text.end(), '\n')) + 1;
  for (std::size_t i = 0; i < yaml->documents().size(); ++i) {
    const json::Value& document = yaml->documents()[i];
    const auto again = json::Value::Parse(document.Dump());
    Require(again.ok() && *again == document);
    CheckLines(*yaml, lines, i, document, "", 0);
  }
  Require(yaml->Line(yaml->documents().size(), "spec") == 0);
  return 0;
}
