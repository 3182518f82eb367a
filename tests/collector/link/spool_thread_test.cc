#include "collector/link/spool_thread.h"

#include <semaphore>

#include <catch2/catch.hpp>

namespace clusterpulse::link {
namespace {

TEST_CASE("the spool's thread takes a turn after each wake, one more for those that come meanwhile, and none unasked") {
  std::counting_semaphore<> begun{0}, may_end{0};
  int turns = 0;
  SpoolThread thread([&] {
    ++turns;
    begun.release();
    may_end.acquire();
  });
  thread.Wake();  // before it is started too
  thread.Start();
  begun.acquire();
  for (int i = 0; i < 5; ++i) thread.Wake();
  may_end.release();
  begun.acquire();
  may_end.release();
  thread.Stop();
  thread.Stop();
  CHECK(turns == 2);
}

TEST_CASE("a thread that was never started stops, and a wake after the end is nothing") {
  int turns = 0;
  SpoolThread thread([&turns] { ++turns; });
  thread.Stop();
  thread.Wake();
  CHECK(turns == 0);
}

}  // namespace
}  // namespace clusterpulse::link
