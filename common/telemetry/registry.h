#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace clusterpulse::telemetry {

// Our own metrics, in Prometheus' terms. Handles are cheap copies, thread-safe, and live as long as the Registry; a
// default-made handle counts nothing, so that components work without telemetry.
class Counter {
 public:
  Counter() = default;
  explicit Counter(prometheus::Counter* counter) : counter_(counter) {}
  void Add(double by = 1) const;
  double Value() const;

 private:
  prometheus::Counter* counter_ = nullptr;
};

class Gauge {
 public:
  Gauge() = default;
  explicit Gauge(prometheus::Gauge* gauge) : gauge_(gauge) {}
  void Set(double value) const;
  void Add(double by) const;
  double Value() const;

 private:
  prometheus::Gauge* gauge_ = nullptr;
};

class Histogram {
 public:
  Histogram() = default;
  explicit Histogram(prometheus::Histogram* histogram) : histogram_(histogram) {}
  void Observe(double value) const;

 private:
  prometheus::Histogram* histogram_ = nullptr;
};

struct Description {
  std::string name, type, help;
  std::vector<std::string> labels;
};

// Makes and keeps the metrics of one process. Thread-safe. Asking twice for the same name and label values gives the
// same metric. Names carry their unit (_seconds, _bytes, _total); label values come from closed or bounded sets.
// REQUIRES (own invariant, aborts): a name is always used with the same type and label names.
class Registry {
 public:
  Registry();
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  class CounterFamily {
   public:
    CounterFamily() = default;
    Counter With(std::initializer_list<std::string_view> label_values) const;
    // With and Add in one step that no Remove can come between.
    void Add(std::initializer_list<std::string_view> label_values, double by = 1) const;
    // Drops every time series whose first labels have these values, for objects that are gone (clusters). Handles to
    // them must not be used again.
    void Remove(std::initializer_list<std::string_view> first_label_values) const;

   private:
    friend class Registry;
    Registry* registry_ = nullptr;
    std::size_t family_ = 0;
  };
  class GaugeFamily {
   public:
    GaugeFamily() = default;
    Gauge With(std::initializer_list<std::string_view> label_values) const;
    // As CounterFamily::Remove.
    void Remove(std::initializer_list<std::string_view> first_label_values) const;

   private:
    friend class Registry;
    Registry* registry_ = nullptr;
    std::size_t family_ = 0;
  };
  class HistogramFamily {
   public:
    HistogramFamily() = default;
    Histogram With(std::initializer_list<std::string_view> label_values) const;

   private:
    friend class Registry;
    Registry* registry_ = nullptr;
    std::size_t family_ = 0;
  };

  CounterFamily Counters(std::string name, std::string help, std::vector<std::string> labels = {});
  GaugeFamily Gauges(std::string name, std::string help, std::vector<std::string> labels = {});
  HistogramFamily Histograms(std::string name, std::string help, std::vector<double> buckets,
                             std::vector<std::string> labels = {});

  // Called before every Render, to set gauges that are read and not counted (queue depth, memory). `collect` must not
  // call AddCollector or RemoveCollector; it is not running any more when RemoveCollector returns.
  int AddCollector(std::function<void()> collect);
  void RemoveCollector(int id);

  // Prometheus text format 0.0.4.
  std::string Render();
  // Every family there is, by name: what docs/metrics.md is checked against.
  std::vector<Description> Describe() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// 5 ms .. 60 s, for requests and reconciles.
std::vector<double> LatencyBuckets();

}  // namespace clusterpulse::telemetry
