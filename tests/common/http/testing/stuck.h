#pragma once

#include <chrono>

namespace clusterpulse::http {

// Two places where connecting gets stuck, on this machine and without privileges, for tests that cancel there.

// A listener on 127.0.0.1 whose backlog is full: a further connection is neither accepted nor refused.
class FullListener {
 public:
  FullListener();
  ~FullListener();
  int port() const { return port_; }
  // Waits until somebody tries to connect; false when `limit` passed first.
  bool WaitForConnect(std::chrono::milliseconds limit) const;

 private:
  int port_ = 0;
  int listener_ = -1;
  int filler_ = -1;
};

// Holds every lookup of kStuckName in this process as a name server that never answers would: getaddrinfo does not
// return while one of these lives. Other names are looked up as ever. At most one at a time.
class StuckResolver {
 public:
  static constexpr const char* kStuckName = "no-answer.invalid";

  StuckResolver();
  // Lets the held lookups fail and waits until they have returned.
  ~StuckResolver();
  // Waits until a lookup is held; false when `limit` passed first.
  bool WaitForLookup(std::chrono::milliseconds limit);
};

}  // namespace clusterpulse::http
