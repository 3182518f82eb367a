// Samples into a real VictoriaMetrics: the hub's writer (batches to lines, compressed, posted) and curl, which posts
// the very bodies that the writer makes, from files, with as many requests at once. Both run in turns on new times of
// the same series, and the median of the rounds counts. CPU time is that of this process in the writer's rounds: all
// that the hub does for a sample between the batch and the answer.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "hub/history/gzip.h"
#include "hub/history/line_encoder.h"
#include "hub/history/victoria_metrics_writer.h"
#include "tests/bench/bench_row.h"
#include "tests/common/http/testing/raw_server.h"
#include "tests/hub/history/batches.h"
#include "tests/support/process.h"
#include "tests/support/victoria_metrics_server.h"

namespace clusterpulse::history {
namespace {

using testing::VictoriaMetricsServer;
using Batches = std::vector<model::Batch>;

constexpr int kClusters = 100, kNodes = 50;
constexpr std::size_t kSamplesOfBatch = kNodes * kSamplesOfNode;

[[noreturn]] void Fail(std::string_view what) {
  std::fprintf(stderr, "history_bench: %.*s\n", static_cast<int>(what.size()), what.data());
  std::exit(1);
}

double CpuMicros() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

// `times` batches of each cluster, 30 s apart, at times that no call before gave. Values move a little, as they do.
Batches NextBatches(int times) {
  static base::SystemTime at = base::SystemClock().Now() - std::chrono::hours(100);
  static base::SeededRandom random(5);
  Batches batches;
  for (int t = 0; t < times; ++t) {
    at += std::chrono::seconds(30);
    for (int c = 0; c < kClusters; ++c) {
      batches.push_back(NodeBatch(fmt::format("cluster-{:03}", c), kNodes, at + std::chrono::milliseconds(7 * c)));
      for (model::Node& node : *batches.back().snapshot.nodes) {
        node.pods.cpu_requested += 0.05 * static_cast<double>(random.Next() % 20);
        node.cpu_usage_percent = 100 * node.pods.cpu_requested / node.cpu_allocatable;
        node.pods.memory_requested += static_cast<std::int64_t>(random.Next() % 1000) << 20;
        node.memory_usage_percent = 100 * static_cast<double>(node.pods.memory_requested) / 66'353'446'912;
        node.pods.running += static_cast<int>(random.Next() % 3);
      }
    }
  }
  return batches;
}

struct Round {
  double seconds = 0, cpu_micros = 0;
};

// Until the last batch is accepted.
Round Write(const std::string& url, const Batches& batches) {
  VictoriaMetricsWriter::Options options;
  options.server.endpoint = url;
  options.server.proxy = {};
  auto made = VictoriaMetricsWriter::Create(options, base::SystemClock(), base::SystemRandom(), {});
  if (!made.ok() || !(*made)->Start().ok()) Fail("no writer");
  VictoriaMetricsWriter& writer = **made;
  // One that has been at work: the server was looked at, and is known for long enough.
  const auto first = writer.Write(SmallBatch("warm-up", batches.front().collected_at));
  if (!testing::Eventually(std::chrono::seconds(30), [&] { return first->Get().state == Ticket::State::kAccepted; })) {
    Fail("the server takes nothing");
  }
  std::vector<std::shared_ptr<const Ticket>> tickets;
  tickets.reserve(batches.size());
  const auto begin = base::SystemClock().Steady();
  const double cpu = CpuMicros();
  for (const model::Batch& batch : batches) tickets.push_back(writer.Write(batch));
  if (!writer.Stop(std::chrono::seconds(60))) Fail("the writer does not end");
  Round round{.cpu_micros = CpuMicros() - cpu};
  auto end = begin;
  for (const auto& ticket : tickets) {
    const auto outcome = ticket->Get();
    if (outcome.state != Ticket::State::kAccepted) Fail("a batch was not accepted");
    end = std::max(end, outcome.at);
  }
  round.seconds = std::chrono::duration<double>(end - begin).count();
  return round;
}

// The bodies that the writer posts for these batches, as files.
std::vector<std::string> Bodies(const Batches& batches, const testing::TempDir& dir) {
  http::RawServer recorder([](http::RawServer::Connection& connection, int) {
    for (std::string request; !(request = connection.ReadRequest()).empty();) {
      connection.Answer("", request.starts_with("POST") ? 204 : 404);
    }
  });
  Write(recorder.url(), batches);
  std::vector<std::string> files;
  for (const std::string& request : recorder.requests()) {
    if (!request.starts_with("POST")) continue;
    files.push_back(dir.File(fmt::format("body-{}", files.size())));
    testing::WriteFile(files.back(), request.substr(request.find("\r\n\r\n") + 4));
  }
  return files;
}

double Curl(const std::string& url, const std::vector<std::string>& files, const testing::TempDir& dir) {
  std::string config;
  for (const std::string& file : files) {
    if (!config.empty()) config += "next\n";
    config += fmt::format(
        "url = \"{}/api/v1/import/prometheus\"\nheader = \"Content-Encoding: gzip\"\nheader = \"Content-Type: "
        "text/plain\"\nheader = \"Expect:\"\ndata-binary = \"@{}\"\noutput = \"/dev/null\"\nfail\n",
        url, file);
  }
  testing::WriteFile(dir.File("curl.conf"), config);
  const auto begin = base::SystemClock().Steady();
  const auto result = testing::RunCommand(
      {"curl", "-sS", "--no-progress-meter", "-Z", "--parallel-max", "2", "-K", dir.File("curl.conf")});
  const double seconds = std::chrono::duration<double>(base::SystemClock().Steady() - begin).count();
  if (result.exit_code != 0) Fail("curl: " + result.out);
  return seconds;
}

// Where the time of a sample goes, apart from sending it: lines, and compressing them.
void PrintParts(const Batches& batches) {
  LineBuffer lines;
  Gzip gzip;
  double encode = 0, compress = 0;
  std::size_t text = 0, compressed = 0;
  for (const model::Batch& batch : batches) {
    const double begin = CpuMicros();
    LineEncoder encoder(lines, StampOf(batch), StampOf(batch));
    ForEachSample(batch, encoder);
    const double middle = CpuMicros();
    compressed += gzip.Compress(lines.view()).size();
    encode += middle - begin;
    compress += CpuMicros() - middle;
    text += lines.view().size();
    lines.Clear(1 << 20);
  }
  const auto samples = static_cast<double>(batches.size() * kSamplesOfBatch);
  fmt::print("history_parts: a sample: lines {:.3f} us, gzip {:.3f} us; {:.0f} bytes, compressed {:.1f}\n",
             encode / samples, compress / samples, static_cast<double>(text) / samples,
             static_cast<double>(compressed) / samples);
}

int Run(bool smoke) {
  const auto server = VictoriaMetricsServer::Start();
  if (server == nullptr) return 77;
  const int rounds = smoke ? 1 : 7, times = smoke ? 1 : 10;
  const testing::TempDir dir;
  PrintParts(NextBatches(times));
  Write(server->url(), NextBatches(1));  // the series are new to the server, once
  std::vector<double> ours, curl, ratio, cpu;
  for (int i = 0; i < rounds; ++i) {
    const auto samples = static_cast<double>(times * kClusters * kSamplesOfBatch);
    const Round round = Write(server->url(), NextBatches(times));
    ours.push_back(samples / round.seconds);
    cpu.push_back(round.cpu_micros / samples);
    const auto files = Bodies(NextBatches(times), dir);
    curl.push_back(samples / Curl(server->url(), files, dir));
    ratio.push_back(ours.back() / curl.back());
  }
  server->Flush();
  const std::size_t expected = static_cast<std::size_t>(1 + 2 * rounds * times) * kClusters * kNodes;
  if (server->CountSamples("clusterpulse_node_pods_total") != expected) Fail("samples are missing");
  bench::PrintRow("history_throughput",
                  fmt::format("{:.0f} k samples/s / curl with the same bodies {:.0f} k = ratio {:.2f}",
                              bench::Median(ours) / 1e3, bench::Median(curl) / 1e3, bench::Median(ratio)),
                  ">= 0.80", "0.95");
  bench::PrintRow("history_cpu", fmt::format("{:.3f} us of CPU a sample: lines, gzip, sending", bench::Median(cpu)),
                  "<= 0.400", "0.150");
  return smoke || (bench::Median(ratio) >= 0.8 && bench::Median(cpu) <= 0.4) ? 0 : 1;
}

}  // namespace
}  // namespace clusterpulse::history

int main(int argc, char** argv) {
  return clusterpulse::history::Run(argc > 1 && std::string_view(argv[1]) == "--smoke");
}
