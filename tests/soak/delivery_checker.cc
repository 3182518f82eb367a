#include "tests/soak/delivery_checker.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "common/model/seq_set.h"

namespace clusterpulse::testing {
namespace {

// VictoriaMetrics keeps decimal digits, some twelve of them, not bits.
bool IsSame(double a, double b) { return std::abs(a - b) <= 1e-11 * std::max(std::abs(a), std::abs(b)); }

using Breach = DeliveryVerdict::Breach;

const char* ToString(Breach breach) {
  switch (breach) {
    case Breach::kLost:
      return "durable and lost";
    case Breach::kGone:
      return "gone without a gap";
    case Breach::kUnknown:
      return "a number nobody knows";
    case Breach::kTwice:
      return "stored twice";
    case Breach::kWrongTime:
      return "stored at a time nobody produced it";
    case Breach::kWrongValue:
      return "stored with a value nobody produced";
  }
  return "";
}

class Checker {
 public:
  explicit Checker(const DeliveryRecord& record) : record_(record), durable_(record.durable) {}

  DeliveryVerdict Run() {
    CheckStored();
    for (const auto& [instance, batches] : record_.produced) CheckInstance(instance, batches);
    return std::move(verdict_);
  }

 private:
  template <typename... Args>
  void Violation(Breach breach, fmt::format_string<Args...> format, Args&&... args) {
    if (++said_[breach] > DeliveryVerdict::kMostViolations) return;
    verdict_.violations.push_back({breach, fmt::format("{}: {}: {}", record_.cluster, ToString(breach),
                                                       fmt::format(format, std::forward<Args>(args)...))});
  }

  void CheckStored() {
    std::map<std::pair<std::uint32_t, std::int64_t>, std::vector<double>> produced;
    for (const auto& [instance, batches] : record_.produced) {
      for (const auto& [seq, batch] : batches) {
        for (const auto& [series, value] : batch.samples) produced[{series, batch.stamp_ms}].push_back(value);
      }
    }
    for (const auto& [series, samples] : record_.stored) {
      const std::string& name = record_.SeriesName(series);
      for (const DeliveryRecord::Sample& sample : samples) {
        if (!stored_.emplace(series, sample.stamp_ms).second) {
          Violation(Breach::kTwice, "{} at {}", name, sample.stamp_ms);
          continue;
        }
        const auto made = produced.find({series, sample.stamp_ms});
        if (made == produced.end()) {
          Violation(Breach::kWrongTime, "{} at {}", name, sample.stamp_ms);
        } else if (std::none_of(made->second.begin(), made->second.end(),
                                [&](double value) { return IsSame(value, sample.value); })) {
          Violation(Breach::kWrongValue, "{} at {} is {}, was {}", name, sample.stamp_ms, sample.value,
                    made->second.front());
        } else {
          ++verdict_.samples;
        }
      }
    }
  }

  bool IsStored(const DeliveryRecord::Batch& batch, std::string& missing) const {
    for (const auto& [series, value] : batch.samples) {
      if (stored_.contains({series, batch.stamp_ms})) continue;
      missing = record_.SeriesName(series);
      return false;
    }
    return true;
  }

  const DeliveryRecord::LedgerGap* GapOf(const std::string& instance, std::uint64_t seq) const {
    for (const DeliveryRecord::LedgerGap& gap : record_.gaps) {
      if (gap.instance == instance && gap.seqs.first <= seq && seq <= gap.seqs.last) return &gap;
    }
    return nullptr;
  }

  void CheckInstance(const std::string& instance, const std::map<std::uint64_t, DeliveryRecord::Batch>& batches) {
    DeliveryVerdict::Count& count = verdict_.counts[instance];
    const bool is_followed = instance == record_.instance;
    const auto spool = record_.in_spool.find(instance);
    std::uint64_t last = batches.empty() ? 0 : batches.rbegin()->first;
    for (const DeliveryRecord::LedgerGap& gap : record_.gaps) {
      if (gap.instance == instance) last = std::max(last, gap.seqs.last);
    }
    count.produced = last;
    for (std::uint64_t seq = 1; seq <= last; ++seq) {
      const auto batch = batches.find(seq);
      const bool in_gap = GapOf(instance, seq) != nullptr;
      const bool in_spool = spool != record_.in_spool.end() && spool->second.contains(seq);
      std::string missing;
      const bool is_stored = batch != batches.end() && IsStored(batch->second, missing);
      // Numbers in the ledger count as durable for the collector.
      const bool said_durable = is_followed && durable_.Contains(seq);
      if (batch == batches.end()) {
        if (in_gap) {
          ++count.in_gaps;
        } else {
          Violation(Breach::kUnknown, "{} of {}", seq, instance);
        }
      } else if (is_stored && (said_durable || !in_spool)) {
        ++count.durable;
      } else if (in_spool && !said_durable) {
        ++count.in_spool;
      } else if (in_gap) {
        ++count.in_gaps;
      } else if (said_durable) {
        Violation(Breach::kLost, "{} of {}, which was made at {}, lacks {}", seq, instance, batch->second.stamp_ms,
                  missing);
      } else {
        Violation(Breach::kGone, "{} of {}, which was made at {}, lacks {}", seq, instance, batch->second.stamp_ms,
                  missing);
      }
    }
  }

  const DeliveryRecord& record_;
  const model::SeqSet durable_;
  DeliveryVerdict verdict_;
  std::set<std::pair<std::uint32_t, std::int64_t>> stored_;
  std::map<Breach, int> said_;
};

}  // namespace

std::uint32_t DeliveryRecord::SeriesId(const std::string& series) {
  const auto [found, is_new] = ids_.emplace(series, static_cast<std::uint32_t>(names_.size()));
  if (is_new) names_.push_back(series);
  return found->second;
}

std::string DeliveryVerdict::ToString() const {
  std::string text;
  for (const auto& [instance, count] : counts) {
    text += fmt::format("  {}: produced {} = durable {} + in spool {} + in gaps {}\n", instance, count.produced,
                        count.durable, count.in_spool, count.in_gaps);
  }
  text += fmt::format("  {} samples stored as produced\n", samples);
  for (const Violation& violation : violations) text += "  VIOLATION " + violation.text + "\n";
  return text;
}

DeliveryVerdict CheckDelivery(const DeliveryRecord& record) { return Checker(record).Run(); }

}  // namespace clusterpulse::testing
