#include "tests/sim/model_checker.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "common/model/seq_set.h"

namespace clusterpulse::sim {
namespace {

constexpr std::size_t kMostOfAKind = 3;

bool Covers(const std::vector<model::Gap>& gaps, std::uint64_t seq) {
  return std::any_of(gaps.begin(), gaps.end(), [seq](const model::Gap& gap) {
    return seq >= gap.seqs.first && seq <= gap.seqs.last && gap.seqs.first > 0;
  });
}

class Checker {
 public:
  Checker(const DeliveryLog& log, const Contents& contents, const CheckOptions& options)
      : log_(log), contents_(contents), options_(options) {}

  std::vector<Violation> Run() {
    for (const auto& [name, stored] : contents_.clusters) {
      if (stored.history.has_value()) CheckSamples(name, stored);
      CheckState(name, stored);
    }
    for (const auto& [name, instance] : log_.instances()) CheckInstance(name, instance);
    return std::move(violations_);
  }

 private:
  void Add(Breach breach, const std::string& about, std::string text) {
    if (++named_[{breach, about}] > kMostOfAKind) return;
    violations_.push_back({breach, about + ": " + std::move(text)});
  }

  // Whether the sample is stored as it was made; only of clusters with history.
  bool IsStored(const std::string& cluster, const Made& made) const {
    const auto times = stored_.find(cluster);
    return std::all_of(made.samples.begin(), made.samples.end(), [&](const auto& sample) {
      if (times == stored_.end()) return false;
      const auto found = times->second.find({sample.first, made.collected_ms});
      return found != times->second.end() && found->second == sample.second;
    });
  }

  void CheckSamples(const std::string& cluster, const Stored& stored) {
    using Key = std::pair<std::string_view, std::int64_t>;
    std::map<Key, double> made;
    std::map<std::pair<std::string_view, double>, std::int64_t> times_of;
    for (const auto& [name, instance] : log_.instances()) {
      if (instance.cluster != cluster) continue;
      for (const Made& batch : instance.made) {
        for (const auto& [series, value] : batch.samples) {
          made[{series, batch.collected_ms}] = value;
          times_of[{series, value}] = batch.collected_ms;
        }
      }
    }
    auto& times = stored_[cluster];
    for (const Sample& sample : *stored.history) {
      const auto describe = [&] { return fmt::format("{} = {} at {}", sample.series, sample.value, sample.time_ms); };
      if (!times.emplace(std::pair(sample.series, sample.time_ms), sample.value).second) {
        Add(Breach::kDoubled, cluster, describe());
      }
      const auto here = made.find({sample.series, sample.time_ms});
      if (here != made.end() && here->second == sample.value) continue;
      const auto elsewhere = times_of.find({sample.series, sample.value});
      if (elsewhere == times_of.end()) {
        Add(Breach::kForeign, cluster, describe());
      } else {
        Add(Breach::kMisstamped, cluster, fmt::format("{}, collected at {}", describe(), elsewhere->second));
      }
    }
  }

  void CheckState(const std::string& cluster, const Stored& stored) {
    const std::string& newest = log_.NewestState(cluster);
    if (!options_.is_settled || newest.empty() || stored.state == newest) return;
    Add(Breach::kStale, cluster, fmt::format("readers see '{}', the newest batch says '{}'", stored.state, newest));
  }

  void CheckInstance(const std::string& name, const DeliveryLog::Instance& instance) {
    const std::string about = instance.cluster + "/" + name;
    const auto cluster = contents_.clusters.find(instance.cluster);
    static const Stored kNothing;
    const Stored& stored = cluster != contents_.clusters.end() ? cluster->second : kNothing;
    const auto kept = contents_.kept.find(name);

    std::vector<model::Gap> ledger;
    for (const Stored::LedgerGap& gap : stored.ledger) {
      if (gap.instance == name) ledger.push_back({gap.seqs});
    }
    model::SeqSet hub_durable;
    if (stored.instance == name) hub_durable = model::SeqSet(stored.durable);

    std::uint64_t last = 0;
    for (const Made& made : instance.made) last = std::max(last, made.seq);
    for (const model::Gap& gap : instance.gaps) last = std::max(last, gap.seqs.last);
    for (const model::SeqRange& range : instance.durable.Ranges()) {
      if (range.last > last) {
        Add(Breach::kNeverMade, about, fmt::format("told durable up to {}, made up to {}", range.last, last));
      }
    }
    const std::vector<std::uint64_t> held =
        kept != contents_.kept.end() ? kept->second.seqs : std::vector<std::uint64_t>();
    const std::vector<model::Gap> open = kept != contents_.kept.end() ? kept->second.gaps : std::vector<model::Gap>();
    for (const Made& made : instance.made) {
      const std::uint64_t seq = made.seq;
      const bool is_told = instance.durable.Contains(seq), is_held = std::count(held.begin(), held.end(), seq) > 0;
      const bool is_gap = Covers(open, seq) || Covers(instance.gaps, seq) || Covers(ledger, seq);
      if ((is_told || hub_durable.Contains(seq)) && !is_gap && stored.history.has_value() &&
          !IsStored(instance.cluster, made)) {
        Add(Breach::kLost, about,
            fmt::format("{} is durable {} and not stored", seq, is_told ? "as its collector was told" : "to the hub"));
      }
      if (is_held && Covers(open, seq)) Add(Breach::kBothWays, about, fmt::format("{} is kept and lost", seq));
      // What a collector without a spool took with it is known only as far as the hub had heard of it.
      const bool must_be_known = kept != contents_.kept.end() || (options_.has_ledger && seq <= instance.seen);
      if (must_be_known && !is_told && !is_held && !is_gap) {
        Add(Breach::kUnaccounted, about, fmt::format("{} is neither durable nor kept nor in a gap", seq));
      }
      if (options_.is_settled && kept != contents_.kept.end() && !is_told && (options_.has_ledger || !is_gap)) {
        Add(Breach::kUnsettled, about, fmt::format("{} is {}", seq, is_held ? "still kept" : is_gap ? "lost" : "gone"));
      }
    }
    if (options_.is_settled && options_.has_ledger) {
      for (const model::Gap& gap : instance.gaps) {
        for (std::uint64_t seq = gap.seqs.first; seq > 0 && seq <= gap.seqs.last; ++seq) {
          if (Covers(ledger, seq) || instance.durable.Contains(seq)) continue;
          Add(Breach::kHiddenGap, about, fmt::format("{} is lost, and the ledger does not say so", seq));
        }
      }
    }
  }

  const DeliveryLog& log_;
  const Contents& contents_;
  const CheckOptions options_;
  std::map<std::string, std::map<std::pair<std::string, std::int64_t>, double>> stored_;  // by cluster
  std::map<std::pair<Breach, std::string>, std::size_t> named_;
  std::vector<Violation> violations_;
};

}  // namespace

std::string_view ToString(Breach breach) {
  switch (breach) {
    case Breach::kLost:
      return "lost";
    case Breach::kDoubled:
      return "doubled";
    case Breach::kMisstamped:
      return "misstamped";
    case Breach::kForeign:
      return "foreign";
    case Breach::kStale:
      return "stale";
    case Breach::kUnaccounted:
      return "unaccounted";
    case Breach::kBothWays:
      return "kept and lost";
    case Breach::kNeverMade:
      return "never made";
    case Breach::kUnsettled:
      return "unsettled";
    case Breach::kHiddenGap:
      return "hidden gap";
  }
  return "";
}

std::vector<Violation> Check(const DeliveryLog& log, const Contents& contents, const CheckOptions& options) {
  return Checker(log, contents, options).Run();
}

}  // namespace clusterpulse::sim
