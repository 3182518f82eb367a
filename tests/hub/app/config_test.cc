#include "hub/app/config.h"

#include <map>

#include <catch2/catch.hpp>

#include "common/base/status.h"

namespace clusterpulse::app {
namespace {

absl::StatusOr<LoadedConfig> Load(std::vector<std::string> args, std::map<std::string, std::string> variables = {}) {
  return LoadConfig(args, [&variables](const std::string& name) -> std::optional<std::string> {
    const auto it = variables.find(name);
    if (it == variables.end()) return std::nullopt;
    return it->second;
  });
}

TEST_CASE("the hub runs with nothing configured") {
  const auto loaded = Load({});
  REQUIRE(loaded.ok());
  const Config& config = loaded->config;
  CHECK(config.ns == "clusterpulse");
  CHECK(config.target == "all");
  CHECK(config.embedded_store());
  CHECK(config.data_dir.empty());
  CHECK(config.metrics_address == ":8080");
  CHECK(config.probe_address == ":8081");
  CHECK(config.reconciliation_interval == std::chrono::seconds(30));
  CHECK(config.operator_scan_interval == std::chrono::seconds(300));
  CHECK(config.cache_ttl == std::chrono::seconds(600));
  CHECK(config.metrics_retention == std::chrono::seconds(3600));
  CHECK(config.connect_timeout == std::chrono::seconds(10));
  CHECK(loaded->warnings.empty());
}

TEST_CASE("upstream's flags are accepted") {
  const auto loaded =
      Load({"--metrics-bind-address=:9090", "--health-probe-bind-address", "127.0.0.1:9091", "-namespace", "fleet",
            "--leader-elect", "--kubeconfig=/tmp/config", "--zap-devel", "--zap-encoder=console",
            "--zap-log-level=error", "--zap-stacktrace-level=panic", "--zap-time-encoding=rfc3339"},
           {{"REDIS_HOST", "redis"}});
  REQUIRE(loaded.ok());
  const Config& config = loaded->config;
  CHECK(config.metrics_address == ":9090");
  CHECK(config.probe_address == "127.0.0.1:9091");
  CHECK(config.ns == "fleet");
  CHECK(config.leader_elect);
  CHECK(config.kubeconfig == "/tmp/config");
}

TEST_CASE("the flag --namespace wins over NAMESPACE") {
  CHECK(Load({"--namespace=a"}, {{"NAMESPACE", "b"}})->config.ns == "a");
  CHECK(Load({"--namespace="}, {{"NAMESPACE", "b"}})->config.ns == "b");
}

TEST_CASE("values below upstream's floors are raised, values at them kept") {
  struct Case {
    std::string variable;
    int floor;
    std::chrono::seconds Config::*member;
  };
  const std::vector<Case> cases = {
      {"RECONCILIATION_INTERVAL", 30, &Config::reconciliation_interval},
      {"OPERATOR_SCAN_INTERVAL", 60, &Config::operator_scan_interval},
      {"CACHE_TTL", 60, &Config::cache_ttl},
      {"METRICS_RETENTION", 300, &Config::metrics_retention},
      {"CONNECT_TIMEOUT", 5, &Config::connect_timeout},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.variable) {
      const auto below = Load({}, {{c.variable, std::to_string(c.floor - 1)}});
      REQUIRE(below.ok());
      CHECK(below->config.*c.member == std::chrono::seconds(c.floor));
      CHECK(below->warnings.size() == 1);
      const auto at = Load({}, {{c.variable, std::to_string(c.floor)}});
      REQUIRE(at.ok());
      CHECK(at->config.*c.member == std::chrono::seconds(c.floor));
      CHECK(at->warnings.empty());
    }
  }
}

TEST_CASE("the store is Redis when it is named, else embedded") {
  struct Case {
    std::string name;
    std::map<std::string, std::string> variables;
    std::string store;
  };
  const std::vector<Case> cases = {
      {"host", {{"REDIS_HOST", "redis"}}, "redis"},
      {"sentinels", {{"REDIS_SENTINEL_ADDRESSES", "s1:26379,s2"}}, "redis"},
      {"nothing", {}, "embedded"},
      {"told otherwise", {{"REDIS_HOST", "redis"}, {"STATE_STORE", "embedded"}}, "embedded"},
      {"a service link is no host", {{"REDIS_PORT", "tcp://10.0.0.1:6379"}}, "embedded"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto loaded = Load({}, c.variables);
      REQUIRE(loaded.ok());
      CHECK(loaded->config.state_store == c.store);
      CHECK(loaded->config.redis_port == 6379);
    }
  }
}

TEST_CASE("contradictory or impossible configuration is refused with one line") {
  struct Case {
    std::string name;
    std::vector<std::string> args;
    std::map<std::string, std::string> variables;
    std::string message;  // its beginning
  };
  const std::map<std::string, std::string> redis = {{"REDIS_HOST", "redis"}};
  const std::vector<Case> cases = {
      {"target of a later version", {"--target=api"}, redis, "--target=api does not exist in this version"},
      {"unknown target", {"--target=web"}, redis, "--target=\"web\": allowed is one of all, controllers"},
      {"leader election without a shared store", {"--leader-elect"}, {}, "leader election needs a store"},
      {"one target without a shared store", {"--target=controllers"}, {}, "--target=controllers needs a store"},
      {"redis without an address", {}, {{"STATE_STORE", "redis"}}, "STATE_STORE=redis needs REDIS_HOST"},
      {"unknown store", {}, {{"STATE_STORE", "etcd"}}, "STATE_STORE=\"etcd\": allowed is one of redis, embedded"},
      {"certificate without TLS",
       {},
       {{"REDIS_HOST", "r"}, {"REDIS_TLS_CA", "/ca"}},
       "REDIS_TLS_CA is set but REDIS_TLS_ENABLED is not true"},
      {"certificate without key",
       {},
       {{"REDIS_HOST", "r"}, {"REDIS_TLS_ENABLED", "true"}, {"REDIS_TLS_CERT", "/crt"}},
       "REDIS_TLS_CERT and REDIS_TLS_KEY belong together"},
      {"bad sentinel", {}, {{"REDIS_SENTINEL_ADDRESSES", "s1:x"}}, "REDIS_SENTINEL_ADDRESSES=\"s1:x\""},
      {"bad port", {}, {{"REDIS_HOST", "r"}, {"REDIS_PORT", "70000"}}, "REDIS_PORT=\"70000\": allowed is"},
      {"history of a later version", {}, {{"HISTORY", "embedded"}}, "HISTORY=embedded does not exist in this version"},
      {"unknown history", {}, {{"HISTORY", "influx"}}, "HISTORY=\"influx\": allowed is one of victoriametrics"},
      {"history enabled and off",
       {},
       {{"HISTORY", "none"}, {"VM_ENABLED", "true"}},
       "HISTORY=none and VM_ENABLED=true contradict each other"},
      {"history named and not enabled",
       {},
       {{"HISTORY", "victoriametrics"}, {"VM_ENABLED", "false"}},
       "HISTORY=victoriametrics and VM_ENABLED=false contradict each other"},
      {"a user of a history that is off", {}, {{"VM_USERNAME", "u"}}, "VM_USERNAME is set but VM_ENABLED is not true"},
      {"a user without a password",
       {},
       {{"VM_ENABLED", "true"}, {"VM_USERNAME", "u"}},
       "VM_USERNAME and VM_PASSWORD_FILE belong together"},
      {"a user and a token",
       {},
       {{"VM_ENABLED", "true"}, {"VM_USERNAME", "u"}, {"VM_PASSWORD_FILE", "/p"}, {"VM_BEARER_TOKEN_FILE", "/t"}},
       "VM_USERNAME and VM_BEARER_TOKEN_FILE exclude one another"},
      {"authorities without TLS",
       {},
       {{"VM_ENABLED", "true"}, {"VM_TLS_CA", "/ca"}},
       "VM_TLS_CA is set but VM_ENDPOINT is not https"},
      {"an address that is none",
       {},
       {{"VM_ENABLED", "true"}, {"VM_ENDPOINT", "victoriametrics:8428"}},
       "VM_ENDPOINT: the address"},
      {"an address for queries that is none",
       {},
       {{"VM_ENABLED", "true"}, {"VM_QUERY_ENDPOINT", "vmselect:8481"}},
       "VM_QUERY_ENDPOINT: the address"},
      {"an address for queries of a history that is off",
       {},
       {{"VM_QUERY_ENDPOINT", "http://vmselect:8481"}},
       "VM_QUERY_ENDPOINT is set but VM_ENABLED is not true"},
      {"a retention that is none",
       {},
       {{"VM_ENABLED", "true"}, {"VM_RETENTION", "3 months"}},
       "VM_RETENTION=\"3 months\": allowed is"},
      {"no time to become durable",
       {},
       {{"VM_ENABLED", "true"}, {"VM_DURABLE_AFTER", "0"}},
       "VM_DURABLE_AFTER=\"0\": allowed is"},
      {"bad metrics address", {"--metrics-bind-address=8080"}, {}, "--metrics-bind-address=\"8080\": allowed is"},
      {"bad probe address", {"--health-probe-bind-address=:x"}, {}, "--health-probe-bind-address=\":x\": allowed is"},
      {"certificate for collectors without a word about TLS",
       {},
       {{"INGESTER_TLS_CERT", "/crt"}},
       "INGESTER_TLS_CERT is set but INGESTER_TLS_ENABLED is not"},
      {"key for collectors without a word about TLS",
       {"--ingester-tls-key=/key"},
       {},
       "INGESTER_TLS_KEY is set but INGESTER_TLS_ENABLED is not"},
      {"ingester that is switched off",
       {"--target=ingester"},
       {{"REDIS_HOST", "r"}, {"INGESTER_ENABLED", "false"}},
       "--target=ingester needs INGESTER_ENABLED=true"},
      {"ingester without a shared store", {"--target=ingester"}, {}, "--target=ingester needs a store"},
      {"bad public address",
       {},
       {{"INGESTER_PUBLIC_ADDRESS", "hub:x"}},
       "INGESTER_PUBLIC_ADDRESS=\"hub:x\": allowed is"},
      {"unknown persistence",
       {},
       {{"REDIS_PERSISTENCE", "rdb"}},
       "REDIS_PERSISTENCE=\"rdb\": allowed is one of aof, none"},
      {"namespace with a slash", {"--namespace=a/b"}, {}, "NAMESPACE=\"a/b\": allowed is"},
      {"number of upstream that it would ignore", {}, {{"CACHE_TTL", "10m"}}, "CACHE_TTL=\"10m\": allowed is"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto loaded = Load(c.args, c.variables);
      REQUIRE(loaded.status().code() == absl::StatusCode::kInvalidArgument);
      const std::string message = base::Message(loaded.status());
      CAPTURE(message);
      CHECK(message.find(c.message) == 0);
      CHECK(message.find('\n') == std::string::npos);
    }
  }
}

TEST_CASE("history is in VictoriaMetrics when that is enabled, else nowhere") {
  struct Case {
    std::string name;
    std::map<std::string, std::string> variables;
    std::string history;
  };
  const std::vector<Case> cases = {
      {"nothing", {}, "none"},
      {"upstream's variables", {{"VM_ENABLED", "true"}, {"VM_ENDPOINT", "http://vm:8428/"}}, "victoriametrics"},
      {"an address alone", {{"VM_ENDPOINT", "http://vm:8428"}}, "none"},
      {"named", {{"HISTORY", "victoriametrics"}}, "victoriametrics"},
      {"named and enabled", {{"HISTORY", "victoriametrics"}, {"VM_ENABLED", "true"}}, "victoriametrics"},
      {"off", {{"HISTORY", "none"}, {"VM_ENABLED", "false"}}, "none"},
      {"a cluster, with everything",
       {{"VM_ENABLED", "true"},
        {"VM_ENDPOINT", "https://vminsert:8480/insert/0/prometheus"},
        {"VM_USERNAME", "hub"},
        {"VM_PASSWORD_FILE", "/password"},
        {"VM_TLS_CA", "/ca"},
        {"VM_QUERY_ENDPOINT", "https://vmselect:8481/select/0/prometheus"},
        {"VM_RETENTION", "90d"},
        {"VM_DURABLE_AFTER", "15"}},
       "victoriametrics"},
      {"a token", {{"VM_ENABLED", "true"}, {"VM_BEARER_TOKEN_FILE", "/token"}}, "victoriametrics"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto loaded = Load({}, c.variables);
      REQUIRE(loaded.ok());
      CHECK(loaded->config.history == c.history);
      CHECK(loaded->config.writes_history() == (c.history == "victoriametrics"));
      CHECK(loaded->warnings.empty());
      CHECK(loaded->config.vm_durable_after ==
            std::chrono::seconds(c.variables.contains("VM_DURABLE_AFTER") ? 15 : 10));
    }
  }
}

TEST_CASE("a history that is called durable too soon is taken, with a warning") {
  const auto warnings = [](const std::string& seconds) {
    const auto loaded = Load({}, {{"VM_ENABLED", "true"}, {"VM_DURABLE_AFTER", seconds}});
    REQUIRE(loaded.ok());
    CHECK(loaded->config.vm_durable_after == std::chrono::seconds(std::stoi(seconds)));
    return loaded->warnings;
  };
  CHECK(warnings("10").empty());
  REQUIRE(warnings("9").size() == 1);
  CHECK(warnings("9")[0].starts_with("VM_DURABLE_AFTER is 9 s: VictoriaMetrics may need 10"));
  // Nobody is told about a history that is off.
  CHECK(Load({}, {{"VM_DURABLE_AFTER", "5"}})->warnings.empty());
}

TEST_CASE("the ingester takes upstream's variables, and runs where it is asked for") {
  const Config plain = Load({})->config;
  CHECK(plain.runs_ingester());
  CHECK(plain.runs_controllers());
  CHECK(plain.ingester_port == 9443);
  CHECK_FALSE(plain.ingester_tls);
  CHECK(plain.ingester_tls_cert == "/etc/ingester-tls/tls.crt");
  CHECK(plain.ingester_tls_key == "/etc/ingester-tls/tls.key");
  CHECK(plain.ingester_bootstrap_token);
  CHECK(plain.ingester_max_nodes == 10000);
  CHECK(plain.redis_persistence == "aof");

  const std::map<std::string, std::string> redis = {{"REDIS_HOST", "r"}};
  CHECK_FALSE(Load({"--target=controllers"}, redis)->config.runs_ingester());
  CHECK_FALSE(Load({"--target=ingester"}, redis)->config.runs_controllers());
  CHECK(Load({"--target=ingester"}, redis)->config.runs_ingester());
  CHECK_FALSE(Load({}, {{"INGESTER_ENABLED", "false"}})->config.runs_ingester());
  CHECK(Load({}, {{"INGESTER_PORT", "80"}})->config.ingester_port == 1024);
  CHECK(Load({}, {{"INGESTER_PORT", "tcp://10.0.0.1:9443"}})->config.ingester_port == 9443);
  CHECK(Load({}, {{"INGESTER_TLS_ENABLED", "true"}, {"INGESTER_TLS_CERT", "/c"}})->config.ingester_tls_cert == "/c");
  CHECK_FALSE(Load({}, {{"INGESTER_TLS_ENABLED", "false"}, {"INGESTER_TLS_CERT", "/c"}})->config.ingester_tls);
  CHECK(Load({}, {{"INGESTER_MAX_NODES", "0"}})->config.ingester_max_nodes == 0);
  CHECK(Load({}, {{"INGESTER_PUBLIC_ADDRESS", "hub.example"}}).ok());
}

TEST_CASE("0 turns a server off, as upstream") {
  const auto loaded = Load({"--metrics-bind-address=0", "--health-probe-bind-address=0"});
  REQUIRE(loaded.ok());
  CHECK(IsDisabled(loaded->config.metrics_address));
  CHECK(IsDisabled(loaded->config.probe_address));
}

TEST_CASE("variables of other programs and later versions are ignored") {
  REQUIRE(Load({}, {{"COLLECTOR_CA_KEY", "x"}, {"POLICY_CACHE_TTL", "x"}, {"TARGET", "api"}}).ok());
}

TEST_CASE("the log level takes every upstream word, and the framework's flags where nothing else is said") {
  struct Case {
    std::string name;
    std::vector<std::string> args;
    std::map<std::string, std::string> variables;
    log::Level level;
    bool warns = false;
  };
  const std::vector<Case> cases = {
      {"default", {}, {}, log::Level::kInfo},
      {"any case", {}, {{"LOG_LEVEL", "WARNING"}}, log::Level::kWarn},
      {"trace", {}, {{"LOG_LEVEL", "trace"}}, log::Level::kDebug},
      {"unknown word", {}, {{"LOG_LEVEL", "loud"}}, log::Level::kInfo, true},
      {"zap word", {"--zap-log-level=debug"}, {}, log::Level::kDebug},
      {"zap verbosity", {"--zap-log-level=3"}, {}, log::Level::kDebug},
      {"zap verbosity 0", {"--zap-log-level=0"}, {}, log::Level::kInfo},
      {"zap panic", {"--zap-log-level=panic"}, {}, log::Level::kError},
      {"zap devel", {"--zap-devel"}, {}, log::Level::kDebug},
      {"zap level wins over zap devel", {"--zap-devel", "--zap-log-level=error"}, {}, log::Level::kError},
      {"our variable wins over zap", {"--zap-log-level=debug"}, {{"LOG_LEVEL", "error"}}, log::Level::kError},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const auto loaded = Load(c.args, c.variables);
      REQUIRE(loaded.ok());
      CHECK(LogLevel(loaded->config) == c.level);
      CHECK(loaded->warnings.empty() == !c.warns);
    }
  }
}

TEST_CASE("logs are text on a terminal and JSON otherwise, unless told") {
  CHECK(LogFormat(Load({})->config, true) == log::Format::kText);
  CHECK(LogFormat(Load({})->config, false) == log::Format::kJson);
  CHECK(LogFormat(Load({}, {{"LOG_FORMAT", "text"}})->config, false) == log::Format::kText);
  CHECK(LogFormat(Load({"--zap-encoder=console"})->config, false) == log::Format::kText);
  CHECK(LogFormat(Load({"--zap-encoder=json"})->config, true) == log::Format::kJson);
  CHECK(LogFormat(Load({"--zap-encoder=json", "--log-format=text"})->config, true) == log::Format::kText);
}

TEST_CASE("the password is in no help, table or effective configuration") {
  auto loaded = Load({}, {{"REDIS_HOST", "r"}, {"REDIS_PASSWORD", "hunter2"}});
  REQUIRE(loaded.ok());
  CHECK(loaded->config.redis_password == "hunter2");
  const auto options = ConfigOptions(loaded->config);
  CHECK(config::HelpText(options).find("hunter2") == std::string::npos);
  CHECK(config::MarkdownTable(options).find("hunter2") == std::string::npos);
  for (const auto& [name, value] : config::Effective(options)) CHECK(value != "hunter2");
}

}  // namespace
}  // namespace clusterpulse::app
