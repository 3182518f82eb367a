#include "tests/sim/history_model.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "common/base/time_format.h"
#include "hub/history/series.h"

namespace clusterpulse::sim {
namespace {

using history::Ticket;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Look = history::DurabilityWatch::Look;

constexpr seconds kRequestTimeout{30}, kLookTimeout{5};
constexpr milliseconds kLinger{250}, kLookInterval{2500}, kFirstRetry{250};
constexpr std::size_t kSenders = 2;

class CpuSamples final : public history::SampleSink {
 public:
  explicit CpuSamples(std::int64_t time_ms) : time_ms_(time_ms) {}
  void Labels(std::string_view cluster, std::string_view key, std::string_view value) override {
    labels_ = fmt::format("{}|{}={}", cluster, key, value);
  }
  void Earlier(std::chrono::milliseconds) override {}  // of sources, which these fleets have not
  void Sample(const history::MetricName& name, history::Number value) override {
    if (name.text().ends_with("_cpu_capacity")) {
      samples.push_back({fmt::format("{}|{}", labels_, name.text()), time_ms_, value.real()});
    }
  }
  void Ambiguous(std::string_view) override {}

  std::vector<sim::Sample> samples;

 private:
  const std::int64_t time_ms_;
  std::string labels_;
};

}  // namespace

std::vector<Sample> SamplesOf(const model::Batch& batch) {
  CpuSamples sink(history::StampOf(batch));
  history::ForEachSample(batch, sink);
  return std::move(sink.samples);
}

// --- server ---

void VmModel::Kill() {
  const base::SteadyTime written = world_.now() - world_.Between(seconds(0), most_lost_ - milliseconds(1));
  for (; !unwritten_.empty() && unwritten_.back().first > written; unwritten_.pop_back()) {
    samples_.erase(unwritten_.back().second);
  }
  unwritten_.clear();
  is_up_ = is_frozen_ = false;
  ++generation_;
}

void VmModel::Start() {
  if (is_up_) return;
  is_up_ = true;
  start_ = base::UnixSeconds(world_.today());
}

bool VmModel::Take(const std::vector<Sample>& samples) {
  if (refuses_per_mille_ > 0 && world_.Below(1000) < refuses_per_mille_) return false;
  while (!unwritten_.empty() && unwritten_.front().first < world_.now() - most_lost_) unwritten_.pop_front();
  for (const Sample& sample : samples) {
    const Key key{{sample.series, sample.time_ms}, sample.value};
    if (samples_.emplace(key, world_.now()).second) unwritten_.emplace_back(world_.now(), key);
  }
  return true;
}

std::vector<Sample> VmModel::Export(const std::string& cluster) const {
  std::vector<Sample> found;
  for (const auto& [key, since] : samples_) {
    const auto& [at, value] = key;
    if (at.first.starts_with(cluster + "|")) found.push_back({at.first, at.second, value});
  }
  return found;
}

// --- writer ---

SimHistoryWriter::SimHistoryWriter(World& world, const HostClock& clock, VmModel& server, Options options)
    : world_(world), clock_(clock), server_(server), options_(options), watch_(VmModel::kUnwritten) {}

SimHistoryWriter::~SimHistoryWriter() { *lives_ = false; }

template <typename F>
void SimHistoryWriter::After(Duration delay, F&& action) {
  world_.After(delay, [lives = lives_, action = std::forward<F>(action)]() mutable {
    if (*lives) action();
  });
}

std::shared_ptr<const Ticket> SimHistoryWriter::Write(const model::Batch& batch) {
  auto ticket = std::make_shared<Ticket>();
  std::vector<Sample> samples = SamplesOf(batch);
  if (samples.empty()) {
    ticket->Settle({.state = Ticket::State::kAccepted, .at = clock_.Steady(), .continuity = watch_.continuity()});
  } else if (queue_.size() + under_way_ >= options_.queue_batches) {
    ticket->Settle({.state = Ticket::State::kDropped});
  } else {
    queue_.push_back({std::move(samples), ticket});
    After(world_.Delay(kLinger / 4), [this] { Send(); });
  }
  return ticket;
}

std::shared_ptr<const Ticket> SimHistoryWriter::Find(const history::Sought& sought) {
  std::set<std::int64_t> found;
  for (const Sample& sample : server_.Export(sought.cluster)) {
    const base::SystemTime at{milliseconds(sample.time_ms)};
    if (sought.after < at && at <= sought.until) found.insert(sample.time_ms);
  }
  auto ticket = std::make_shared<Ticket>();
  if (found.size() >= sought.batches) {
    ticket->Settle({.state = Ticket::State::kAccepted, .at = clock_.Steady(), .continuity = watch_.continuity()});
  } else {
    ticket->Settle({.state = Ticket::State::kDropped});
  }
  return ticket;
}

bool SimHistoryWriter::HasRoom() const {
  return !is_failing_ && queue_.size() + under_way_ < (options_.queue_batches + 1) / 2;
}

bool SimHistoryWriter::MaySend() const {
  const base::SteadyTime now = clock_.Steady();
  return now >= watch_.send_from() && look_.has_value() && look_->sent >= look_after_ &&
         now - look_->answered <= Duration(VmModel::kUnwritten);
}

void SimHistoryWriter::Send() {
  while (!queue_.empty() && senders_ < kSenders) {
    auto body = std::make_shared<Body>();
    while (!queue_.empty() && body->size() < options_.body_batches) {
      body->push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    ++senders_;
    under_way_ += body->size();
    Post(std::move(body), 0);
  }
}

void SimHistoryWriter::Post(std::shared_ptr<Body> body, int failures) {
  if (!MaySend()) {
    ScheduleLook(Duration());
    return After(milliseconds(100), [this, body, failures] { Post(body, failures); });
  }
  const std::uint64_t continuity = watch_.continuity();
  After(world_.Delay(usual_), [this, body, failures, continuity] {
    const std::uint64_t generation = server_.generation();
    const bool is_silent = is_cut_ || server_.is_frozen();
    const bool reached = !is_silent && server_.is_up();
    bool taken = true;
    if (reached) {
      std::vector<Sample> samples;
      for (const Piece& piece : *body) samples.insert(samples.end(), piece.samples.begin(), piece.samples.end());
      taken = server_.Take(samples);
    }
    After(is_silent ? Duration(kRequestTimeout) : world_.Delay(usual_),
          [this, body, failures, continuity, reached, taken, generation] {
            // A process that died meanwhile has answered nobody; nor has one whose line was cut.
            Answered(body, failures, continuity, reached && !is_cut_ && server_.generation() == generation, taken);
          });
  });
}

void SimHistoryWriter::Answered(const std::shared_ptr<Body>& body, int failures, std::uint64_t continuity, bool reached,
                                bool taken) {
  is_failing_ = !reached;
  if (!reached) {
    look_after_ = clock_.Steady();  // it may be another process that answers next
    const Duration wait = std::min<Duration>(Duration(kFirstRetry) * (1 << std::min(failures, 10)), seconds(10));
    return After(world_.Delay(wait), [this, body, failures] { Post(body, failures + 1); });
  }
  if (!taken && body->size() > 1) {
    // The body is halved until the piece is found that is at fault.
    auto second = std::make_shared<Body>(body->begin() + static_cast<std::ptrdiff_t>(body->size() / 2), body->end());
    body->resize(body->size() / 2);
    ++senders_;
    Post(body, 0);
    return Post(second, 0);
  }
  for (const Piece& piece : *body) {
    if (taken) {
      piece.ticket->Settle({.state = Ticket::State::kAccepted, .at = clock_.Steady(), .continuity = continuity});
    } else {
      piece.ticket->Settle({.state = Ticket::State::kRefused, .why = "refused by the model"});
    }
  }
  if (taken) last_accepted_ = clock_.Steady();
  --senders_;
  under_way_ -= body->size();
  ScheduleLook(kLookInterval);
  Send();
}

void SimHistoryWriter::ScheduleLook(Duration wait) {
  if (std::exchange(is_looking_, true)) return;
  After(wait, [this] { Look(); });
}

void SimHistoryWriter::Look() {
  const base::SteadyTime sent = clock_.Steady();
  After(world_.Delay(usual_), [this, sent] {
    sim::Look look{.sent = sent};
    const bool is_silent = is_cut_ || server_.is_frozen();
    if (!is_silent && server_.is_up()) {
      look.seen = sim::Look::Seen::kStart;
      look.start = server_.start();
    }
    After(is_silent ? Duration(kLookTimeout) : world_.Delay(usual_), [this, look]() mutable {
      look.answered = clock_.Steady();
      watch_.On(look);
      look_ = look;
      is_looking_ = false;
      const bool waits = !queue_.empty() || under_way_ > 0 || watch_.mark().until < last_accepted_;
      if (waits) ScheduleLook(look_->sent < look_after_ ? Duration(milliseconds(500)) : Duration(kLookInterval));
    });
  });
}

}  // namespace clusterpulse::sim
