// delivery_soak --rounds N --seed S: kill -9 of hubs, collectors, Redis and VictoriaMetrics, alone and in pairs, at
// random moments and at fail points, while clusters change and collectors push. Then everything runs again, what was
// produced becomes durable, and the checker compares what was produced with what the stores hold.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "common/base/failpoint.h"
#include "tests/kubesim/fleet.h"
#include "tests/soak/delivery_evidence.h"
#include "tests/soak/delivery_rig.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;

struct Options {
  int rounds = 10, check_every = 50;
  std::uint64_t seed = 1;
  double seconds_per_round = 8;
};

constexpr double kMostAway = 2;         // seconds until what was killed comes back
constexpr seconds kFailPointLimit{20};  // until an armed program passes the place
constexpr seconds kSettleLimit{180};    // until all is durable

bool IsOfCollector(std::string_view fail_point) { return fail_point.starts_with("spool."); }

void Wait(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

class Soak {
 public:
  explicit Soak(const Options& options) : options_(options), random_(options.seed) {}
  // The exit code.
  int Run();

 private:
  double Uniform(double from, double to) { return std::uniform_real_distribution<double>(from, to)(random_); }
  bool Chance(double share) { return Uniform(0, 1) < share; }
  template <typename T>
  const T& Pick(const std::vector<T>& from) {
    return from[std::uniform_int_distribution<std::size_t>(0, from.size() - 1)(random_)];
  }

  void KillAtRandom();
  void KillAtFailPoint();
  void LoseSpool();
  void ChangeNodes();
  // Nothing ended that was not killed.
  bool AllRun();
  bool Prove();
  // What all programs said goes where a person finds it.
  void SaveLogs() const;
  void Say(const std::string& text) const {
    fmt::print("round {}: {}\n", round_, text);
    std::fflush(stdout);
  }

  const Options options_;
  std::mt19937_64 random_;
  std::unique_ptr<DeliveryRig> rig_;
  std::vector<std::string> programs_;
  int round_ = 0;
  std::map<std::string, int> kills_;  // by what was killed, or the fail point
  int missed_ = 0;                    // fail points that were not passed in time
};

void Soak::ChangeNodes() {
  for (const std::string& cluster : rig_->clusters()) {
    const std::string node = Chance(0.5) ? "node-1" : "node-2";
    (void)kubesim::SetNodeReady(rig_->Cluster(cluster).store(), node, Chance(0.5));  // it is there
  }
}

void Soak::KillAtRandom() {
  std::vector<std::string> victims{Pick(programs_)};
  if (Chance(0.35)) {
    std::string other = Pick(programs_);
    while (other == victims.front()) other = Pick(programs_);
    victims.push_back(other);
  }
  const double before = Uniform(0, std::max(0.0, options_.seconds_per_round - kMostAway));
  std::string words;
  for (const std::string& victim : victims) words += (words.empty() ? "" : " and ") + victim;
  Wait(before);
  for (const std::string& victim : victims) rig_->Kill(victim);
  ChangeNodes();
  std::string backs;
  for (const std::string& victim : victims) {
    const double away = Uniform(0, kMostAway / 2);
    Wait(away);
    rig_->Launch(victim);
    backs += fmt::format("{}{:.2f}", backs.empty() ? "" : ", ", away);
  }
  ++kills_[words];
  Say(fmt::format("killed {} after {:.2f} s, back after {} s", words, before, backs));
}

void Soak::KillAtFailPoint() {
  const std::string name(
      base::kFailPoints[std::uniform_int_distribution<std::size_t>(0, base::kFailPoints.size() - 1)(random_)]);
  const std::string victim = IsOfCollector(name) ? rig_->CollectorOf(Pick(rig_->clusters())) : Pick(rig_->hubs());
  // Batches come every few seconds, segments and positions less often.
  const bool is_rare = name.starts_with("position.") || name == "spool.rotated" || name.starts_with("spool.delet");
  const std::string plan = fmt::format("{}:{}", name, std::uniform_int_distribution<int>(1, is_rare ? 1 : 3)(random_));
  // A hub gets the collectors by the others being away.
  const std::vector<std::string> killed = IsOfCollector(name) ? std::vector{victim} : rig_->hubs();
  for (const std::string& program : killed) rig_->Kill(program);
  rig_->Launch(victim, plan);
  ChangeNodes();
  const bool passed = Eventually(kFailPointLimit, [&] { return !rig_->IsRunning(victim); });
  rig_->Kill(victim);
  Wait(Uniform(0, kMostAway / 2));
  for (const std::string& program : killed) rig_->Launch(program);
  if (passed) ++kills_[name];
  missed_ += passed ? 0 : 1;
  Say(fmt::format("{} {} at {}", victim, passed ? "killed" : "not killed", plan));
}

void Soak::LoseSpool() {
  const std::string& cluster = Pick(rig_->clusters());
  const std::string collector = rig_->CollectorOf(cluster);
  // What no hub has heard of when a disk goes is known to nobody afterwards: that is waited for.
  const bool is_heard = Eventually(kFailPointLimit, [&] {
    rig_->Signal(collector, SIGSTOP);
    std::string instance;
    const std::uint64_t newest = NewestSpooled(*rig_, cluster, instance);
    const std::string applied = rig_->Redis({"HGET", "cluster:" + cluster + ":writer", "state_seq"});
    if (applied == std::to_string(newest)) return true;
    rig_->Signal(collector, SIGCONT);
    return false;
  });
  rig_->Kill(collector);
  rig_->recorder().Segments(cluster);
  if (is_heard) std::filesystem::remove_all(rig_->SpoolDir(cluster));
  Wait(Uniform(0, kMostAway));
  rig_->Launch(collector);
  ++kills_[is_heard ? "a collector, with its disk" : collector];
  Say(fmt::format("killed {}{}", collector, is_heard ? ", and its spool is gone" : ""));
}

bool Soak::AllRun() {
  for (const std::string& program : programs_) {
    if (rig_->IsRunning(program)) continue;
    Say(program + " ended by itself");
    SaveLogs();
    return false;
  }
  return true;
}

bool Soak::Prove() {
  bool kept = true;
  for (const std::string& cluster : rig_->clusters()) rig_->Cluster(cluster).SetChurn(0);
  if (const std::string words = WaitUntilDurable(*rig_, rig_->clusters(), kSettleLimit); !words.empty()) {
    Say("VIOLATION " + words);
    kept = false;
  }
  for (const std::string& cluster : rig_->clusters()) {
    std::string words;
    if (!Eventually(seconds(60), [&] { return (words = rig_->StateDifference(cluster)).empty(); })) {
      Say(fmt::format("{}: VIOLATION the newest state is not shown: {}", cluster, words));
      kept = false;
    }
    const DeliveryVerdict verdict = ProveDelivery(*rig_, cluster);
    Say(fmt::format("{}:\n{}", cluster, verdict.ToString()));
    kept = kept && verdict.violations.empty() && verdict.samples > 0;
  }
  if (!kept) SaveLogs();
  for (const std::string& cluster : rig_->clusters()) rig_->Cluster(cluster).SetChurn(DeliveryRig::Options{}.churn);
  return kept;
}

void Soak::SaveLogs() const {
  Say("what the programs said is in " + rig_->SaveEvidence(fmt::format("delivery-soak-{}-{}", options_.seed, round_)));
}

int Soak::Run() {
  // A segment spans a sixteenth of the age: they come and go all the time.
  rig_ = DeliveryRig::Start({.seed = options_.seed, .collector_env = {{"SPOOL_MAX_AGE", "320"}}});
  if (rig_ == nullptr) return 77;
  programs_ = {"redis", "victoriametrics"};
  for (const std::string& hub : rig_->hubs()) programs_.push_back(hub);
  for (const std::string& cluster : rig_->clusters()) programs_.push_back(rig_->CollectorOf(cluster));
  const auto begin = std::chrono::steady_clock::now();
  for (round_ = 1; round_ <= options_.rounds; ++round_) {
    const double dice = Uniform(0, 1);
    if (dice < 0.03) {
      LoseSpool();
    } else if (dice < 0.4) {
      KillAtFailPoint();
    } else {
      KillAtRandom();
    }
    Wait(Uniform(0, 1));
    if (!AllRun()) return 1;
    if ((round_ % options_.check_every == 0 || round_ == options_.rounds) && !Prove()) return 1;
  }
  fmt::print("{} rounds in {:.0f} s, nothing lost, doubled or unknown; killed:\n", options_.rounds,
             std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  for (const auto& [what, count] : kills_) fmt::print("  {:4} {}\n", count, what);
  fmt::print("  {:4} fail points were not passed in time\n", missed_);
  return 0;
}

}  // namespace
}  // namespace clusterpulse::testing

int main(int argc, char** argv) {
  clusterpulse::testing::Options options;
  CLI::App app("Delivery under kill -9, proved again and again.");
  app.add_option("--rounds", options.rounds, "kills")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--seed", options.seed, "of what is killed when")->capture_default_str();
  app.add_option("--seconds-per-round", options.seconds_per_round, "at most, from one kill to the next")
      ->check(CLI::Range(3.0, 600.0))
      ->capture_default_str();
  app.add_option("--check-every", options.check_every, "rounds between two proofs; one more at the end")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return clusterpulse::testing::Soak(options).Run();
}
