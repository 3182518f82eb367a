// A definition, as collectors get them from any hub: any bytes, as they are and as lines (json_lines.h). Either it
// compiles, to a source that its own definition gives again, or what is wrong with it is said.
#include <cstdint>
#include <string>
#include <string_view>

#include "common/metricsource/source.h"
#include "tests/fuzz/json_lines.h"
#include "tests/fuzz/metricsource_checks.h"

using namespace clusterpulse;
using clusterpulse::fuzz::Require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  metricsource::Diagnostics diagnostics;
  const auto source = text.starts_with('{')
                          ? metricsource::CompileDefinition(text, diagnostics)
                          : metricsource::CompileDefinition(fuzz::ReadLines(text).Dump(), diagnostics);
  fuzz::CheckDiagnostics(diagnostics);
  Require((source == nullptr) == diagnostics.has_errors());
  if (source != nullptr) fuzz::CheckSource(*source);
  return 0;
}
