#pragma once

#include <string>

namespace clusterpulse::testing {

struct HttpAnswer {
  int code = 0;      // 0: nobody answered within 5 s
  std::string body;  // then: why
};
// What the probe or metrics port of a program on this machine answers.
HttpAnswer HttpGet(int port, const std::string& path);

}  // namespace clusterpulse::testing
