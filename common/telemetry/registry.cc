#include "common/telemetry/registry.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <utility>

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "common/base/mutex.h"

namespace clusterpulse::telemetry {

void Counter::Add(double by) const {
  if (counter_ != nullptr) counter_->Increment(by);
}
double Counter::Value() const { return counter_ != nullptr ? counter_->Value() : 0; }
void Gauge::Set(double value) const {
  if (gauge_ != nullptr) gauge_->Set(value);
}
void Gauge::Add(double by) const {
  if (gauge_ != nullptr) gauge_->Increment(by);
}
double Gauge::Value() const { return gauge_ != nullptr ? gauge_->Value() : 0; }
void Histogram::Observe(double value) const {
  if (histogram_ != nullptr) histogram_->Observe(value);
}

struct Registry::State {
  struct Family {
    Description description;
    std::vector<double> buckets;
    prometheus::Family<prometheus::Counter>* counters = nullptr;
    prometheus::Family<prometheus::Gauge>* gauges = nullptr;
    prometheus::Family<prometheus::Histogram>* histograms = nullptr;
    std::map<std::vector<std::string>, prometheus::Counter*> made_counters;  // by label values
    std::map<std::vector<std::string>, prometheus::Gauge*> made_gauges;

    prometheus::Counter& MakeCounter(std::initializer_list<std::string_view> label_values) {
      prometheus::Counter& counter = counters->Add(LabelMap(*this, label_values));
      made_counters[{label_values.begin(), label_values.end()}] = &counter;
      return counter;
    }
  };

  prometheus::Registry registry;
  mutable base::Mutex mu;
  std::vector<Family> families ABSL_GUARDED_BY(mu);

  // Held while collectors run, so that one which was removed is not running any more. Taken before mu, never after.
  base::Mutex collect_mu;
  std::map<int, std::function<void()>> collectors ABSL_GUARDED_BY(collect_mu);
  int next_collector ABSL_GUARDED_BY(collect_mu) = 1;

  // Index of the family called `name`, made by `make` when it is new.
  template <typename Make>
  std::size_t Find(std::string name, std::string help, std::string type, std::vector<std::string> labels, Make make) {
    base::MutexLock lock(mu);
    for (std::size_t i = 0; i < families.size(); ++i) {
      const Description& known = families[i].description;
      if (known.name != name) continue;
      if (known.type != type || known.labels != labels) std::abort();  // our own invariant
      return i;
    }
    Family family;
    family.description = {std::move(name), std::move(type), std::move(help), std::move(labels)};
    make(family);
    families.push_back(std::move(family));
    return families.size() - 1;
  }

  // Removes from `family` those of `made` whose label values begin with `first`.
  template <typename Metric>
  static void Remove(prometheus::Family<Metric>& family, std::map<std::vector<std::string>, Metric*>& made,
                     std::initializer_list<std::string_view> first) {
    const auto begins = [&](const std::vector<std::string>& values) {
      return values.size() >= first.size() && std::equal(first.begin(), first.end(), values.begin());
    };
    auto it = made.lower_bound({first.begin(), first.end()});
    while (it != made.end() && begins(it->first)) {
      family.Remove(it->second);
      it = made.erase(it);
    }
  }

  static std::map<std::string, std::string> LabelMap(const Family& family,
                                                     std::initializer_list<std::string_view> values) {
    if (values.size() != family.description.labels.size()) std::abort();  // our own invariant
    std::map<std::string, std::string> labels;
    auto value = values.begin();
    for (const std::string& name : family.description.labels) labels.emplace(name, *value++);
    return labels;
  }
};

Registry::Registry() : state_(std::make_unique<State>()) {}
Registry::~Registry() = default;

Registry::CounterFamily Registry::Counters(std::string name, std::string help, std::vector<std::string> labels) {
  CounterFamily out;
  out.registry_ = this;
  out.family_ = state_->Find(std::move(name), std::move(help), "counter", std::move(labels), [this](State::Family& f) {
    f.counters =
        &prometheus::BuildCounter().Name(f.description.name).Help(f.description.help).Register(state_->registry);
  });
  return out;
}

Registry::GaugeFamily Registry::Gauges(std::string name, std::string help, std::vector<std::string> labels) {
  GaugeFamily out;
  out.registry_ = this;
  out.family_ = state_->Find(std::move(name), std::move(help), "gauge", std::move(labels), [this](State::Family& f) {
    f.gauges = &prometheus::BuildGauge().Name(f.description.name).Help(f.description.help).Register(state_->registry);
  });
  return out;
}

Registry::HistogramFamily Registry::Histograms(std::string name, std::string help, std::vector<double> buckets,
                                               std::vector<std::string> labels) {
  HistogramFamily out;
  out.registry_ = this;
  out.family_ =
      state_->Find(std::move(name), std::move(help), "histogram", std::move(labels), [&, this](State::Family& f) {
        f.buckets = std::move(buckets);
        f.histograms =
            &prometheus::BuildHistogram().Name(f.description.name).Help(f.description.help).Register(state_->registry);
      });
  return out;
}

Counter Registry::CounterFamily::With(std::initializer_list<std::string_view> label_values) const {
  if (registry_ == nullptr) return Counter();
  State& state = *registry_->state_;
  base::MutexLock lock(state.mu);
  return Counter(&state.families[family_].MakeCounter(label_values));
}

void Registry::CounterFamily::Add(std::initializer_list<std::string_view> label_values, double by) const {
  if (registry_ == nullptr) return;
  State& state = *registry_->state_;
  base::MutexLock lock(state.mu);
  state.families[family_].MakeCounter(label_values).Increment(by);
}

void Registry::CounterFamily::Remove(std::initializer_list<std::string_view> first_label_values) const {
  if (registry_ == nullptr) return;
  State& state = *registry_->state_;
  base::MutexLock lock(state.mu);
  State::Family& family = state.families[family_];
  State::Remove(*family.counters, family.made_counters, first_label_values);
}

Gauge Registry::GaugeFamily::With(std::initializer_list<std::string_view> label_values) const {
  if (registry_ == nullptr) return Gauge();
  State& state = *registry_->state_;
  base::MutexLock lock(state.mu);
  State::Family& family = state.families[family_];
  prometheus::Gauge* gauge = &family.gauges->Add(State::LabelMap(family, label_values));
  family.made_gauges[{label_values.begin(), label_values.end()}] = gauge;
  return Gauge(gauge);
}

void Registry::GaugeFamily::Remove(std::initializer_list<std::string_view> first_label_values) const {
  if (registry_ == nullptr) return;
  State& state = *registry_->state_;
  base::MutexLock lock(state.mu);
  State::Family& family = state.families[family_];
  State::Remove(*family.gauges, family.made_gauges, first_label_values);
}

Histogram Registry::HistogramFamily::With(std::initializer_list<std::string_view> label_values) const {
  if (registry_ == nullptr) return Histogram();
  State& state = *registry_->state_;
  base::MutexLock lock(state.mu);
  const State::Family& family = state.families[family_];
  return Histogram(&family.histograms->Add(State::LabelMap(family, label_values), family.buckets));
}

int Registry::AddCollector(std::function<void()> collect) {
  base::MutexLock lock(state_->collect_mu);
  const int id = state_->next_collector++;
  state_->collectors.emplace(id, std::move(collect));
  return id;
}

void Registry::RemoveCollector(int id) {
  base::MutexLock lock(state_->collect_mu);
  state_->collectors.erase(id);
}

std::string Registry::Render() {
  {
    base::MutexLock lock(state_->collect_mu);
    for (const auto& [id, collect] : state_->collectors) collect();
  }
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

std::vector<Description> Registry::Describe() const {
  std::vector<Description> all;
  {
    base::MutexLock lock(state_->mu);
    for (const State::Family& family : state_->families) all.push_back(family.description);
  }
  std::sort(all.begin(), all.end(), [](const Description& a, const Description& b) { return a.name < b.name; });
  return all;
}

std::vector<double> LatencyBuckets() { return {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}; }

}  // namespace clusterpulse::telemetry
