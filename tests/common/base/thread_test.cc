#include "common/base/thread.h"

#include <algorithm>

#include <catch2/catch.hpp>
#include <sys/resource.h>
#include <unistd.h>

namespace clusterpulse::base {
namespace {

int OwnPriority() { return ::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid())); }

TEST_CASE("only the thread that asks for it gets a lower priority") {
  const int before = OwnPriority();
  int lowered = 0;
  StartThread("lowered", [&lowered] {
    LowerThreadPriority();
    lowered = OwnPriority();
  }).join();
  CHECK(lowered == std::max(before, 10));
  CHECK(OwnPriority() == before);
}

}  // namespace
}  // namespace clusterpulse::base
