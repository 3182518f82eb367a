#include "common/telemetry/registry.h"

#include <atomic>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

namespace clusterpulse::telemetry {
namespace {

bool Has(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST_CASE("metrics are rendered as Prometheus reads them") {
  Registry registry;
  const auto requests = registry.Counters("x_requests_total", "Requests.", {"cluster", "code"});
  requests.With({"a", "200"}).Add();
  requests.With({"a", "200"}).Add(2);
  requests.With({"odd \"\\\n", "500"}).Add();
  registry.Gauges("x_depth", "Depth.").With({}).Set(-1.5);
  const auto latency = registry.Histograms("x_seconds", "Latency.", {0.1, 1}, {"verb"}).With({"list"});
  latency.Observe(0.05);
  latency.Observe(0.5);
  latency.Observe(5);
  const std::string text = registry.Render();
  INFO(text);
  CHECK(Has(text, "# HELP x_requests_total Requests."));
  CHECK(Has(text, "# TYPE x_requests_total counter"));
  CHECK(Has(text, R"(x_requests_total{cluster="a",code="200"} 3)"));
  CHECK(Has(text, R"(x_requests_total{cluster="odd \"\\\n",code="500"} 1)"));
  CHECK(Has(text, "x_depth -1.5"));
  CHECK(Has(text, R"(x_seconds_bucket{verb="list",le="0.1"} 1)"));
  CHECK(Has(text, R"(x_seconds_bucket{verb="list",le="1"} 2)"));
  CHECK(Has(text, R"(x_seconds_bucket{verb="list",le="+Inf"} 3)"));
  CHECK(Has(text, R"(x_seconds_count{verb="list"} 3)"));
}

TEST_CASE("asking twice gives the same metric") {
  Registry registry;
  const Counter a = registry.Counters("x_total", "X.", {"l"}).With({"v"});
  const Counter b = registry.Counters("x_total", "X.", {"l"}).With({"v"});
  a.Add();
  b.Add();
  CHECK(a.Value() == 2);
  CHECK(registry.Counters("x_total", "X.", {"l"}).With({"w"}).Value() == 0);
  const Gauge g = registry.Gauges("x_size", "S.").With({});
  g.Set(3);
  registry.Gauges("x_size", "S.").With({}).Add(-1);
  CHECK(g.Value() == 2);
  registry.Histograms("x_seconds", "L.", LatencyBuckets()).With({}).Observe(1);
  registry.Histograms("x_seconds", "L.", LatencyBuckets()).With({}).Observe(1);
  CHECK(Has(registry.Render(), "x_seconds_count 2"));
}

TEST_CASE("handles without a registry count nothing") {
  Counter().Add();
  Gauge().Set(1);
  Histogram().Observe(1);
  Registry::CounterFamily().With({"a"}).Add();
  Registry::GaugeFamily().With({"a"}).Set(1);
  Registry::CounterFamily().Add({"a"});
  Registry::CounterFamily().Remove({"a"});
  Registry::GaugeFamily().Remove({"a"});
  Registry::HistogramFamily().With({"a"}).Observe(1);
  CHECK(Counter().Value() == 0);
  CHECK(Gauge().Value() == 0);
}

TEST_CASE("a removed series is gone and can come back") {
  Registry registry;
  const auto nodes = registry.Gauges("x_nodes", "Nodes.", {"cluster"});
  nodes.With({"a"}).Set(1);
  nodes.With({"b"}).Set(2);
  nodes.Remove({"a"});
  nodes.Remove({"a"});
  nodes.Remove({"never"});
  CHECK_FALSE(Has(registry.Render(), R"(x_nodes{cluster="a"} 1)"));
  CHECK(Has(registry.Render(), R"(x_nodes{cluster="b"} 2)"));
  nodes.With({"a"}).Set(5);
  CHECK(Has(registry.Render(), R"(x_nodes{cluster="a"} 5)"));
}

TEST_CASE("the series of an object that is gone go together, whatever their other labels") {
  Registry registry;
  const auto requests = registry.Counters("x_requests_total", "R.", {"cluster", "verb", "code"});
  for (const char* cluster : {"a", "a2", "b", ""}) {
    for (const char* verb : {"get", "list"}) requests.With({cluster, verb, "200"}).Add();
  }
  requests.Remove({"a"});
  requests.Remove({"never"});
  requests.Remove({"b", "get"});
  const std::string text = registry.Render();
  CHECK_FALSE(text.find(R"(cluster="a",)") != std::string::npos);
  CHECK(Has(text, R"(x_requests_total{cluster="",code="200",verb="get"} 1)"));
  CHECK(Has(text, R"(x_requests_total{cluster="a2",code="200",verb="list"} 1)"));
  CHECK(Has(text, R"(x_requests_total{cluster="b",code="200",verb="list"} 1)"));
  CHECK_FALSE(Has(text, R"(x_requests_total{cluster="b",code="200",verb="get"} 1)"));
  CHECK(requests.With({"a", "get", "200"}).Value() == 0);  // and can come back
}

TEST_CASE("collectors run before each render until removed") {
  Registry registry;
  int calls = 0;
  const int id = registry.AddCollector([&] { registry.Gauges("x_calls", "C.").With({}).Set(++calls); });
  CHECK(Has(registry.Render(), "x_calls 1"));
  CHECK(Has(registry.Render(), "x_calls 2"));
  registry.RemoveCollector(id);
  registry.RemoveCollector(id);
  CHECK(Has(registry.Render(), "x_calls 2"));
}

TEST_CASE("descriptions are sorted by name") {
  Registry registry;
  registry.Gauges("b", "B.", {"x", "y"});
  registry.Counters("a_total", "A.");
  registry.Histograms("c_seconds", "C.", {1});
  const auto all = registry.Describe();
  REQUIRE(all.size() == 3);
  CHECK(all[0].name + all[0].type + all[0].help == "a_totalcounterA.");
  CHECK(all[1].labels == std::vector<std::string>{"x", "y"});
  CHECK(all[2].type == "histogram");
}

TEST_CASE("threads make, count, remove and render at once") {
  Registry registry;
  const auto counters = registry.Counters("x_total", "X.", {"t"});
  const auto requests = registry.Counters("x_requests_total", "R.", {"cluster", "t"});
  std::atomic<bool> done{false};
  std::jthread renderer([&] {
    while (!done) registry.Render();
  });
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        const auto gauges = registry.Gauges("x_gauge", "G.", {"t"});
        const std::string label = std::to_string(t);
        for (int i = 0; i < 200; ++i) {
          counters.With({"shared"}).Add();
          requests.Add({"a", label});
          requests.Remove({"a"});
          gauges.With({label}).Set(i);
          gauges.Remove({label});
          registry.RemoveCollector(registry.AddCollector([] {}));
        }
      });
    }
  }
  done = true;
  renderer.join();
  CHECK(counters.With({"shared"}).Value() == 800);
}

}  // namespace
}  // namespace clusterpulse::telemetry
