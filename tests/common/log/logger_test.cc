#include "common/log/logger.h"

#include <cmath>
#include <mutex>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <unistd.h>

#include "common/base/testing/manual_clock.h"
#include "common/json/value.h"

namespace clusterpulse::log {
namespace {

struct Fixture {
  base::ManualClock clock;
  std::vector<std::string> lines;

  Logger Make(Format format, Level level = Level::kDebug) {
    Logger::Options options;
    options.level = level;
    options.format = format;
    options.clock = &clock;
    options.sink = [this](std::string_view line) { lines.emplace_back(line); };
    return Logger(std::move(options));
  }
};

TEST_CASE("a JSON line has time, level, message and typed fields") {
  Fixture f;
  f.Make(Format::kJson)
      .Info("link established",
            {{"cluster", "a"}, {"n", 5}, {"big", std::int64_t{1} << 40}, {"d", 0.5}, {"b", true}, {"nan", NAN}});
  REQUIRE(f.lines.size() == 1);
  CHECK(f.lines[0] == R"({"time":"2031-04-05T06:07:08.000000Z","level":"info","msg":"link established",)"
                      R"("cluster":"a","n":5,"big":1099511627776,"d":0.5,"b":true,"nan":null})");
}

TEST_CASE("a text line reads well") {
  Fixture f;
  const Logger log = f.Make(Format::kText);
  log.Warn("link lost", {{"cluster", "a"}, {"error", "UNAVAILABLE: x"}, {"empty", ""}, {"n", -1}, {"ok", false}});
  log.Error("stop");
  CHECK(f.lines ==
        std::vector<std::string>{
            R"(2031-04-05T06:07:08.000000Z warn  link lost cluster=a error="UNAVAILABLE: x" empty="" n=-1 ok=false)",
            "2031-04-05T06:07:08.000000Z error stop"});
}

TEST_CASE("nothing a peer sends can end a line or forge a field") {
  const std::string evil = std::string("a\nlevel=error \"x\" = \\ \x1b[31m \x7f \xff") + '\0' + "<b>";
  Fixture f;
  f.Make(Format::kJson).Info("m", {{"peer", evil}});
  f.Make(Format::kText).Info("m", {{"peer", evil}, {"tab", "a\tb"}, {"equals", "a=b"}, {"bytes", "\xff\xfe"}});
  REQUIRE(f.lines.size() == 2);
  for (const std::string& line : f.lines) {
    for (const char c : line) REQUIRE(static_cast<unsigned char>(c) >= 0x20);
  }
  const auto parsed = json::Value::Parse(f.lines[0]);
  REQUIRE(parsed.ok());
  CHECK((*parsed)["level"].StringOr() == "info");
  CHECK((*parsed)["peer"].StringOr().substr(0, 14) == "a\nlevel=error ");
  CHECK(f.lines[1].find(R"(peer="a\nlevel=error \"x\" = \\ \u001b[31m )") != std::string::npos);
  CHECK(f.lines[1].find(R"(tab="a\tb" equals="a=b" bytes="\ufffd\ufffd")") != std::string::npos);
}

TEST_CASE("With adds its fields to every line, and chains") {
  Fixture f;
  const Logger log = f.Make(Format::kJson).With({{"cluster", "a\"b"}});
  log.With({{"node", "n"}}).Debug("x", {{"k", 1}});
  log.Debug("y");
  CHECK(f.lines[0].find(R"("msg":"x","cluster":"a\"b","node":"n","k":1})") != std::string::npos);
  CHECK(f.lines[1].find(R"("msg":"y","cluster":"a\"b"})") != std::string::npos);
}

TEST_CASE("lines below the level are not written") {
  Fixture f;
  const Logger log = f.Make(Format::kText, Level::kWarn);
  log.Debug("d");
  log.Info("i");
  CHECK(f.lines.empty());
  CHECK_FALSE(log.Enabled(Level::kInfo));
  CHECK(log.Enabled(Level::kWarn));
  log.Warn("w");
  log.Error("e");
  CHECK(f.lines.size() == 2);
  const Logger none;
  none.With({{"a", 1}}).Error("nothing happens");
  CHECK_FALSE(none.Enabled(Level::kError));
}

TEST_CASE("every upstream word names a level, in any case") {
  for (const char* word : {"trace", "DEBUG", "debug"}) CHECK(ParseLevel(word) == Level::kDebug);
  for (const char* word : {"info", "Info", "INFO"}) CHECK(ParseLevel(word) == Level::kInfo);
  for (const char* word : {"warn", "warning", "WARNING"}) CHECK(ParseLevel(word) == Level::kWarn);
  for (const char* word : {"error", "critical", "CRITICAL"}) CHECK(ParseLevel(word) == Level::kError);
  for (const char* word : {"", "verbose", "info ", "0"}) CHECK(ParseLevel(word) == std::nullopt);
}

TEST_CASE("threads write whole lines") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  {
    Logger::Options options;
    options.fd = ends[1];
    const Logger log(std::move(options));
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([log, t] {
        for (int i = 0; i < 50; ++i) log.Info("m", {{"t", t}, {"i", i}});
      });
    }
  }
  ::close(ends[1]);
  std::string all;
  char bytes[4096];
  for (ssize_t n; (n = ::read(ends[0], bytes, sizeof bytes)) > 0;) all.append(bytes, static_cast<std::size_t>(n));
  ::close(ends[0]);
  int lines = 0;
  for (std::size_t start = 0; start < all.size(); ++lines) {
    const std::size_t end = all.find('\n', start);
    REQUIRE(end != std::string::npos);
    REQUIRE(json::Value::Parse(std::string_view(all).substr(start, end - start)).ok());
    start = end + 1;
  }
  CHECK(lines == 200);
}

TEST_CASE("a status as text has code and message but no payload") {
  absl::Status status = absl::UnavailableError("connection refused");
  status.SetPayload("p", absl::Cord("hidden"));
  CHECK(ToText(status) == "UNAVAILABLE: connection refused");
  CHECK(ToText(absl::OkStatus()) == "OK");
}

}  // namespace
}  // namespace clusterpulse::log
