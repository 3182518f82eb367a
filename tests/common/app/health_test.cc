#include "common/app/health.h"

#include <catch2/catch.hpp>

#include "common/base/testing/manual_clock.h"

namespace clusterpulse::app {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a heartbeat is late only after its limit") {
  base::ManualClock clock;
  Heartbeat heartbeat(clock);
  CHECK(heartbeat.Check(60s).ok());
  clock.AdvanceBy(60s);
  CHECK(heartbeat.Check(60s).ok());
  clock.AdvanceBy(1s);
  CHECK(heartbeat.Check(60s).code() == absl::StatusCode::kDeadlineExceeded);
  heartbeat.Beat();
  CHECK(heartbeat.Check(60s).ok());
}

TEST_CASE("a loop that was silent for too long fails its check") {
  const base::SteadyTime last(std::chrono::hours(1));
  CHECK(CheckTurn(last, last + 60s, 60s).ok());
  CHECK(CheckTurn(last, last + 61s, 60s) == absl::DeadlineExceededError("no sign of life for 61 s"));
}

TEST_CASE("an answer lists every check and fails when one does") {
  HealthChecks checks;
  CHECK(checks.Run().ok);
  absl::Status store = absl::UnavailableError("connection refused");
  checks.Add("caches", [] { return absl::OkStatus(); });
  checks.Add("store", [&store] { return store; });
  CHECK_FALSE(checks.Run().ok);
  CHECK(checks.Run().body == "[+] caches: ok\n[-] store: UNAVAILABLE: connection refused\nfailed\n");
  store = absl::OkStatus();
  CHECK(checks.Run().body == "[+] caches: ok\n[+] store: ok\nok\n");
  checks.AddNote("hub", [] { return "backing off: UNAVAILABLE: connection refused"; });
  CHECK(checks.Run().ok);
  CHECK(checks.Run().body ==
        "[+] caches: ok\n[+] store: ok\n[i] hub: backing off: UNAVAILABLE: connection refused\nok\n");
}

}  // namespace
}  // namespace clusterpulse::app
