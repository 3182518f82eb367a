#include "common/app/settings.h"

#include <catch2/catch.hpp>

#include "common/base/status.h"

namespace clusterpulse::app {
namespace {

TEST_CASE("addresses are judged before anything starts") {
  struct Case {
    std::string metrics, probes, message;
  };
  const std::vector<Case> cases = {
      {":8080", "0", ""},
      {"[::1]:9", "127.0.0.1:0", ""},
      {"8080", ":8081", "--metrics-bind-address=\"8080\": allowed is host:port, [IPv6]:port, :port, or 0 for off"},
      {"0", ":x", "--health-probe-bind-address=\":x\": allowed is host:port, [IPv6]:port, :port, or 0 for off"},
  };
  for (const Case& c : cases) {
    CommonConfig config;
    config.metrics_address = c.metrics;
    config.probe_address = c.probes;
    CHECK(base::Message(CheckCommon(config)) == c.message);
  }
}

TEST_CASE("logs are text on a terminal and JSON otherwise, unless told") {
  CommonConfig config;
  CHECK(LogFormat(config, true) == log::Format::kText);
  CHECK(LogFormat(config, false) == log::Format::kJson);
  config.log_format = "text";
  CHECK(LogFormat(config, false) == log::Format::kText);
  config.log_format = "json";
  CHECK(LogFormat(config, true) == log::Format::kJson);
}

TEST_CASE("every setting has a flag and a variable") {
  CommonConfig config;
  for (const config::Option& option : CommonOptions(config)) {
    CAPTURE(option.flag, option.env);
    CHECK_FALSE(option.flag.empty());
    CHECK_FALSE(option.env.empty());
    CHECK_FALSE(option.help.empty());
  }
}

}  // namespace
}  // namespace clusterpulse::app
