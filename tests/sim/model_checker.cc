#include "tests/sim/model_checker.h"

#include <algorithm>
#include <map>
#include <set>
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

bool IsWithinGap(const std::vector<Stored::LedgerGap>& ledger, std::int64_t time_ms) {
  return std::any_of(ledger.begin(), ledger.end(), [time_ms](const Stored::LedgerGap& gap) {
    return gap.from_ms <= time_ms && time_ms <= gap.to_ms;
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
      if (found == times->second.end()) return false;
      // Of two made within one millisecond the store keeps one.
      return ambiguous_.contains({cluster, made.collected_ms}) ||
             std::count(found->second.begin(), found->second.end(), sample.second) > 0;
    });
  }

  void CheckSamples(const std::string& cluster, const Stored& stored) {
    using Key = std::pair<std::string_view, std::int64_t>;
    std::map<Key, std::vector<double>> made;  // more than one: of batches within one millisecond
    std::map<std::pair<std::string_view, double>, std::int64_t> times_of;
    for (const auto& [name, instance] : log_.instances()) {
      if (instance.cluster != cluster) continue;
      for (const Made& batch : instance.made) {
        for (const auto& [series, value] : batch.samples) {
          made[{series, batch.collected_ms}].push_back(value);
          times_of[{series, value}] = batch.collected_ms;
        }
      }
    }
    auto& stored_here = stored_[cluster];
    for (const Sample& sample : *stored.history) {
      const auto describe = [&] { return fmt::format("{} = {} at {}", sample.series, sample.value, sample.time_ms); };
      std::vector<double>& values = stored_here[{sample.series, sample.time_ms}];
      if (std::count(values.begin(), values.end(), sample.value) > 0) Add(Breach::kDoubled, cluster, describe());
      values.push_back(sample.value);
      const auto here = made.find({sample.series, sample.time_ms});
      if (here != made.end() && std::count(here->second.begin(), here->second.end(), sample.value) > 0) continue;
      const auto elsewhere = times_of.find({sample.series, sample.value});
      if (elsewhere == times_of.end()) {
        Add(Breach::kForeign, cluster, describe());
      } else {
        Add(Breach::kMisstamped, cluster, fmt::format("{}, collected at {}", describe(), elsewhere->second));
      }
    }
    for (const auto& [key, values] : made) {
      if (values.size() > 1) ambiguous_.insert({cluster, key.second});
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
    // Numbers that went to two batches, because a disk forgot the first.
    std::map<std::uint64_t, int> given;
    for (const Made& made : instance.made) {
      last = std::max(last, made.seq);
      ++given[made.seq];
    }
    for (const model::Gap& gap : instance.gaps) last = std::max(last, gap.seqs.last);
    for (const model::SeqRange& range : instance.durable.Ranges()) {
      if (range.last > last) {
        Add(Breach::kNeverMade, about, fmt::format("told durable up to {}, made up to {}", range.last, last));
      }
    }
    const std::vector<std::uint64_t> held =
        kept != contents_.kept.end() ? kept->second.seqs : std::vector<std::uint64_t>();
    const std::vector<model::Gap> open = kept != contents_.kept.end() ? kept->second.gaps : std::vector<model::Gap>();
    for (const std::uint64_t seq : held) {
      if (Covers(open, seq)) Add(Breach::kBothWays, about, fmt::format("{} is kept and lost", seq));
    }
    for (const Made& made : instance.made) {
      const std::uint64_t seq = made.seq;
      const bool is_stored = stored.history.has_value() && IsStored(instance.cluster, made);
      // A number that was never told anybody and may have been another's, or will be, says nothing of this batch.
      const bool has_number = given[seq] > 1 ? made.was_sent && !made.is_gone : made.was_sent || !made.is_gone;
      const bool is_told = made.is_durable;
      const bool is_held = (has_number && std::count(held.begin(), held.end(), seq) > 0) ||
                           (kept != contents_.kept.end() && kept->second.collected_ms.contains(made.collected_ms));
      const bool is_gap = has_number ? Covers(open, seq) || Covers(instance.gaps, seq) || Covers(ledger, seq)
                                     : IsWithinGap(stored.ledger, made.collected_ms);
      if ((is_told || (made.was_sent && given[seq] == 1 && hub_durable.Contains(seq))) && !is_gap &&
          stored.history.has_value() && !is_stored) {
        Add(Breach::kLost, about,
            fmt::format("{} is durable {} and not stored", seq, is_told ? "as its collector was told" : "to the hub"));
      }
      const bool has_keeper = kept != contents_.kept.end() && !made.is_gone;
      // What is there and was never told durable is no loss; without history nobody can tell.
      const bool was_heard_of = has_number && options_.has_ledger && options_.remembers_all && options_.is_settled &&
                                seq <= instance.seen && stored.history.has_value();
      const bool is_known = is_told || is_held || is_gap || (is_stored && !(has_keeper && options_.is_settled));
      if ((has_keeper || was_heard_of) && !is_known) {
        Add(Breach::kUnaccounted, about, fmt::format("{} is neither durable nor kept nor in a gap", seq));
      }
      if (options_.is_settled && has_keeper && !is_told &&
          !(is_gap && (!options_.has_ledger || !has_number || Covers(ledger, seq))) && !(is_stored && !has_number)) {
        Add(Breach::kUnsettled, about, fmt::format("{} is {}", seq, is_held ? "still kept" : is_gap ? "lost" : "gone"));
      }
    }
    if (options_.is_settled && options_.has_ledger) {
      for (const model::Gap& gap : instance.gaps) {
        // What a collector that is gone wanted to tell may never have arrived; and a hub that forgot its numbers does
        // not miss it.
        const bool may_be_unheard = gap.seqs.last > instance.seen || !options_.remembers_all;
        if (kept == contents_.kept.end() && may_be_unheard) continue;
        for (std::uint64_t seq = gap.seqs.first; seq > 0 && seq <= gap.seqs.last; ++seq) {
          const bool is_there = std::any_of(instance.made.begin(), instance.made.end(), [&](const Made& made) {
            return made.seq == seq && IsStored(instance.cluster, made);
          });
          if (Covers(ledger, seq) || instance.durable.Contains(seq) || is_there) continue;
          Add(Breach::kHiddenGap, about, fmt::format("{} is lost, and the ledger does not say so", seq));
        }
      }
    }
  }

  const DeliveryLog& log_;
  const Contents& contents_;
  const CheckOptions options_;
  std::map<std::string, std::map<std::pair<std::string, std::int64_t>, std::vector<double>>> stored_;  // by cluster
  std::set<std::pair<std::string, std::int64_t>> ambiguous_;  // cluster, time of more than one batch
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
