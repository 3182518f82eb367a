#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/model/batch.h"
#include "hub/history/durability_watch.h"
#include "hub/history/history_writer.h"
#include "tests/sim/delivery_log.h"
#include "tests/sim/world.h"

namespace clusterpulse::sim {

// The samples of a batch that are looked at here: those of CPU, which differ from batch to batch.
std::vector<Sample> SamplesOf(const model::Batch& batch);

// A VictoriaMetrics as several replicas share it: it answers before it has written, and a kill loses what came within
// the last seconds. Of equal samples it keeps one; of two values at one time, which nobody should send, both, so that
// it shows.
class VmModel {
 public:
  static constexpr std::chrono::seconds kUnwritten{10};

  // `unwritten`: what a kill costs at most; more than kUnwritten is more than the hub reckons with.
  explicit VmModel(World& world, Duration unwritten = kUnwritten) : world_(world), most_lost_(unwritten) {}

  // Down until Start. What came first within some time, up to `unwritten`, is gone.
  void Kill();
  void Start();
  void SetFrozen(bool frozen) { is_frozen_ = frozen; }
  // So many of a thousand bodies are refused for good.
  void SetRefuses(std::uint64_t per_mille) { refuses_per_mille_ = per_mille; }
  bool is_up() const { return is_up_; }
  bool is_frozen() const { return is_frozen_; }
  // Of this process, in seconds: all it tells about itself.
  std::int64_t start() const { return start_; }
  std::uint64_t generation() const { return generation_; }

  // False: refused.
  bool Take(const std::vector<Sample>& samples);
  // Of the cluster, in no order of note.
  std::vector<Sample> Export(const std::string& cluster) const;

 private:
  using Key = std::pair<std::pair<std::string, std::int64_t>, double>;  // series, time, value

  World& world_;
  const Duration most_lost_;
  bool is_up_ = true, is_frozen_ = false;
  std::int64_t start_ = 0;
  std::uint64_t generation_ = 1, refuses_per_mille_ = 0;
  std::map<Key, base::SteadyTime> samples_;  // since when
  std::deque<std::pair<base::SteadyTime, Key>> unwritten_;
};

// VictoriaMetricsWriter's part in one replica, without threads and HTTP: a bounded queue, two requests at once, tried
// again until they are answered, and the real DurabilityWatch over what the server tells of its start.
class SimHistoryWriter final : public history::HistoryWriter {
 public:
  struct Options {
    std::size_t queue_batches = 64;
    std::size_t body_batches = 4;
  };
  SimHistoryWriter(World& world, const HostClock& clock, VmModel& server, Options options);
  ~SimHistoryWriter() override;

  void SetCut(bool cut) { is_cut_ = cut; }
  void SetSlow(Duration usual) { usual_ = usual; }

  std::shared_ptr<const history::Ticket> Write(const model::Batch& batch) override;
  // Asks nobody: what the server has shows here at once.
  std::shared_ptr<const history::Ticket> Find(const history::Sought& sought) override;
  std::chrono::milliseconds DurableAfter() const override { return VmModel::kUnwritten; }
  model::DurableMark Durable() const override { return watch_.mark(); }
  bool HasRoom() const override;

 private:
  struct Piece {
    std::vector<Sample> samples;
    std::shared_ptr<history::Ticket> ticket;
  };
  using Body = std::vector<Piece>;

  void Send();
  bool MaySend() const;
  void Post(std::shared_ptr<Body> body, int failures);
  void Answered(const std::shared_ptr<Body>& body, int failures, std::uint64_t continuity, bool reached, bool taken);
  void Look();
  void ScheduleLook(Duration wait);
  template <typename F>
  void After(Duration delay, F&& action);

  World& world_;
  const HostClock& clock_;
  VmModel& server_;
  const Options options_;
  const std::shared_ptr<bool> lives_ = std::make_shared<bool>(true);
  bool is_cut_ = false;
  Duration usual_ = std::chrono::milliseconds(2);
  std::deque<Piece> queue_;
  std::size_t under_way_ = 0, senders_ = 0;  // pieces; bodies
  history::DurabilityWatch watch_;
  std::optional<history::DurabilityWatch::Look> look_;
  base::SteadyTime look_after_{}, last_accepted_{};
  bool is_looking_ = false, is_failing_ = false;
};

}  // namespace clusterpulse::sim
