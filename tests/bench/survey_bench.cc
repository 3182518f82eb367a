// One page of 500 pods, as it comes from an API server, made into compact records and tallied: the time of that divided
// by the time RapidJSON needs to parse the same bytes into its DOM and do nothing with it. Both are checked against
// each other first, run interleaved, and compared by their medians. The last line is the ratio.
#if defined(__SSE2__)
#define RAPIDJSON_SSE2  // the peer at its best with the product's compiler flags
#elif defined(__ARM_NEON)
#define RAPIDJSON_NEON
#endif

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <rapidjson/document.h>

#include "common/json/cursor.h"
#include "common/kube/quantity.h"
#include "common/kube/response_decoder.h"
#include "common/survey/pod.h"
#include "common/survey/pod_tally.h"
#include "tests/bench/pod_pages.h"

namespace clusterpulse {
namespace {

constexpr int kPods = 500;
constexpr double kMust = 1.0, kAim = 0.35;

const std::string& Page() {
  static const std::string page = bench::MakePodPage(0, kPods, 10000);
  return page;
}

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "survey_bench: %s\n", what);
  std::exit(1);
}

void PodPageToRecords(benchmark::State& state) {
  json::Parser parser;
  json::Buffer page;
  page.Append(Page());
  survey::PodTally tally;
  survey::PodRecord pod;
  survey::Unreadable unreadable;
  for (auto _ : state) {
    tally.Clear();
    const auto read = kube::DecodeList(parser, page, [&](json::Cursor object) -> absl::Status {
      RETURN_IF_ERROR(survey::ReadPod(object, pod, unreadable));
      tally.Add(pod);
      return absl::OkStatus();
    });
    if (!read.ok() || tally.All().total != kPods || read->continue_token != "500") Fail("wrong result");
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * Page().size()));
}
BENCHMARK(PodPageToRecords)->Unit(benchmark::kMicrosecond);

void RapidJsonDom(benchmark::State& state) {
  const std::string& page = Page();
  for (auto _ : state) {
    rapidjson::Document document;
    document.Parse(page.data(), page.size());
    if (document.HasParseError()) Fail("the peer cannot parse the page");
    benchmark::DoNotOptimize(document);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * page.size()));
}
BENCHMARK(RapidJsonDom)->Unit(benchmark::kMicrosecond);

// The same record, read from the DOM.
survey::PodRecord FromDom(const rapidjson::Value& pod) {
  survey::PodRecord record;
  const auto& spec = pod["spec"];
  if (spec.HasMember("nodeName")) record.node = spec["nodeName"].GetString();
  record.phase = survey::ParsePodPhase(pod["status"]["phase"].GetString());
  const auto asked = [](const rapidjson::Value& container, const char* what) {
    const auto& resources = container["resources"];
    if (!resources.HasMember("requests") || !resources["requests"].HasMember(what)) return kube::Quantity();
    return kube::Quantity::Parse(resources["requests"][what].GetString()).value();
  };
  survey::Requests init;
  for (const auto& container : spec["containers"].GetArray()) {
    record.requests += {asked(container, "cpu"), asked(container, "memory")};
  }
  if (spec.HasMember("initContainers")) {
    for (const auto& container : spec["initContainers"].GetArray()) {
      init.cpu = std::max(init.cpu, asked(container, "cpu"));
      init.memory = std::max(init.memory, asked(container, "memory"));
    }
  }
  record.requests = {std::max(record.requests.cpu, init.cpu), std::max(record.requests.memory, init.memory)};
  return record;
}

void CheckResults() {
  std::vector<survey::PodRecord> records;
  survey::Unreadable unreadable;
  json::Parser parser;
  json::Buffer page;
  page.Append(Page());
  const auto read = kube::DecodeList(
      parser, page, [&](json::Cursor object) { return survey::ReadPod(object, records.emplace_back(), unreadable); });
  rapidjson::Document document;
  document.Parse(Page().data(), Page().size());
  if (!read.ok() || document.HasParseError() || records.size() != kPods) Fail("the page cannot be read");
  if (unreadable.quantities != 0) Fail("unreadable quantities");
  for (int i = 0; i < kPods; ++i) {
    if (!(records[static_cast<std::size_t>(i)] == FromDom(document["items"][static_cast<rapidjson::SizeType>(i)]))) {
      Fail("a record differs from what the DOM says");
    }
  }
}

class MedianReporter : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const auto& run : runs) {
      if (run.run_type == Run::RT_Iteration && run.iterations > 0) {
        times_[run.run_name.function_name].push_back(run.cpu_accumulated_time / static_cast<double>(run.iterations));
      }
    }
    ConsoleReporter::ReportRuns(runs);
  }
  double Median(const std::string& name) {
    auto& times = times_[name];
    if (times.empty()) return 0;
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

 private:
  std::map<std::string, std::vector<double>> times_;
};

}  // namespace
}  // namespace clusterpulse

int main(int argc, char** argv) {
  using namespace clusterpulse;
  char repetitions[] = "--benchmark_repetitions=7";
  char interleaving[] = "--benchmark_enable_random_interleaving=true";
  std::vector<char*> arguments(argv, argv + argc);
  arguments.insert(arguments.begin() + 1, {repetitions, interleaving});  // the caller's own come later and win
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  CheckResults();
  MedianReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  const double ours = reporter.Median("PodPageToRecords");
  const double peer = reporter.Median("RapidJsonDom");
  if (ours == 0 || peer == 0) return 0;  // filtered out
  std::printf(
      "pods_page_projection: %d pods, %.1f KB each: %.2f ms / RapidJSON DOM %.2f ms = ratio %.3f (must <= %.2f, aim "
      "%.2f)\n",
      kPods, static_cast<double>(Page().size()) / kPods / 1000, ours * 1e3, peer * 1e3, ours / peer, kMust, kAim);
  return ours / peer <= kMust ? 0 : 1;
}
