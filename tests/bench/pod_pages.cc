#include "tests/bench/pod_pages.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace clusterpulse::bench {
namespace {

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

// The lines of data/pods.json: one pod each.
std::vector<std::string> LoadPods() {
  std::ifstream file(CLUSTERPULSE_POD_DATA);
  std::vector<std::string> pods;
  for (std::string line; std::getline(file, line);) {
    const auto begin = line.find('{');
    const auto end = line.rfind('}');
    if (begin != std::string::npos && end != std::string::npos) pods.push_back(line.substr(begin, end - begin + 1));
  }
  if (pods.empty()) Fail("no pods in " CLUSTERPULSE_POD_DATA);
  return pods;
}

// Replaces the value of the first `"key":"..."` behind `from`.
void SetText(std::string& json, std::string_view key, std::size_t from, const std::string& value) {
  const std::string begin = fmt::format("\"{}\":\"", key);
  const auto at = json.find(begin, from);
  const auto end = at == std::string::npos ? at : json.find('"', at + begin.size());
  if (end == std::string::npos) Fail("a pod without " + std::string(key));
  json.replace(at + begin.size(), end - at - begin.size(), value);
}

}  // namespace

std::string MakePodPage(int first, int count, int total) {
  static const std::vector<std::string> captured = LoadPods();
  const int rest = total - first - count;
  std::string page = R"({"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"480911")";
  if (rest > 0) page += fmt::format(R"(,"continue":"{}","remainingItemCount":{})", first + count, rest);
  page += R"(},"items":[)";
  for (int i = first; i < first + count; ++i) {
    std::string pod = captured[static_cast<std::size_t>(i) % captured.size()];
    const auto metadata = pod.find("\"metadata\":{");
    SetText(pod, "name", metadata, fmt::format("workload-{:05}-7c9d5b8f6d-2xkqz", i));
    SetText(pod, "uid", metadata, fmt::format("{:08x}-748c-40c2-a8f1-9d758b4e4bc3", i));
    if (i > first) page += ',';
    page += pod;
  }
  page += "]}\n";
  return page;
}

}  // namespace clusterpulse::bench
