#include "tests/support/victoria_metrics_server.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

#include "common/http/client.h"
#include "common/http/url.h"
#include "common/json/buffer.h"
#include "common/json/cursor.h"

namespace clusterpulse::testing {

std::unique_ptr<VictoriaMetricsServer> VictoriaMetricsServer::Start(Options options) {
  // Its -version ends at once with 0, a missing program with 127.
  if (RunCommand({"victoria-metrics", "-version"}).exit_code != 0) {
    std::fprintf(stderr, "SKIPPED: victoria-metrics is not in PATH, tests against a real VictoriaMetrics do not run\n");
    if (std::getenv("CLUSTERPULSE_REQUIRE_REAL") != nullptr) std::abort();
    return nullptr;
  }
  std::unique_ptr<VictoriaMetricsServer> server(new VictoriaMetricsServer(std::move(options)));
  if (!server->Launch()) {
    std::fprintf(stderr, "victoria-metrics did not start:\n%s\n", ReadFile(server->dir_.File("log")).c_str());
    std::abort();  // it is there and does not work: no reason to skip
  }
  return server;
}

VictoriaMetricsServer::VictoriaMetricsServer(Options options)
    : options_(std::move(options)), port_(options_.port != 0 ? options_.port : FreePort()) {
  if (options_.auth) WriteFile(dir_.File("password"), password() + "\n");
  if (options_.tls) {
    RunCommand({std::string(CLUSTERPULSE_SOURCE_DIR) + "/tests/support/certs.sh", dir_.File("tls")});
  }
}

std::string VictoriaMetricsServer::url() const {
  return fmt::format("{}://localhost:{}", options_.tls ? "https" : "http", port_);
}

bool VictoriaMetricsServer::Launch() {
  // Old samples are kept, so that tests may use any clock.
  std::vector<std::string> argv = {"victoria-metrics",
                                   fmt::format("-httpListenAddr=127.0.0.1:{}", port_),
                                   "-storageDataPath=" + dir_.File("data"),
                                   "-retentionPeriod=100y",
                                   "-search.latencyOffset=0s",
                                   "-search.disableCache",
                                   "-memory.allowedPercent=10"};
  if (options_.dedup) argv.push_back("-dedup.minScrapeInterval=1ms");
  if (options_.auth) {
    argv.insert(argv.end(), {"-httpAuth.username=" + username(), "-httpAuth.password=" + password()});
  }
  if (options_.tls) {
    argv.insert(argv.end(),
                {"-tls", "-tlsCertFile=" + dir_.File("tls/server.crt"), "-tlsKeyFile=" + dir_.File("tls/server.key")});
  }
  argv.insert(argv.end(), options_.flags.begin(), options_.flags.end());
  auto process = ChildProcess::Start({.argv = argv, .env = {}, .unset = {}, .output = dir_.File("log")});
  if (!process.ok()) return false;
  process_ = *std::move(process);
  return Eventually(std::chrono::seconds(15), [this] { return Get("/metrics").has_value(); });
}

void VictoriaMetricsServer::Kill9() { process_->Kill9(); }
void VictoriaMetricsServer::Stop() { process_->Stop(std::chrono::seconds(30)); }
void VictoriaMetricsServer::Freeze() { process_->Signal(SIGSTOP); }
void VictoriaMetricsServer::Resume() { process_->Signal(SIGCONT); }
bool VictoriaMetricsServer::Restart() { return Launch(); }

int VictoriaMetricsServer::Fetch(const std::string& method, const std::string& target, const std::string& body,
                                 std::string& answer) const {
  http::Client::Options options;
  options.base_url = url();
  options.proxy_settings = {};
  options.tls.ca_pem = options_.tls ? ReadFile(ca_file()) : "";
  const auto client = http::Client::Create(std::move(options));
  if (!client.ok()) return 0;
  http::Request request{.method = method, .target = target, .body = body};
  if (options_.auth) {
    // "hub:correct horse battery staple"
    request.headers.emplace_back("Authorization", "Basic aHViOmNvcnJlY3QgaG9yc2UgYmF0dGVyeSBzdGFwbGU=");
  }
  json::Buffer text;
  http::Limits limits;
  limits.timeout = std::chrono::seconds(10);
  const auto response = (*client)->Fetch(request, text, limits);
  if (!response.ok()) return 0;
  answer = text.view();
  return response->code;
}

std::optional<std::string> VictoriaMetricsServer::Get(const std::string& target) const {
  std::string answer;
  if (Fetch("GET", target, "", answer) != 200) return std::nullopt;
  return answer;
}

int VictoriaMetricsServer::Import(const std::string& lines) const {
  std::string answer;
  return Fetch("POST", "/api/v1/import/prometheus", lines, answer);
}

void VictoriaMetricsServer::Flush() { Get("/internal/force_flush"); }

std::vector<VictoriaMetricsServer::Series> VictoriaMetricsServer::Export(const std::string& selector) const {
  std::vector<Series> all;
  // From the first to the last moment that it keeps; without, only the newest are exported.
  std::string target = "/api/v1/export";
  http::AppendQuery(target, "match[]", selector);
  http::AppendQuery(target, "start", "1");
  http::AppendQuery(target, "end", "9000000000");
  const std::string answer = Get(target).value_or("");
  json::Parser parser;
  for (std::size_t begin = 0; begin < answer.size();) {
    const std::size_t end = std::min(answer.find('\n', begin), answer.size());
    Series series;
    std::vector<std::int64_t> times;
    std::vector<double> values;
    const absl::Status status =
        parser.Parse(std::string_view(answer).substr(begin, end - begin), [&](json::Cursor line) {
          return line.ForEachMember([&](std::string_view key, json::Cursor member) -> absl::Status {
            if (key == "metric") {
              return member.ForEachMember(
                  [&](std::string_view label, json::Cursor value) { value.Get(series.labels[std::string(label)]); });
            }
            return member.ForEachElement([&](json::Cursor element) {
              if (key == "timestamps") element.Get(times.emplace_back());
              if (key == "values") element.Get(values.emplace_back());
            });
          });
        });
    begin = end + 1;
    if (!status.ok() || times.size() != values.size()) std::abort();  // no answer of its kind
    for (std::size_t i = 0; i < times.size(); ++i) series.samples.emplace_back(times[i], values[i]);
    std::sort(series.samples.begin(), series.samples.end());
    all.push_back(std::move(series));
  }
  return all;
}

std::size_t VictoriaMetricsServer::CountSamples(const std::string& selector) const {
  std::size_t count = 0;
  for (const Series& series : Export(selector)) count += series.samples.size();
  return count;
}

}  // namespace clusterpulse::testing
