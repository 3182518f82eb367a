// Any text either is a path within bounds or is refused with a column inside the text; what it means can be written
// with every key in quotes, and means the same then. Upstream's own split and the conversions of texts take anything
// too.
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/utf8.h"
#include "common/metricsource/convert.h"
#include "common/metricsource/path.h"
#include "tests/fuzz/input.h"

using namespace clusterpulse;
using namespace clusterpulse::metricsource;
using clusterpulse::fuzz::Require;

namespace {

std::string Quoted(const Path& path) {
  std::string text = ".";
  for (const Path::Segment& segment : path.segments()) {
    switch (segment.type) {
      case Path::Segment::Type::kKey:
        text += "['";
        for (const char c : segment.key) {
          if (c == '\'' || c == '\\') text += '\\';
          text += c;
        }
        text += "']";
        break;
      case Path::Segment::Type::kIndex:
        text += '[' + std::to_string(segment.index) + ']';
        break;
      case Path::Segment::Type::kAll:
        text += "[*]";
        break;
    }
  }
  return text;
}

void TryPath(std::string_view text) {
  Diagnostics diagnostics;
  const auto path = Path::Compile(text, "p", diagnostics);
  Require(path.has_value() != diagnostics.has_errors());
  for (const Diagnostic& item : diagnostics.items()) {
    Require(item.column >= 0 && static_cast<std::size_t>(item.column) <= text.size() + 1);
    Require(base::IsUtf8(item.ToString()));
  }
  const auto segments = UpstreamPathSegments(text);
  Require(segments.size() <= text.size());
  if (!path) return;
  Require(path->segments().size() <= Path::kMaxSegments && path->text() == text);
  CheckReadable(*path, true, "p", diagnostics);
  CheckReadable(*path, false, "p", diagnostics);
  const std::string quoted = Quoted(*path);
  if (quoted.size() > Path::kMaxBytes) return;
  Diagnostics none;
  const auto again = Path::Compile(quoted, "p", none);
  Require(again.has_value() && again->segments() == path->segments() && none.items().empty());
}

void TryConversions(std::string_view text) {
  TextArena arena;
  for (const std::string_view name : FieldTypeNames()) {
    const FieldType type = *ParseFieldType(name);
    Value value;
    if (ConvertScalar(type, Value::Text(text), text, arena, value)) {
      Require(KindSet(value.kind()).IsOnly(KindsOf(type)));
      Require(value.kind() != Kind::kDouble || value.AsDouble() - value.AsDouble() == 0);
    }
    if (const auto made = ConvertDefault(type, text)) Require(KindSet(made->kind()).IsOnly(KindsOf(type)));
    Value number;
    if (ParseJsonNumber(text, number)) {
      Require(number.IsNumber());
      Require(!ConvertScalar(type, number, text, arena, value) || KindSet(value.kind()).IsOnly(KindsOf(type)));
    }
  }
  std::string compact;
  AppendCompactJson(text, compact);
  Require(compact.size() <= text.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  TryPath(text);
  TryConversions(text);
  return 0;
}
