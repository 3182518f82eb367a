#include "common/config/options.h"

#include <map>

#include <catch2/catch.hpp>

#include "common/base/status.h"

namespace clusterpulse::config {
namespace {

// A program's table with one row of every kind.
struct Settings {
  std::string ns = "clusterpulse", format = "auto", level = "info", password;
  std::vector<std::string> peers;
  int port = 6379;
  bool elect = false;
  std::chrono::seconds interval{30};

  std::vector<Option> Table() {
    return {
        {.flag = "namespace", .env = "NAMESPACE", .target = &ns, .help = "the namespace", .alias = "n"},
        {.flag = "format", .env = "FORMAT", .target = &format, .help = "the format", .choices = {"auto", "text"}},
        {.flag = "level",
         .env = "LEVEL",
         .target = &level,
         .help = "the level",
         .choices = {"info", "warn"},
         .any_case = true,
         .unknown_is_default = true},
        {.env = "PASSWORD", .target = &password, .help = "the password", .secret = true},
        {.flag = "peers", .env = "PEERS", .target = &peers, .help = "the peers", .default_text = "none"},
        {.flag = "redis-port", .env = "REDIS_PORT", .target = &port, .help = "the port", .min = 1, .max = 65535},
        {.flag = "leader-elect", .env = "LEADER_ELECT", .target = &elect, .help = "elect"},
        {.flag = "interval",
         .env = "INTERVAL",
         .target = &interval,
         .help = "the interval",
         .unit = "s",
         .floor = 30,
         .max = 86400},
    };
  }
};

Environment From(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto it = variables.find(name);
    if (it == variables.end()) return std::nullopt;
    return it->second;
  };
}

absl::StatusOr<Parsed> Run(Settings& settings, std::vector<std::string> args,
                           std::map<std::string, std::string> variables = {}) {
  return Parse(settings.Table(), args, From(std::move(variables)));
}

TEST_CASE("flags win over the environment, which wins over defaults") {
  Settings settings;
  SECTION("nothing given") {
    const auto parsed = Run(settings, {});
    REQUIRE(parsed.ok());
    CHECK(settings.ns == "clusterpulse");
    CHECK(parsed->set.empty());
  }
  SECTION("environment only") {
    const auto parsed = Run(settings, {}, {{"NAMESPACE", "from-env"}});
    REQUIRE(parsed.ok());
    CHECK(settings.ns == "from-env");
    CHECK(parsed->IsSet("namespace"));
  }
  SECTION("both") {
    REQUIRE(Run(settings, {"--namespace=from-flag"}, {{"NAMESPACE", "from-env"}}).ok());
    CHECK(settings.ns == "from-flag");
  }
  SECTION("an empty flag leaves it to the environment, an empty variable to the default") {
    REQUIRE(Run(settings, {"--namespace="}, {{"NAMESPACE", "from-env"}, {"INTERVAL", ""}}).ok());
    CHECK(settings.ns == "from-env");
    CHECK(settings.interval == std::chrono::seconds(30));
  }
  SECTION("variables without a row are ignored") { REQUIRE(Run(settings, {}, {{"SOMETHING_ELSE", "x"}}).ok()); }
}

TEST_CASE("flags are accepted in every spelling Go accepts") {
  struct Case {
    std::string name;
    std::vector<std::string> args;
    std::string ns;
    bool elect;
  };
  const std::vector<Case> cases = {
      {"equals", {"--namespace=x"}, "x", false},
      {"next argument", {"--namespace", "x"}, "x", false},
      {"one dash", {"-namespace", "x"}, "x", false},
      {"one dash and equals", {"-namespace=x"}, "x", false},
      {"alias", {"-n", "x"}, "x", false},
      {"value with an equals sign", {"--namespace=a=b"}, "a=b", false},
      {"boolean alone", {"--leader-elect"}, "clusterpulse", true},
      {"boolean with a value", {"--leader-elect=true"}, "clusterpulse", true},
      {"boolean in Go's spelling", {"--leader-elect=T"}, "clusterpulse", true},
      {"boolean false", {"--leader-elect=false"}, "clusterpulse", false},
      {"the last one wins", {"--leader-elect", "--leader-elect=false", "--namespace=x", "--namespace=y"}, "y", false},
      {"boolean does not eat the next argument", {"--leader-elect", "--namespace", "x"}, "x", true},
      {"a lone double dash ends the flags", {"--namespace", "x", "--"}, "x", false},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Settings settings;
      const auto parsed = Run(settings, c.args);
      REQUIRE(parsed.ok());
      CHECK(settings.ns == c.ns);
      CHECK(settings.elect == c.elect);
      CHECK(parsed->warnings.empty());
    }
  }
}

TEST_CASE("booleans of the environment follow the upstream words") {
  struct Case {
    std::string text;
    bool value;
    bool warns;
  };
  const std::vector<Case> cases = {
      {"true", true, false}, {"1", true, false},   {"yes", true, false},  {"false", false, false},
      {"0", false, false},   {"no", false, false}, {"TRUE", false, true}, {"True", false, true},
      {"ON", false, true},   {"Yes", false, true}, {"on", false, true},   {"FALSE", false, true},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.text) {
      Settings settings;
      settings.elect = !c.value;
      const auto parsed = Run(settings, {}, {{"LEADER_ELECT", c.text}});
      REQUIRE(parsed.ok());
      CHECK(settings.elect == c.value);
      CHECK(parsed->warnings.empty() == !c.warns);
    }
  }
}

TEST_CASE("numbers below the floor are raised with a warning") {
  struct Case {
    std::string text;
    int seconds;
    bool warns;
  };
  const std::vector<Case> cases = {
      {"29", 30, true}, {"0", 30, true}, {"-5", 30, true}, {"30", 30, false}, {"31", 31, false}};
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.text) {
      Settings settings;
      const auto parsed = Run(settings, {}, {{"INTERVAL", c.text}});
      REQUIRE(parsed.ok());
      CHECK(settings.interval == std::chrono::seconds(c.seconds));
      REQUIRE(parsed->warnings.empty() == !c.warns);
      if (c.warns) CHECK(parsed->warnings[0].find("INTERVAL=" + c.text) == 0);
    }
  }
}

TEST_CASE("below its floor a number may become another than the floor") {
  struct Case {
    std::string text;
    int value;
    std::vector<std::string> warnings;
  };
  const std::vector<Case> cases = {{"1", 1, {}}, {"0", 10, {"SIZE=0 is below the least value and runs as 10"}}};
  for (const Case& c : cases) {
    int size = 7;
    const std::vector<Option> table = {{.env = "SIZE", .target = &size, .help = "", .floor = 1, .raised_to = 10}};
    const auto parsed = Parse(table, {}, From({{"SIZE", c.text}}));
    REQUIRE(parsed.ok());
    CHECK(size == c.value);
    CHECK(parsed->warnings == c.warnings);
  }
}

TEST_CASE("what cannot be read stops the start with name, value and what is allowed") {
  struct Case {
    std::string name;
    std::vector<std::string> args;
    std::map<std::string, std::string> variables;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"no number",
       {},
       {{"INTERVAL", "30s"}},
       "INTERVAL=\"30s\": allowed is a whole number of seconds from 30 to 86400"},
      {"too large",
       {},
       {{"INTERVAL", "86401"}},
       "INTERVAL=\"86401\": allowed is a whole number of seconds from 30 to 86400"},
      {"beyond 64 bits",
       {},
       {{"REDIS_PORT", "99999999999999999999"}},
       "REDIS_PORT=\"99999999999999999999\": allowed is a whole number from 1 to 65535"},
      {"below the least", {}, {{"REDIS_PORT", "0"}}, "REDIS_PORT=\"0\": allowed is a whole number from 1 to 65535"},
      {"blank", {}, {{"REDIS_PORT", " "}}, "REDIS_PORT=\" \": allowed is a whole number from 1 to 65535"},
      {"flag", {"--redis-port=x"}, {}, "--redis-port=\"x\": allowed is a whole number from 1 to 65535"},
      {"boolean", {}, {{"LEADER_ELECT", "maybe"}}, "LEADER_ELECT=\"maybe\": allowed is true or false"},
      {"boolean flag", {"--leader-elect=on"}, {}, "--leader-elect=\"on\": allowed is true or false"},
      {"word", {}, {{"FORMAT", "xml"}}, "FORMAT=\"xml\": allowed is one of auto, text"},
      {"word in another case", {}, {{"FORMAT", "Text"}}, "FORMAT=\"Text\": allowed is one of auto, text"},
      {"value missing", {"--namespace"}, {}, "--namespace needs a value"},
      {"unknown flag close to a known one",
       {"--leader-elekt"},
       {},
       "unknown flag --leader-elekt; did you mean --leader-elect?"},
      {"unknown flag far from all", {"--colour"}, {}, "unknown flag --colour; --help lists all"},
      {"stray argument", {"fleet"}, {}, "unexpected argument \"fleet\"; --help shows the usage"},
      {"stray argument behind a boolean",
       {"--leader-elect", "false"},
       {},
       "unexpected argument \"false\"; --help shows the usage"},
      {"argument behind a double dash", {"--", "-x"}, {}, "unexpected argument \"-x\"; --help shows the usage"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Settings settings;
      const auto parsed = Run(settings, c.args, c.variables);
      REQUIRE(parsed.status().code() == absl::StatusCode::kInvalidArgument);
      CHECK(base::Message(parsed.status()) == c.message);
    }
  }
}

TEST_CASE("a service link in a port variable counts as unset") {
  Settings settings;
  REQUIRE(Run(settings, {}, {{"REDIS_PORT", "tcp://10.96.0.17:6379"}}).ok());
  CHECK(settings.port == 6379);
  // As a flag somebody wrote it.
  CHECK_FALSE(Run(settings, {"--redis-port=tcp://10.96.0.17:6379"}).ok());
}

TEST_CASE("words may ignore case and fall back with a warning") {
  Settings settings;
  const auto parsed = Run(settings, {}, {{"LEVEL", "WARN"}});
  REQUIRE(parsed.ok());
  CHECK(settings.level == "warn");
  CHECK(parsed->warnings.empty());

  Settings other;
  const auto unknown = Run(other, {}, {{"LEVEL", "chatty"}});
  REQUIRE(unknown.ok());
  CHECK(other.level == "info");
  REQUIRE(unknown->warnings.size() == 1);
  CHECK(unknown->warnings[0] == "LEVEL=\"chatty\" is unknown and runs as info; known are info, warn");
}

TEST_CASE("lists are split at commas and trimmed") {
  Settings settings;
  REQUIRE(Run(settings, {}, {{"PEERS", " a:1, b:2,,c:3 "}}).ok());
  CHECK(settings.peers == std::vector<std::string>{"a:1", "b:2", "c:3"});
}

TEST_CASE("arguments that are no flags are operands where they are asked for") {
  struct Case {
    std::vector<std::string> args, operands;
  };
  const std::vector<Case> cases = {
      {{}, {}},
      {{"a", "b"}, {"a", "b"}},
      {{"a", "--namespace", "x", "b"}, {"a", "b"}},
      {{"-n=x", "a", "-"}, {"a", "-"}},
      {{"", "--namespace=x"}, {""}},
      {{"a", "--namespace=x", "--", "--b", "--", "c"}, {"a", "--b", "--", "c"}},
      {{"--namespace=x", "--"}, {}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.args);
    Settings settings;
    std::vector<std::string> operands;
    const auto parsed = Parse(settings.Table(), c.args, From({}), &operands);
    REQUIRE(parsed.ok());
    CHECK(operands == c.operands);
    if (c.args.size() > 2) CHECK(parsed->IsSet("namespace"));
  }
  Settings settings;
  std::vector<std::string> operands;
  // A flag is still a flag.
  CHECK_FALSE(Parse(settings.Table(), std::vector<std::string>{"a", "--nonsense"}, From({}), &operands).ok());
  CHECK_FALSE(Parse(settings.Table(), std::vector<std::string>{"a"}, From({})).ok());
}

TEST_CASE("help and version end the parsing") {
  Settings settings;
  for (const std::string flag : {"--help", "-h", "-help"}) {
    const auto parsed = Run(settings, {flag, "--nonsense"});
    REQUIRE(parsed.ok());
    CHECK(parsed->help);
  }
  const auto parsed = Run(settings, {"--version"});
  REQUIRE(parsed.ok());
  CHECK(parsed->version);
}

TEST_CASE("help lists every flag and variable with bounds, units and defaults, and no secret") {
  Settings settings;
  settings.password = "hunter2";
  const std::string help = HelpText(settings.Table());
  for (const std::string text : {"-n, --namespace  [NAMESPACE]\n      the namespace\n      default clusterpulse\n",
                                 "  [PASSWORD]\n", "a whole number of seconds from 30 to 86400; default 30 s",
                                 "one of auto, text; default auto", "default none"}) {
    CAPTURE(text);
    CHECK(help.find(text) != std::string::npos);
  }
  CHECK(help.find("hunter2") == std::string::npos);
  const std::string table = MarkdownTable(settings.Table());
  CHECK(table.find(
            "| `INTERVAL` | `--interval` | `30` s | a whole number of seconds from 30 to 86400 | the interval |") !=
        std::string::npos);
  CHECK(table.find("hunter2") == std::string::npos);
}

TEST_CASE("secrets are hidden in the effective configuration and in errors") {
  Settings settings;
  REQUIRE(Run(settings, {}, {{"PASSWORD", "hunter2"}, {"NAMESPACE", "x"}}).ok());
  const auto effective = Effective(settings.Table());
  CHECK(std::find(effective.begin(), effective.end(), std::pair<std::string, std::string>("PASSWORD", "(set)")) !=
        effective.end());
  CHECK(std::find(effective.begin(), effective.end(), std::pair<std::string, std::string>("namespace", "x")) !=
        effective.end());

  int pin = 0;
  const std::vector<Option> table = {{.env = "PIN", .target = &pin, .help = "a secret number", .secret = true}};
  const auto parsed = Parse(table, {}, From({{"PIN", "hunter2"}}));
  CHECK(base::Message(parsed.status()) == "PIN=(hidden): allowed is a whole number, at least 0");
}

}  // namespace
}  // namespace clusterpulse::config
