#include "common/base/failpoint.h"

#include <csignal>

#include <catch2/catch.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace clusterpulse::base {
namespace {

TEST_CASE("what arms a fail point") {
  struct Case {
    const char* text;
    FailPointPlan plan;  // without a name: not understood
  };
  for (const Case& c :
       {Case{"spool.appended", {"spool.appended", 1}}, Case{"ingest.applied:12", {"ingest.applied", 12}}, Case{"", {}},
        Case{"spool", {}}, Case{"spool.appended:", {}}, Case{"spool.appended:0", {}}, Case{"spool.appended:-1", {}},
        Case{"spool.appended:2x", {}}, Case{"spool.appended:1:1", {}}}) {
    CAPTURE(c.text);
    const auto plan = ParseFailPoint(c.text);
    REQUIRE(plan.ok() == !c.plan.name.empty());
    if (plan.ok()) {
      CHECK(*plan == c.plan);
    } else {
      CHECK(plan.status().code() == absl::StatusCode::kInvalidArgument);
      CHECK(std::string(plan.status().message()).find("position.written") != std::string::npos);
    }
  }
}

TEST_CASE("the process dies at the passing that was armed, and at no other place") {
  struct Case {
    FailPointPlan plan;
    int passings;
    bool dies;
  };
  for (const Case& c : {Case{{"spool.synced", 1}, 1, true}, Case{{"spool.synced", 3}, 2, false},
                        Case{{"spool.synced", 3}, 3, true}, Case{{"spool.appended", 1}, 5, false}}) {
    CAPTURE(c.plan.name, c.plan.passings, c.passings);
    const int pid = ::fork();
    if (pid == 0) {
      ArmFailPoint(c.plan);
      for (int i = 0; i < c.passings; ++i) FailPoint("spool.synced");
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) == c.dies);
  }
  ArmFailPoint({"spool.synced", 1});
  DisarmFailPoint();
  FailPoint("spool.synced");  // nothing happens
}

}  // namespace
}  // namespace clusterpulse::base
