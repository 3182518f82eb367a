#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "tests/common/http/testing/raw_server.h"

namespace clusterpulse::history {

// A VictoriaMetrics that answers as a test says, and keeps what it took. Thread-safe. Does not imitate: parsing lines,
// queries, losing anything.
class FakeVm {
 public:
  struct Import {
    std::string target, authorization;
    std::string lines;  // uncompressed
    bool is_gzip = false;
  };
  struct Reply {
    int code = 204;
    std::string headers, body;
    bool hang = false;   // no answer, until the client gives up
    bool reset = false;  // the connection breaks instead
  };
  using Script = std::function<Reply(const Import& import)>;

  FakeVm();

  std::string url() const { return server_->url(); }
  // Empty: everything is taken.
  void SetScript(Script script);
  // What /metrics tells; nullopt: 404.
  void SetStart(std::optional<std::int64_t> start);
  // ... and of its flag -retentionPeriod; empty: nothing.
  void SetRetention(std::string retention);
  // What is answered to a search for samples; at first 400.
  void SetExport(std::function<Reply(const std::string& target)> script);

  std::vector<Import> imports() const;     // all requests, in order; those with an empty body too
  std::vector<std::string> taken() const;  // lines of those answered with 2xx, without their ends
  int looks() const;
  std::vector<std::string> searches() const;  // targets
  // "look", "import" or "search" for each request, in order.
  std::vector<std::string> order() const;

 private:
  void Serve(http::RawServer::Connection& connection);
  Reply Handle(const Import& import);

  mutable base::Mutex mu_;
  Script script_ ABSL_GUARDED_BY(mu_);
  std::optional<std::int64_t> start_ ABSL_GUARDED_BY(mu_);
  std::string retention_ ABSL_GUARDED_BY(mu_);
  std::function<Reply(const std::string& target)> export_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> searches_ ABSL_GUARDED_BY(mu_);
  std::vector<Import> imports_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> taken_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> order_ ABSL_GUARDED_BY(mu_);
  std::optional<http::RawServer> server_;  // last: its threads use the others
};

}  // namespace clusterpulse::history
