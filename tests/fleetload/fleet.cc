#include "tests/fleetload/fleet.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <thread>

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

namespace clusterpulse::fleetload {
namespace {

constexpr auto kTick = std::chrono::milliseconds(5);
constexpr auto kHeartbeat = std::chrono::seconds(30);

double Seconds(std::chrono::nanoseconds d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

struct Fleet::Member {
  std::shared_ptr<SimCollector> collector;
  SteadyTime next_batch{}, next_heartbeat{}, next_connect{};
  bool wants_connection = true;
  std::string seen_end;
};

Fleet::Fleet(FleetOptions options, const std::map<std::string, std::string>& tokens)
    : options_(std::move(options)), random_(options_.seed) {
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

bool Fleet::ConnectAll(std::chrono::seconds limit) {
  started_ = std::chrono::steady_clock::now();
  std::uniform_real_distribution<double> share(0, 1);
  for (std::size_t i = 0; i < members_.size(); ++i) {
    Member& member = members_[i];
    const double wait = options_.connects_per_second > 0 ? static_cast<double>(i) / options_.connects_per_second : 0;
    member.next_connect = started_ + std::chrono::nanoseconds(static_cast<std::int64_t>(wait * 1e9));
    // Spread over the interval, as collectors that started at different times are.
    member.next_batch =
        member.next_connect + options_.interval +
        std::chrono::nanoseconds(static_cast<std::int64_t>(share(random_) * 1e9 * Seconds(options_.interval)));
    member.next_heartbeat = member.next_connect + kHeartbeat;
  }
  while (std::chrono::steady_clock::now() - started_ < limit) {
    Step(false);
    if (std::all_of(members_.begin(), members_.end(), [](const Member& m) { return m.collector->is_live(); })) {
      all_live_seconds_ = Seconds(std::chrono::steady_clock::now() - started_);
      return true;
    }
    std::this_thread::sleep_for(kTick);
  }
  return false;
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
      if (faults && share(random_) < options_.bad_share) {
        collector.MakeBadBatch();
      } else {
        collector.MakeBatch();
      }
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
  const SteadyTime until = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < until) {
    Step(false);
    if (std::all_of(members_.begin(), members_.end(),
                    [](const Member& m) { return m.collector->is_live() && m.collector->is_settled(); })) {
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
