#include "collector/app/command_line.h"

#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>

#include <catch2/catch.hpp>

#include "collector/spool/posix_file_system.h"
#include "collector/spool/spool.h"
#include "common/app/version.h"
#include "common/base/testing/manual_clock.h"
#include "tests/support/process.h"

namespace clusterpulse::collector {
namespace {

struct Fixture {
  std::map<std::string, std::string> variables;
  std::ostringstream out, err;
  std::optional<Config> ran;

  int Execute(std::vector<std::string> args) {
    out.str("");
    err.str("");
    Process process{.environment = [this](const std::string& name) -> std::optional<std::string> {
                      const auto it = variables.find(name);
                      if (it == variables.end()) return std::nullopt;
                      return it->second;
                    },
                    .out = out,
                    .err = err,
                    .run =
                        [this](const LoadedConfig& loaded) {
                          ran = loaded.config;
                          return 0;
                        }};
    return collector::Execute(args, process);
  }
};

std::string ReadDocument(const std::string& name) {
  std::ifstream file(fmt::format("{}/docs/{}", CLUSTERPULSE_SOURCE_DIR, name));
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST_CASE("without a command, and as `run`, the collector runs with its configuration") {
  Fixture f;
  f.variables["CLUSTER_NAME"] = "edge-1";
  CHECK(f.Execute({}) == 0);
  CHECK(f.ran->cluster == "edge-1");
  CHECK(f.Execute({"run", "--cluster-name=edge-2"}) == 0);
  CHECK(f.ran->cluster == "edge-2");
}

TEST_CASE("a refused command line is one line on stderr and exit code 2") {
  struct Case {
    std::vector<std::string> args;
    std::string message;
  };
  const std::vector<Case> cases = {
      {{"--cluster-nam=x"}, "unknown flag --cluster-nam; did you mean --cluster-name?"},
      {{"fleet"}, "unknown command \"fleet\"; `clusterpulse-collector help` lists all"},
      {{"help", "me"}, "help takes no arguments"},
      {{"spool"}, "usage: clusterpulse-collector spool inspect DIR [-o text|json]"},
      {{"spool", "inspect"}, "usage: clusterpulse-collector spool inspect DIR [-o text|json]"},
      {{"spool", "inspect", "a", "b"}, "usage: clusterpulse-collector spool inspect DIR [-o text|json]"},
      {{"spool", "inspect", "a", "-o", "yaml"}, "usage: clusterpulse-collector spool inspect DIR [-o text|json]"},
      {{"spool", "inspect", "/none"}, "listing /none: No such file or directory"},
      {{}, "CLUSTER_NAME is not set: it names the ClusterConnection of this cluster on the hub"},
  };
  for (const Case& c : cases) {
    Fixture f;
    CHECK(f.Execute(c.args) == 2);
    CHECK(f.err.str() == "clusterpulse-collector: " + c.message + "\n");
    CHECK(f.out.str().empty());
    CHECK_FALSE(f.ran);
  }
}

TEST_CASE("help and version are printed without a configuration") {
  Fixture f;
  for (const auto& args : std::vector<std::vector<std::string>>{{"help"}, {"--help"}, {"run", "-h"}}) {
    CHECK(f.Execute(args) == 0);
    CHECK(f.out.str().find("Usage: clusterpulse-collector [command] [flags]") != std::string::npos);
    CHECK(f.out.str().find("--collect-interval  [COLLECT_INTERVAL]") != std::string::npos);
  }
  CHECK(f.Execute({"--version"}) == 0);
  CHECK(f.out.str().find("clusterpulse-collector " + std::string(app::kVersion)) == 0);
  CHECK_FALSE(f.ran);
}

TEST_CASE("spool inspect says what is in a spool, and by its exit code whether it is whole") {
  testing::TempDir dir;
  base::ManualClock clock;
  base::SeededRandom random(1);
  const auto append = [&] {
    const auto spool = spool::Spool::Open({.dir = dir.path()}, spool::PosixFileSystem(), clock, random, {});
    REQUIRE(spool.ok());
    REQUIRE((*spool)->Append((*spool)->next_seq(), clock.Now(), "payload").ok());
  };
  append();
  Fixture f;
  CHECK(f.Execute({"spool", "inspect", dir.path()}) == 0);
  CHECK(f.out.str().find("0000000000000001.seg") != std::string::npos);
  append();
  CHECK(f.Execute({"spool", "inspect", "-o", "json", dir.path()}) == 0);
  CHECK(f.out.str().find(R"("clean":true)") != std::string::npos);
  testing::WriteFile(dir.File("0000000000000001.seg"), "no segment any more");
  CHECK(f.Execute({"spool", "inspect", dir.path(), "--output=json"}) == 1);
  CHECK(f.out.str().find(R"("missing":[{"first":1,"last":1}])") != std::string::npos);
  CHECK(f.err.str().empty());
}

TEST_CASE("docs/collector-configuration.md is what the program prints") {
  Fixture f;
  REQUIRE(f.Execute({"configuration-reference"}) == 0);
  // To mend it: clusterpulse-collector configuration-reference > docs/collector-configuration.md
  CHECK(ReadDocument("collector-configuration.md") == f.out.str());
}

TEST_CASE("docs/collector-metrics.md is what the program prints") {
  Fixture f;
  REQUIRE(f.Execute({"metrics-reference"}) == 0);
  // To mend it: clusterpulse-collector metrics-reference > docs/collector-metrics.md
  CHECK(ReadDocument("collector-metrics.md") == f.out.str());
  CHECK(f.out.str().find("clusterpulse_collector_build_info") != std::string::npos);
  CHECK(f.out.str().find("clusterpulse_hub_") == std::string::npos);
  CHECK(f.out.str().find("clusterpulse_cluster_") == std::string::npos);
}

}  // namespace
}  // namespace clusterpulse::collector
