#include "collector/app/config.h"

#include <map>

#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "tests/support/process.h"

namespace clusterpulse::collector {
namespace {

using Variables = std::map<std::string, std::string>;

absl::StatusOr<LoadedConfig> Load(std::vector<std::string> args, Variables variables = {}) {
  variables.try_emplace("CLUSTER_NAME", "edge-1");
  return LoadConfig(args, [&variables](const std::string& name) -> std::optional<std::string> {
    const auto it = variables.find(name);
    if (it == variables.end()) return std::nullopt;
    return it->second;
  });
}

TEST_CASE("with a name and a token the collector runs as upstream's does") {
  const auto loaded = Load({}, {{"COLLECTOR_TOKEN", "hunter2"}, {"INGESTER_TLS_ENABLED", "yes"}});
  REQUIRE(loaded.ok());
  const Config& config = loaded->config;
  CHECK(config.cluster == "edge-1");
  CHECK(config.address == "ingester:9443");
  CHECK(config.token == "hunter2");
  CHECK(config.tls);
  CHECK(config.interval == std::chrono::seconds(60));
  CHECK(config.operator_interval == std::chrono::seconds(300));
  CHECK(config.buffer_size == 10);
  CHECK(config.metrics_address == ":8080");
  CHECK(config.probe_address == ":8081");
  CHECK(config.log_level == "info");
  CHECK(config.spool_dir.empty());
  CHECK(config.spool_max_bytes == 256u << 20);
  CHECK(config.spool_max_age == std::chrono::hours(24));
  CHECK(loaded->warnings.empty());
}

TEST_CASE("where the spool is and how large it may grow") {
  struct Case {
    Variables variables;
    std::string dir;
    std::uint64_t max_bytes = 256 << 20;
    std::string warning = "";
  };
  const std::vector<Case> cases = {
      {{}, ""},
      {{{"DATA_DIR", "/data"}}, "/data/spool"},
      {{{"SPOOL_DIR", "/spool"}}, "/spool"},
      {{{"DATA_DIR", "/data"}, {"SPOOL_DIR", "/spool"}}, "/spool"},
      {{{"SPOOL_MAX_BYTES", "1Gi"}}, "", 1 << 30},
      {{{"SPOOL_MAX_BYTES", "100M"}}, "", 100'000'000},
      {{{"SPOOL_MAX_BYTES", "67108864"}}, "", 64 << 20},
      {{{"SPOOL_MAX_BYTES", "32Mi"}}, "", 32 << 20},
      {{{"SPOOL_MAX_BYTES", "31Mi"}}, "", 32 << 20, "SPOOL_MAX_BYTES=31Mi is below the least value and runs as 32Mi"},
      {{{"SPOOL_MAX_BYTES", "0"}}, "", 32 << 20, "SPOOL_MAX_BYTES=0 is below the least value and runs as 32Mi"},
      {{{"SPOOL_MAX_AGE", "10"}}, "", 256 << 20, "SPOOL_MAX_AGE=10 is below the least value and runs as 60"},
  };
  for (const Case& c : cases) {
    Variables variables = c.variables;
    CAPTURE(variables);
    variables["COLLECTOR_TOKEN"] = "t";
    variables["INGESTER_TLS_ENABLED"] = "1";
    const auto loaded = Load({}, variables);
    REQUIRE(loaded.ok());
    CHECK(loaded->config.spool_dir == c.dir);
    CHECK(loaded->config.spool_max_bytes == c.max_bytes);
    CHECK(loaded->warnings == (c.warning.empty() ? std::vector<std::string>{} : std::vector<std::string>{c.warning}));
  }
}

TEST_CASE("every variable of upstream is read, and flags win over them") {
  const auto loaded = Load({"--collect-interval=20"}, {{"INGESTER_ADDRESS", "[::1]:443"},
                                                       {"COLLECT_INTERVAL", "15"},
                                                       {"BUFFER_SIZE", "25"},
                                                       {"INGESTER_TLS_ENABLED", "1"},
                                                       {"INGESTER_TLS_CA", "/ca.crt"},
                                                       {"INGESTER_TLS_SERVER_NAME", "hub.svc"},
                                                       {"OPERATOR_SCAN_INTERVAL", "600"},
                                                       {"COLLECTOR_TOKEN", "t"},
                                                       {"LOG_LEVEL", "WARN"}});
  REQUIRE(loaded.ok());
  const Config& config = loaded->config;
  CHECK(config.address == "[::1]:443");
  CHECK(config.interval == std::chrono::seconds(20));
  CHECK(config.buffer_size == 25);
  CHECK(config.tls_ca == "/ca.crt");
  CHECK(config.tls_server_name == "hub.svc");
  CHECK(config.operator_interval == std::chrono::seconds(600));
  CHECK(app::LogLevel(config) == log::Level::kWarn);
  CHECK(loaded->warnings.empty());
}

TEST_CASE("values below the least run as the least, with a warning") {
  struct Case {
    std::string variable, value;
    std::int64_t runs_as;
    bool warns;
  };
  const std::vector<Case> cases = {
      {"COLLECT_INTERVAL", "4", 5, true},
      {"COLLECT_INTERVAL", "5", 5, false},
      {"COLLECT_INTERVAL", "-60", 5, true},
      {"OPERATOR_SCAN_INTERVAL", "59", 60, true},
      {"OPERATOR_SCAN_INTERVAL", "60", 60, false},
      {"BUFFER_SIZE", "1", 1, false},
      {"BUFFER_SIZE", "0", 10, true},
      {"BUFFER_SIZE", "-3", 10, true},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.variable << "=" << c.value) {
      const auto loaded = Load({}, {{c.variable, c.value}, {"COLLECTOR_TOKEN", "t"}, {"INGESTER_TLS_ENABLED", "1"}});
      REQUIRE(loaded.ok());
      const Config& config = loaded->config;
      const std::int64_t value = c.variable == "BUFFER_SIZE"        ? config.buffer_size
                                 : c.variable == "COLLECT_INTERVAL" ? config.interval.count()
                                                                    : config.operator_interval.count();
      CHECK(value == c.runs_as);
      REQUIRE(loaded->warnings.size() == (c.warns ? 1 : 0));
      if (c.warns) {
        CHECK(loaded->warnings[0] ==
              fmt::format("{}={} is below the least value and runs as {}", c.variable, c.value, c.runs_as));
      }
    }
  }
}

TEST_CASE("what cannot be understood stops the start with one line") {
  struct Case {
    std::string name;
    Variables variables;
    std::string message;  // its beginning
  };
  const std::string address = "INGESTER_ADDRESS=";
  const std::string allowed = ": allowed is host:port or [IPv6]:port";
  const std::vector<Case> cases = {
      {"no name", {{"CLUSTER_NAME", ""}}, "CLUSTER_NAME is not set"},
      {"name with a slash", {{"CLUSTER_NAME", "a/b"}}, "CLUSTER_NAME=\"a/b\": allowed is"},
      {"name in capitals", {{"CLUSTER_NAME", "Edge"}}, "CLUSTER_NAME=\"Edge\": allowed is"},
      {"name that is no text", {{"CLUSTER_NAME", "edge\xff"}}, "CLUSTER_NAME="},
      {"token in two lines", {{"COLLECTOR_TOKEN", "half\nhalf"}}, "COLLECTOR_TOKEN holds blanks or other"},
      {"token of a novel's length",
       {{"COLLECTOR_TOKEN", std::string(7169, 'x')}},
       "COLLECTOR_TOKEN is larger than 7168"},
      {"interval",
       {{"COLLECT_INTERVAL", "1m"}},
       "COLLECT_INTERVAL=\"1m\": allowed is a whole number of seconds from 5"},
      {"interval too long", {{"COLLECT_INTERVAL", "86401"}}, "COLLECT_INTERVAL=\"86401\": allowed is"},
      {"spool size", {{"SPOOL_MAX_BYTES", "1 GB"}}, "SPOOL_MAX_BYTES=\"1 GB\": allowed is a number of bytes: 2684"},
      {"negative spool", {{"SPOOL_MAX_BYTES", "-1Gi"}}, "SPOOL_MAX_BYTES=\"-1Gi\": allowed is"},
      {"spool age", {{"SPOOL_MAX_AGE", "1d"}}, "SPOOL_MAX_AGE=\"1d\": allowed is a whole number of seconds"},
      {"buffer", {{"BUFFER_SIZE", "ten"}}, "BUFFER_SIZE=\"ten\": allowed is a whole number from 1 to 10000"},
      {"bool", {{"INGESTER_TLS_ENABLED", "maybe"}}, "INGESTER_TLS_ENABLED=\"maybe\": allowed is true or false"},
      {"no port", {{"INGESTER_ADDRESS", "hub"}}, address + "\"hub\"" + allowed},
      {"bad port", {{"INGESTER_ADDRESS", "hub:https"}}, address + "\"hub:https\"" + allowed},
      {"bare IPv6", {{"INGESTER_ADDRESS", "::1"}}, address + "\"::1\"" + allowed},
      {"service link", {{"INGESTER_ADDRESS", "tcp://10.0.0.1:9443"}}, address + "\"tcp://10.0.0.1:9443\"" + allowed},
      {"URL", {{"INGESTER_ADDRESS", "https://hub"}}, address + "\"https://hub\"" + allowed},
      {"two tokens",
       {{"COLLECTOR_TOKEN", "a"}, {"COLLECTOR_TOKEN_FILE", "/t"}},
       "COLLECTOR_TOKEN and COLLECTOR_TOKEN_FILE are both set"},
      {"CA without TLS", {{"INGESTER_TLS_CA", "/ca"}}, "INGESTER_TLS_CA is set but INGESTER_TLS_ENABLED is not true"},
      {"name without TLS",
       {{"INGESTER_TLS_SERVER_NAME", "hub"}, {"INGESTER_TLS_ENABLED", "false"}},
       "INGESTER_TLS_SERVER_NAME is set but"},
      {"probe address", {{"HEALTH_PROBE_BIND_ADDRESS", "8081"}}, "--health-probe-bind-address=\"8081\": allowed is"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto loaded = Load({}, c.variables);
      REQUIRE(loaded.status().code() == absl::StatusCode::kInvalidArgument);
      const std::string message = base::Message(loaded.status());
      CAPTURE(message);
      CHECK(message.find(c.message) == 0);
      CHECK(message.find('\n') == std::string::npos);
    }
  }
}

TEST_CASE("an address that Kubernetes' service links cannot break") {
  // A Service called "ingester" sets these in every pod of its namespace.
  const auto loaded = Load({}, {{"INGESTER_PORT", "tcp://10.0.0.1:9443"}, {"INGESTER_SERVICE_HOST", "10.0.0.1"}});
  REQUIRE(loaded.ok());
  CHECK(loaded->config.address == "ingester:9443");
}

TEST_CASE("a token in the clear, and no token, are warned of once") {
  const auto clear = Load({}, {{"COLLECTOR_TOKEN", "hunter2"}});
  REQUIRE(clear.ok());
  REQUIRE(clear->warnings.size() == 1);
  CHECK(clear->warnings[0].find("the token is sent without TLS") == 0);
  CHECK(clear->warnings[0].find("hunter2") == std::string::npos);
  const auto none = Load({});
  REQUIRE(none.ok());
  REQUIRE(none->warnings.size() == 1);
  CHECK(none->warnings[0].find("neither COLLECTOR_TOKEN nor COLLECTOR_TOKEN_FILE is set") == 0);
}

TEST_CASE("a line break at the end of the token, as Secrets have, is none of it") {
  const auto loaded = Load({}, {{"COLLECTOR_TOKEN", " hunter2\n"}, {"INGESTER_TLS_ENABLED", "true"}});
  REQUIRE(loaded.ok());
  CHECK(ReadToken(loaded->config).value() == "hunter2");
  CHECK(loaded->warnings.empty());
}

TEST_CASE("the token's file is read each time, and judged") {
  testing::TempDir dir;
  Config config;
  config.token_file = dir.File("token");
  CHECK(ReadToken(config).status().code() == absl::StatusCode::kNotFound);
  struct Case {
    std::string content, token;
  };
  for (const Case& c : {Case{"one\n", "one"}, {" \ttwo \r\n\n", "two"}, {"three", "three"}}) {
    testing::WriteFile(config.token_file, c.content);
    CHECK(ReadToken(config).value() == c.token);
  }
  testing::WriteFile(config.token_file, " \n");
  CHECK(ReadToken(config).status().code() == absl::StatusCode::kFailedPrecondition);
  testing::WriteFile(config.token_file, std::string(7169, 'x'));
  const absl::Status too_large = ReadToken(config).status();
  CHECK(too_large.code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::Message(too_large).find("xxx") == std::string::npos);
  config = {};
  config.token = "fixed";
  CHECK(ReadToken(config).value() == "fixed");
}

TEST_CASE("the token is in no help, table or effective configuration") {
  auto loaded = Load({}, {{"COLLECTOR_TOKEN", "hunter2"}});
  REQUIRE(loaded.ok());
  const auto options = ConfigOptions(loaded->config);
  CHECK(config::HelpText(options).find("hunter2") == std::string::npos);
  CHECK(config::MarkdownTable(options).find("hunter2") == std::string::npos);
  for (const auto& [name, value] : config::Effective(options)) CHECK(value != "hunter2");
}

}  // namespace
}  // namespace clusterpulse::collector
