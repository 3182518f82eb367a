#include "tests/sim/sim_hub.h"

#include <algorithm>
#include <utility>

#include "common/base/status.h"

namespace clusterpulse::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kJobWait = microseconds(100);  // until a worker has time for it
constexpr seconds kStopLimit{5};

}  // namespace

// All that goes with the process.
struct SimHub::Process final : ingest::LocalStreams {
  Process(SimHub& parent, std::uint64_t number)
      : hub(parent),
        world(parent.shared_.world),
        id(number),
        store(world, parent.clock_, parent.shared_.redis),
        clusters(store, {.hub_namespace = "sim"}, parent.clock_),
        collectors(store, clusters, "sim"),
        data({store, clusters, collectors, parent.clock_}, [](const std::string&) { return std::nullopt; }, {}),
        history(parent.shared_.history == nullptr
                    ? nullptr
                    : std::make_unique<SimHistoryWriter>(world, parent.clock_, *parent.shared_.history,
                                                         parent.shared_.history_options)),
        peer_log({}, parent.clock_),
        services{.hub = fmt::format("hub-{}-{}", parent.index_, number),
                 .version = "sim",
                 .clusters = parent.shared_.clusters,
                 .authenticator = parent.shared_.authenticator,
                 .data = data,
                 .local = *this,
                 .budget = budget,
                 .clock = parent.clock_,
                 .random = world.random(),
                 .log = peer_log,
                 .metrics = metrics,
                 .history = history.get()} {}

  bool Has(const std::string& cluster, std::uint64_t epoch) const override {
    const auto holder = holders.find(cluster);
    return holder != holders.end() && holder->second.epoch == epoch;
  }
  bool Claim(const std::string& cluster, std::uint64_t epoch, std::uint64_t stream, const std::string& who) override;
  void Release(const std::string& cluster, std::uint64_t stream) override {
    const auto holder = holders.find(cluster);
    if (holder != holders.end() && holder->second.stream == stream) holders.erase(holder);
  }

  struct Holder {
    std::uint64_t epoch = 0, stream = 0;
  };

  SimHub& hub;
  World& world;
  const std::uint64_t id;
  RedisClient store;
  store::ClusterState clusters;
  store::CollectorState collectors;
  reconcile::PushedClusters data;
  std::unique_ptr<SimHistoryWriter> history;
  ingest::FlightBudget budget{std::int64_t{256} << 20};
  ingest::PeerLog peer_log;
  ingest::Metrics metrics;
  ingest::Services services;
  std::map<std::string, Holder, std::less<>> holders;
  std::uint64_t last_stream = 0;
  bool is_stopping = false;
  std::map<std::uint64_t, std::shared_ptr<Stream>> streams;  // last: they use the others
};

// As ingest::Stream: events and the steps they lead to.
class SimHub::Stream final : public HubEvents, public std::enable_shared_from_this<Stream> {
 public:
  Stream(Process& process, std::uint64_t id, std::shared_ptr<Connection> connection)
      : process_(process),
        id_(id),
        connection_(std::move(connection)),
        session_({id, connection_->address(), connection_->token()}, *connection_, process.services, now()) {}

  void OnMessage(std::string bytes) override {
    Post([&](ingest::Events& events) { events.message = ingest::Message{std::move(bytes), now()}; });
  }
  void OnWritten() override {
    Post([](ingest::Events& events) { events.written = true; });
  }
  void OnHalfClosed() override {
    Post([](ingest::Events& events) { events.half_closed = true; });
  }
  void OnGone() override {
    Post([](ingest::Events& events) { events.gone = true; });
  }
  void OnClosed() override {
    Post([](ingest::Events& events) { events.closed = true; });
  }

  template <typename Change>
  void Post(Change change) {
    change(events_);
    is_due_ = true;
    if (is_stepping_) return;
    is_stepping_ = true;
    const std::shared_ptr<Stream> self = shared_from_this();  // a step may be the last
    while (std::exchange(is_due_, false)) Step();
    is_stepping_ = false;
  }
  template <typename Change>
  void PostLater(Change change) {
    World& world = process_.world;
    world.After(world.Delay(kJobWait), [weak = weak_from_this(), change]() {
      if (const auto self = weak.lock()) self->Post(change);
    });
  }
  Connection& connection() { return *connection_; }

 private:
  ingest::Now now() const { return {process_.hub.clock_.Steady(), process_.hub.clock_.Now()}; }

  void Step() {
    World& world = process_.world;
    ingest::Session::Next next = session_.Step(std::exchange(events_, {}), now());
    if (next.job) {
      job_ = std::move(next.job);
      world.After(world.Delay(kJobWait), [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->RunJob();
      });
    }
    if (next.over) {
      process_.streams.erase(id_);
      return;
    }
    if (!next.at || *next.at >= wake_at_) return;
    wake_at_ = *next.at;
    const base::SteadyTime at =
        std::max(process_.hub.clock_.ToWorld(*next.at), world.now() + Duration(milliseconds(1)));
    world.At(at, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      self->wake_at_ = base::SteadyTime::max();
      self->Post([](ingest::Events&) {});
    });
  }

  void RunJob() {
    World& world = process_.world;
    ingest::JobResult result;
    try {
      result = std::exchange(job_, nullptr)();
    } catch (const std::exception& e) {
      result = ingest::JobFailed{e.what()};
    }
    world.After(process_.store.TakeSpent() + world.Delay(kJobWait),
                [weak = weak_from_this(), result = std::move(result)]() mutable {
                  if (const auto self = weak.lock()) {
                    self->Post([&](ingest::Events& events) { events.result = std::move(result); });
                  }
                });
  }

  Process& process_;
  const std::uint64_t id_;
  const std::shared_ptr<Connection> connection_;
  ingest::Session session_;
  ingest::Events events_;
  ingest::Job job_;
  bool is_due_ = false, is_stepping_ = false;
  base::SteadyTime wake_at_ = base::SteadyTime::max();
};

bool SimHub::Process::Claim(const std::string& cluster, std::uint64_t epoch, std::uint64_t stream,
                            const std::string& who) {
  Holder& holder = holders[cluster];
  if (holder.epoch > epoch) return false;
  if (const auto before = streams.find(holder.stream); holder.stream != stream && before != streams.end()) {
    before->second->PostLater([who](ingest::Events& events) { events.superseded = who; });
  }
  holder = {epoch, stream};
  return true;
}

SimHub::SimHub(const Shared& shared, std::size_t index)
    : shared_(shared), index_(index), clock_(shared.world, {}, std::chrono::hours(index + 1)) {}

SimHub::~SimHub() {
  if (process_ == nullptr) return;
  // Stream and connection hold one another.
  for (const auto& [id, stream] : process_->streams) stream->connection().SetHubEvents(nullptr);
}

void SimHub::Start() {
  if (process_ != nullptr) return;
  process_ = std::make_unique<Process>(*this, ++processes_);
  SetStoreCut(is_store_cut_);
  SetStoreBreaks(store_breaks_);
  SetStoreSlow(store_usual_);
  SetHistoryCut(is_history_cut_);
  SetHistorySlow(history_usual_);
  shared_.network.SetAcceptor(index_, this);
  shared_.world.Log("hub {} starts as {}", index_, process_->services.hub);
  Monitor();
}

// As app::Monitor: it makes the store speak, on which durability rests.
void SimHub::Monitor() {
  (void)process_->store.Ping();  // its failure shows in Durable
  (void)process_->store.TakeSpent();
  shared_.world.After(seconds(1), [this, id = process_->id] {
    if (process_ != nullptr && process_->id == id) Monitor();
  });
}

void SimHub::Kill(bool silent) {
  if (process_ == nullptr) return;
  shared_.world.Log("hub {} is gone{}", index_, silent ? " with its host" : "");
  shared_.network.SetAcceptor(index_, nullptr);
  std::vector<std::shared_ptr<Stream>> streams;
  for (const auto& [id, stream] : process_->streams) streams.push_back(stream);
  for (const auto& stream : streams) stream->connection().HubGone(silent);
  streams.clear();
  process_.reset();
}

void SimHub::Stop() {
  if (process_ == nullptr || std::exchange(process_->is_stopping, true)) return;
  shared_.world.Log("hub {} stops", index_);
  shared_.network.SetAcceptor(index_, nullptr);
  for (const auto& [id, stream] : process_->streams) {
    stream->PostLater([](ingest::Events& events) { events.stopping = true; });
  }
  shared_.world.After(kStopLimit, [this, id = process_->id] {
    if (process_ != nullptr && process_->id == id) Kill(false);
  });
}

void SimHub::SetStoreCut(bool cut) {
  is_store_cut_ = cut;
  if (process_ != nullptr) process_->store.SetCut(cut);
}
void SimHub::SetStoreBreaks(std::uint64_t per_mille) {
  store_breaks_ = per_mille;
  if (process_ != nullptr) process_->store.SetBreaks(per_mille);
}
void SimHub::SetStoreSlow(Duration usual) {
  store_usual_ = usual;
  if (process_ != nullptr) process_->store.SetSlow(usual);
}

void SimHub::SetHistoryCut(bool cut) {
  is_history_cut_ = cut;
  if (process_ != nullptr && process_->history != nullptr) process_->history->SetCut(cut);
}
void SimHub::SetHistorySlow(Duration usual) {
  history_usual_ = usual;
  if (process_ != nullptr && process_->history != nullptr) process_->history->SetSlow(usual);
}

void SimHub::Accept(std::shared_ptr<Connection> connection) {
  const std::uint64_t id = ++process_->last_stream;
  const auto stream = std::make_shared<Stream>(*process_, id, connection);
  process_->streams.emplace(id, stream);
  connection->SetHubEvents(stream);
  stream->Post([](ingest::Events&) {});
}

}  // namespace clusterpulse::sim
