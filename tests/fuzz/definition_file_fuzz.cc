// A collector's file of definitions: any bytes either are such a file, and what is in it is written and read back as it
// is, or damaged. A collector that starts with it has each definition in force, or says why not. Bytes that do not
// begin as a file does get the beginning they need.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "collector/sources/definition_file.h"
#include "collector/sources/source_set.h"
#include "collector/spool/encoding.h"
#include "collector/spool/testing/fake_file_system.h"
#include "common/base/random.h"
#include "common/base/testing/manual_clock.h"
#include "common/base/utf8.h"
#include "tests/fuzz/input.h"

using namespace clusterpulse;
using clusterpulse::fuzz::Require;

namespace {

void Apply(const std::vector<std::string>& definitions) {
  base::ManualClock clock;
  base::SeededRandom random(1);
  sources::SourceSet set(clock, random);
  const sources::SourceSet::Applied applied = set.Apply(definitions);
  Require(applied.in_force + applied.rejected == definitions.size() && applied.problems.size() == applied.rejected);
  for (const std::string& problem : applied.problems) Require(problem.size() < 4096 && base::IsUtf8(problem));
  const std::vector<std::string> in_force = set.definitions();
  Require(in_force.size() == applied.in_force && set.due().has_value() == (applied.in_force > 0));
  const sources::SourceSet::Taken taken = set.Take(true, true, clock.Now());
  Require(taken.results.size() <= applied.rejected && taken.streams.empty());
  for (const model::SourceResult& result : taken.results) {
    Require(!result.failure.empty() && base::IsUtf8(result.message) && base::IsUtf8(result.definition_hash));
  }
  // Again changes nothing.
  const sources::SourceSet::Applied again = set.Apply(definitions);
  Require(again.problems == applied.problems && again.gone.empty() && !again.is_changed && !again.has_news);
  Require(set.definitions() == in_force);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (!bytes.starts_with("clusterpulse ")) {
    bytes = fmt::format("clusterpulse metric sources 1 {:08x}\n{}", spool::Crc32(bytes), bytes);
  }
  const std::string path = "/data/metric-sources";
  base::SeededRandom random(1);
  spool::FakeFileSystem files(random);
  files.SetContent(path, bytes);
  const auto read = sources::ReadDefinitions(files, path);
  if (!read.ok()) {
    Require(absl::IsDataLoss(read.status()));
    return 0;
  }
  Require(sources::WriteDefinitions(files, path, *read).ok());
  const auto again = sources::ReadDefinitions(files, path);
  Require(again.ok() && *again == *read);
  Apply(*read);
  return 0;
}
