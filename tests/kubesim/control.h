#pragma once

#include <string>

#include <absl/status/statusor.h>

#include "tests/kubesim/kubesim.h"

namespace clusterpulse::kubesim {

// What the control port understands, one line per command; shown by --help and GET /.
extern const char* const kControlHelp;

// The plain HTTP port through which scripts and tests command a running kubesim. `sim` is borrowed and must outlive it.
class ControlServer {
 public:
  ControlServer(Kubesim& sim, std::string host, int port);
  absl::Status Start() { return http_.Start(); }
  int port() const { return http_.port(); }

 private:
  void Handle(Exchange& exchange);
  // Does what a POST asks for: all of it, or nothing and kInvalidArgument.
  absl::Status Run(const HttpRequest& request);
  std::string Describe() const;

  Kubesim& sim_;
  Gate gate_;
  HttpServer http_;
};

}  // namespace clusterpulse::kubesim
