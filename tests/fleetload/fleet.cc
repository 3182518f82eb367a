#include "tests/fleetload/fleet.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <future>
#include <iterator>
#include <thread>

#include <absl/synchronization/mutex.h>
#include <fmt/format.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>

namespace clusterpulse::fleetload {
namespace {

constexpr auto kTick = std::chrono::milliseconds(5), kPushTick = std::chrono::milliseconds(1);
constexpr auto kHeartbeat = std::chrono::seconds(30);

double Seconds(std::chrono::nanoseconds d) { return std::chrono::duration<double>(d).count(); }
std::chrono::nanoseconds Nanos(double seconds) {
  return std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
}

// gRPC 1.51 ends its callback threads with the last channel that made a call, and aborts when it is one of them that
// drops it, as the end of a stream may: one channel stays for good.
void KeepCallbackThreads() {
  static const auto* const keeper = [] {
    auto channel = std::make_unique<std::shared_ptr<grpc::Channel>>(
        grpc::CreateChannel("127.0.0.1:1", grpc::InsecureChannelCredentials()));
    grpc::GenericStub stub(*channel);
    grpc::ClientContext context;
    context.TryCancel();
    const grpc::Slice nothing("");
    grpc::ByteBuffer request(&nothing, 1), response;
    std::promise<void> ended;
    stub.UnaryCall(&context, "/none", grpc::StubOptions(), &request, &response,
                   [&ended](const grpc::Status& /*cancelled*/) { ended.set_value(); });
    ended.get_future().wait();
    return channel.release();
  }();
  (void)keeper;
}

}  // namespace

struct Fleet::Member {
  std::shared_ptr<SimCollector> collector;
  // max(): not until Connect.
  SteadyTime next_batch = SteadyTime::max(), next_heartbeat = SteadyTime::max(), next_connect = SteadyTime::max();
  bool wants_connection = false;
};

Fleet::Fleet(FleetOptions options, const std::map<std::string, std::string>& tokens)
    : options_(std::move(options)), random_(options_.seed) {
  KeepCallbackThreads();
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as the programs do (app::TuneRuntime)
  if (!options_.tls_ca.empty()) {
    std::ifstream file(options_.tls_ca);
    ca_pem_.assign(std::istreambuf_iterator<char>(file), {});
  }
  std::uniform_real_distribution<double> share(0, 1);
  for (const auto& [cluster, token] : tokens) {
    SimCollector::Options collector;
    collector.cluster = cluster;
    collector.token = token;
    collector.instance = fmt::format("{:016x}{:016x}", random_(), random_());
    collector.nodes = options_.nodes;
    collector.labels = options_.labels;
    collector.interval = options_.interval;
    collector.upstream = share(random_) < options_.upstream_share;
    collector.channel = [this] { return MakeChannel(); };
    collector.report = [](const std::string& line) { std::fprintf(stderr, "violation: %s\n", line.c_str()); };
    Member member;
    member.collector = std::make_shared<SimCollector>(std::move(collector));
    members_.push_back(std::move(member));
  }
}

Fleet::~Fleet() {
  for (const Member& member : members_) member.collector->Drop();
}

std::shared_ptr<grpc::Channel> Fleet::MakeChannel() const {
  grpc::ChannelArguments arguments;
  // A collector has a connection of its own; in one process gRPC would share them.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (ca_pem_.empty()) return grpc::CreateCustomChannel(options_.hub, grpc::InsecureChannelCredentials(), arguments);
  if (!options_.tls_name.empty()) arguments.SetSslTargetNameOverride(options_.tls_name);
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = ca_pem_;
  return grpc::CreateCustomChannel(options_.hub, grpc::SslCredentials(ssl), arguments);
}

bool Fleet::ConnectAll(std::chrono::seconds limit) { return Connect(members_.size(), limit); }

bool Fleet::Connect(std::size_t count, std::chrono::seconds limit) {
  const SteadyTime started = std::chrono::steady_clock::now();
  const auto end = members_.begin() + static_cast<std::ptrdiff_t>(std::min(count, members_.size()));
  std::uniform_real_distribution<double> share(0, 1);
  SteadyTime turn = started;
  for (auto it = members_.begin(); it != end; ++it) {
    Member& member = *it;
    if (member.collector->connected()) continue;
    member.wants_connection = true;
    member.next_connect = turn;
    if (options_.connects_per_second > 0) turn += Nanos(1 / options_.connects_per_second);
    // Spread over the interval, as collectors that started at different times are.
    member.next_batch = member.next_connect + options_.interval + Nanos(share(random_) * Seconds(options_.interval));
    member.next_heartbeat = member.next_connect + kHeartbeat;
  }
  all_welcomed_seconds_ = 0;
  while (std::chrono::steady_clock::now() - started < limit) {
    Step(false);
    if (all_welcomed_seconds_ == 0 &&
        std::all_of(members_.begin(), end, [](const Member& m) { return m.collector->is_welcomed(); })) {
      all_welcomed_seconds_ = Seconds(std::chrono::steady_clock::now() - started);
    }
    if (std::all_of(members_.begin(), end, [](const Member& m) { return m.collector->is_live(); })) {
      all_live_seconds_ = Seconds(std::chrono::steady_clock::now() - started);
      return true;
    }
    std::this_thread::sleep_for(kTick);
  }
  return false;
}

void Fleet::Prepare() {
  for (Member& member : members_) member.collector->Prepare();
}

void Fleet::DropAll() {
  for (Member& member : members_) {
    member.wants_connection = false;
    member.next_batch = member.next_heartbeat = member.next_connect = SteadyTime::max();
    member.collector->Drop();
  }
}

bool Fleet::Push(int batches, std::chrono::seconds limit) {
  const SteadyTime until = std::chrono::steady_clock::now() + limit;
  std::vector<int> left(members_.size(), batches);
  while (std::chrono::steady_clock::now() < until) {
    bool is_done = true;
    for (std::size_t i = 0; i < members_.size(); ++i) {
      SimCollector& collector = *members_[i].collector;
      const Counts counts = collector.counts();
      const bool is_answered = collector.is_live() && counts.applied + counts.rejected == counts.batches_sent;
      is_done = is_done && is_answered && left[i] == 0;
      if (!is_answered || left[i] == 0) continue;
      collector.MakeBatch();
      --left[i];
    }
    if (is_done) return true;
    Step(false);
    std::this_thread::sleep_for(kPushTick);
  }
  return false;
}

std::vector<SteadyTime> Fleet::AwaitSources(std::size_t sources, std::chrono::seconds limit) {
  const SteadyTime until = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < until) {
    std::vector<SteadyTime> told;
    for (const Member& member : members_) {
      const SimCollector::Configured configured = member.collector->configured();
      if (configured.sources == sources) told.push_back(configured.at);
    }
    if (told.size() == members_.size()) return told;
    Step(false);
    std::this_thread::sleep_for(kPushTick);
  }
  return {};
}

void Fleet::Step(bool faults) {
  const SteadyTime now = std::chrono::steady_clock::now();
  std::uniform_real_distribution<double> share(0, 1);
  for (Member& member : members_) {
    SimCollector& collector = *member.collector;
    if (const std::string end = collector.last_end();
        !end.empty() && !collector.connected() && member.wants_connection && member.next_connect == SteadyTime::max()) {
      ++ends_[end];
      member.next_connect = now + std::chrono::milliseconds(static_cast<int>(2000 * share(random_)));
    }
    if (member.next_connect <= now) {
      collector.Connect();
      member.next_connect = SteadyTime::max();
    }
    if (member.next_batch <= now) {
      member.next_batch += options_.interval;
      const bool is_bad = faults && share(random_) < options_.bad_share;
      is_bad ? collector.MakeBadBatch() : collector.MakeBatch();
    }
    if (member.next_heartbeat <= now) {
      member.next_heartbeat += kHeartbeat;
      collector.Heartbeat();
    }
  }
  if (faults && !members_.empty() && share(random_) < options_.drops_per_second * Seconds(kTick)) {
    Member& member = members_[random_() % members_.size()];
    member.collector->Drop();
    member.next_connect = now + std::chrono::milliseconds(static_cast<int>(2000 * share(random_)));
  }
}

void Fleet::RunFor(std::chrono::seconds duration) {
  const SteadyTime until = std::chrono::steady_clock::now() + duration;
  while (std::chrono::steady_clock::now() < until) {
    Step(true);
    std::this_thread::sleep_for(kTick);
  }
}

bool Fleet::Settle(std::chrono::seconds limit) {
  // Of many collectors that go on, one always has a batch that is not durable yet.
  for (Member& member : members_) member.next_batch = SteadyTime::max();
  const SteadyTime until = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < until) {
    Step(false);
    if (std::all_of(members_.begin(), members_.end(), [](const Member& m) {
          return !m.wants_connection || (m.collector->is_live() && m.collector->is_settled());
        })) {
      return true;
    }
    std::this_thread::sleep_for(kTick);
  }
  return false;
}

FleetResult Fleet::result() const {
  FleetResult result;
  result.collectors = static_cast<int>(members_.size());
  result.all_live_seconds = all_live_seconds_;
  result.all_welcomed_seconds = all_welcomed_seconds_;
  result.ends = ends_;
  std::vector<double> times;
  for (const Member& member : members_) {
    result.counts += member.collector->counts();
    result.live += member.collector->is_live() ? 1 : 0;
    result.settled += member.collector->is_settled() ? 1 : 0;
    if (const auto time = member.collector->time_to_live()) times.push_back(Seconds(*time));
  }
  std::sort(times.begin(), times.end());
  if (!times.empty()) {
    result.median_seconds = times[times.size() / 2];
    result.worst_seconds = times.back();
  }
  return result;
}

}  // namespace clusterpulse::fleetload
