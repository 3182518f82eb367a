#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/process.h"

namespace clusterpulse::testing {

// A real VictoriaMetrics (single node) of the test's own on 127.0.0.1, killed with the test. Confined to one thread.
//
//   auto vm = VictoriaMetricsServer::Start();  // null: not to be had here, the reason was printed
//   ... write to vm->url() ...
//   vm->Flush();
//   CHECK(vm->Export("clusterpulse_cluster_nodes_total").size() == 1);
class VictoriaMetricsServer {
 public:
  struct Options {
    bool auth = false;               // basic authentication as username() with password()
    bool tls = false;                // with the certificate of `tls/server.crt`, for localhost and 127.0.0.1
    bool dedup = true;               // -dedup.minScrapeInterval=1ms, as the chart and the docs have it
    std::vector<std::string> flags;  // more of them
    int port = 0;                    // 0: a free one
  };

  // Null when victoria-metrics is not in PATH: the caller prints nothing more and returns, unless
  // CLUSTERPULSE_REQUIRE_REAL is set, in which case this aborts the test run. Waits until it answers.
  static std::unique_ptr<VictoriaMetricsServer> Start(Options options);
  static std::unique_ptr<VictoriaMetricsServer> Start() { return Start(Options()); }

  int port() const { return port_; }
  int pid() const { return process_->pid(); }
  // As VM_ENDPOINT has it.
  std::string url() const;
  std::string username() const { return options_.auth ? "hub" : ""; }
  std::string password() const { return options_.auth ? "correct horse battery staple" : ""; }
  std::string password_file() const { return options_.auth ? dir_.File("password") : ""; }
  std::string ca_file() const { return options_.tls ? dir_.File("tls/ca.crt") : ""; }
  std::string other_ca_file() const { return dir_.File("tls/other-ca.crt"); }

  bool IsRunning() { return process_->running(); }
  void Kill9();
  void Stop();    // SIGTERM and wait: everything taken is on disk
  void Freeze();  // SIGSTOP: connections stay open and nothing answers
  void Resume();
  // On the same port and data after Kill9 or Stop. True once it answers.
  bool Restart();

  // What was taken becomes visible to Export, and is on disk.
  void Flush();
  struct Series {
    std::map<std::string, std::string> labels;             // "__name__" too
    std::vector<std::pair<std::int64_t, double>> samples;  // ms and value, by time
  };
  // Every raw sample there is of what `selector` names: "{cluster=\"a\"}". Flush first.
  std::vector<Series> Export(const std::string& selector) const;
  // How many samples that is.
  std::size_t CountSamples(const std::string& selector) const;
  // Posted as they are: lines of Prometheus' text format. The HTTP code.
  int Import(const std::string& lines) const;
  // What GET gives; nullopt: nobody answered, or not with 200.
  std::optional<std::string> Get(const std::string& target) const;

 private:
  explicit VictoriaMetricsServer(Options options);
  bool Launch();
  int Fetch(const std::string& method, const std::string& target, const std::string& body, std::string& answer) const;

  const Options options_;
  const int port_;
  TempDir dir_;
  std::optional<ChildProcess> process_;
};

}  // namespace clusterpulse::testing
