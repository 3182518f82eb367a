// What storing a cluster costs the hub: CPU time of ClusterState::Apply for 50 nodes with 20 labels each, divided by
// the CPU time a real redis-server needs for the same keys sent as plain pipelined commands. Both sides run in turns;
// the median of the rounds counts. Must: <= 1.5, aim: 1.0.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string_view>

#include <fmt/format.h>

#include "common/base/testing/manual_clock.h"
#include "common/base/time_format.h"
#include "common/tls/stream.h"
#include "hub/store/cluster_state.h"
#include "hub/store/documents.h"
#include "hub/store/keys.h"
#include "hub/store/redis_store.h"
#include "hub/store/resp.h"
#include "tests/support/redis_server.h"

namespace clusterpulse::store {
namespace {

constexpr int kNodes = 50;
constexpr int kLabels = 20;

model::ClusterSnapshot MakeSnapshot() {
  model::ClusterSnapshot snapshot;
  snapshot.nodes.emplace();
  for (int i = 0; i < kNodes; ++i) {
    model::Node node;
    node.name = fmt::format("worker-{:03}.harbour.example.com", i);
    node.status = model::NodeStatus::kReady;
    node.roles = {"worker"};
    for (const char* type : {"MemoryPressure", "DiskPressure", "PIDPressure", "Ready"}) {
      node.conditions.push_back({type, std::string_view(type) == "Ready" ? "True" : "False", "KubeletReported",
                                 "kubelet reports what it has to report",
                                 base::SystemTime(std::chrono::hours(300000))});
    }
    model::LabelsBuilder labels;
    for (int l = 0; l < kLabels; ++l) {
      labels.Add(fmt::format("topology.example.com/label-{:02}", l), fmt::format("value-{}-{}", i, l));
    }
    node.labels = labels.Build();
    node.cpu_capacity = 16;
    node.cpu_allocatable = 15.5;
    node.memory_capacity = 67'436'249'088;
    node.memory_allocatable = 66'262'892'544;
    node.storage_capacity = node.storage_allocatable = 214'748'364'800;
    node.pods_capacity = node.pods_allocatable = 250;
    node.pods = {40 + i % 7, 1, 0, 2, 43 + i % 7, 7.25 + i * 0.01, 21'474'836'480 + i};
    node.cpu_usage_percent = node.pods.cpu_requested / node.cpu_allocatable * 100;
    node.memory_usage_percent = static_cast<double>(node.pods.memory_requested) / 66'262'892'544.0 * 100;
    node.kernel_version = "6.1.0-18-amd64";
    node.os_image = "Debian GNU/Linux 12 (bookworm)";
    node.container_runtime = "containerd://1.7.13";
    node.kubelet_version = "v1.29.3";
    node.architecture = "amd64";
    node.internal_ip = fmt::format("10.42.0.{}", i);
    node.hostname = node.name;
    snapshot.nodes->push_back(std::move(node));
  }
  snapshot.counts = model::ClusterCounts{kNodes, kNodes, 2150, 2000, 800, 3'371'812'454'400, 412};
  snapshot.namespaces.emplace();
  for (int i = 0; i < 40; ++i) snapshot.namespaces->push_back(fmt::format("team-{:02}", i));
  snapshot.info =
      model::ClusterInfo{.api_url = "https://10.42.0.11:6443", .version = "v1.29.3", .platform = "linux/amd64"};
  return snapshot;
}

// The commands a plain writer would send for the same keys, each made by hand.
std::string PlainCommands(const std::string& cluster, const model::ClusterSnapshot& snapshot, base::SystemTime at,
                          std::uint64_t epoch, std::uint64_t seq, std::size_t& count) {
  std::string out;
  const std::string now = base::FormatSeconds(at);
  const std::string score = std::to_string(base::UnixSeconds(at));
  const std::string trim = std::to_string(base::UnixSeconds(at) - 3600);
  const auto send = [&](std::initializer_list<std::string_view> arguments) {
    Command command(out, arguments.size());
    for (const std::string_view argument : arguments) command.Arg(argument);
    ++count;
  };
  const auto members = [&](const std::string& key, const auto& names) {
    Command command(out, names.size() + 2);
    command.Arg("SADD").Arg(key);
    for (const auto& name : names) command.Arg(name);
    ++count;
  };
  std::vector<std::string> names;
  for (const model::Node& node : *snapshot.nodes) {
    names.push_back(node.name);
    const std::string key = keys::Node(cluster, node.name);
    const auto hash = documents::NodeHash(node, now);
    Command command(out, 2 + 2 * hash.size());
    command.Arg("HSET").Arg(key);
    for (const auto& [field, value] : hash) command.Arg(field).Arg(value);
    ++count;
    send({"EXPIRE", key, "600"});
    const std::string samples = keys::NodeMetrics(cluster, node.name);
    send({"ZADD", samples, score, documents::NodeSample(node, now)});
    send({"ZREMRANGEBYSCORE", samples, "-inf", trim});
    send({"EXPIRE", samples, "3600"});
  }
  members(keys::Cluster(cluster, "nodes"), names);
  send({"HSET", keys::Cluster(cluster, "nodes:summary"), "data", documents::NodesSummary(*snapshot.nodes, now)});
  send({"EXPIRE", keys::Cluster(cluster, "nodes:summary"), "600"});
  send({"SET", keys::Cluster(cluster, "metrics"),
        documents::Metrics(*snapshot.counts, {0, static_cast<std::int64_t>(snapshot.namespaces->size())}, now), "EX",
        "300"});
  send({"SET", keys::Cluster(cluster, "namespaces"), documents::Namespaces(*snapshot.namespaces, now), "EX", "600"});
  send({"DEL", keys::Cluster(cluster, "namespaces:set")});
  members(keys::Cluster(cluster, "namespaces:set"), *snapshot.namespaces);
  send({"EXPIRE", keys::Cluster(cluster, "namespaces:set"), "600"});
  send({"SET", keys::Cluster(cluster, "info"), documents::Info(*snapshot.info), "EX", "3600"});
  send({"SADD", "clusters:all", cluster});
  send({"SET", keys::Cluster(cluster, "status"),
        documents::Status({model::Health::kHealthy, "Cluster is reachable"}, now)});
  send({"HSET", keys::Cluster(cluster, "meta"), "last_update", now});
  send({"HSET", keys::Writer(cluster, WriterRole::kData), "epoch", std::to_string(epoch), "instance", "bench",
        "state_seq", std::to_string(seq)});
  return out;
}

std::chrono::microseconds ThreadCpu() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::microseconds(t.tv_sec * 1'000'000 + t.tv_nsec / 1000);
}

[[noreturn]] void Fail(const std::string& text) {
  std::fprintf(stderr, "store_bench: %s\n", text.c_str());
  std::exit(1);
}

int Run(int rounds, int applies) {
  const auto server = testing::RedisServer::Start({.config = {"enable-debug-command yes"}});
  if (server == nullptr) return 77;
  const tls::Endpoint address{"127.0.0.1", static_cast<std::uint16_t>(server->port())};
  RedisStore store({.address = address});
  auto plain = tls::Stream::Connect(address, std::nullopt, std::chrono::steady_clock::now() + std::chrono::seconds(5));
  if (!plain.ok()) Fail(plain.status().ToString());
  const auto send_plain = [&](const std::string& commands, std::size_t count) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    if (!(*plain)->Write(commands, deadline).ok()) Fail("plain write");
    RespReader reader;
    std::array<char, 65536> buffer;
    while (count > 0) {
      const auto reply = reader.Next();
      if (!reply.ok()) Fail(reply.status().ToString());
      if (reply->has_value()) {
        if ((*reply)->IsError()) Fail((*reply)->text);
        --count;
        continue;
      }
      const auto n = (*plain)->Read(buffer.data(), buffer.size(), deadline);
      if (!n.ok() || !reader.Feed(std::string_view(buffer.data(), *n)).ok()) Fail("plain read");
    }
  };
  // Both begin with a store that is marked as ours already.
  const auto flush = [&] {
    server->Cli({"FLUSHALL"});
    server->Cli({"SET", "clusterpulse:schema", "1"});
  };

  const model::ClusterSnapshot snapshot = MakeSnapshot();
  const std::string cluster = "harbour-7";
  std::vector<double> ratios;
  std::string ours_digest, plain_digest;
  std::printf("%6s %14s %14s %18s %7s\n", "round", "hub us/apply", "redis us/plain", "redis us/our apply", "ratio");
  for (int round = 0; round < rounds; ++round) {
    base::ManualClock clock;
    ClusterState state(store, {}, clock);
    flush();
    const auto epoch = state.AcquireEpoch(cluster);
    if (!epoch.ok()) Fail(epoch.status().ToString());
    const auto redis_before_ours = server->CpuTime();
    const auto hub_before = ThreadCpu();
    for (int i = 1; i <= applies; ++i) {
      const auto result = state.Apply({cluster, *epoch, "bench", static_cast<std::uint64_t>(i)}, snapshot,
                                      {model::Health::kHealthy, "Cluster is reachable"}, {}, {});
      if (!result.ok() || *result != ApplyResult::kApplied) Fail("apply: " + result.status().ToString());
      clock.AdvanceBy(std::chrono::seconds(30));
    }
    const double hub = static_cast<double>((ThreadCpu() - hub_before).count()) / applies;
    const double redis_ours = static_cast<double>((server->CpuTime() - redis_before_ours).count()) / applies;
    ours_digest = server->Cli({"DEBUG", "DIGEST"}).out;

    base::ManualClock plain_clock;
    std::vector<std::pair<std::string, std::size_t>> recorded;
    for (int i = 1; i <= applies; ++i) {
      std::size_t count = 0;
      std::string commands =
          PlainCommands(cluster, snapshot, plain_clock.Now(), *epoch, static_cast<std::uint64_t>(i), count);
      recorded.emplace_back(std::move(commands), count);
      plain_clock.AdvanceBy(std::chrono::seconds(30));
    }
    flush();
    const auto redis_before = server->CpuTime();
    for (const auto& [commands, count] : recorded) send_plain(commands, count);
    const double redis = static_cast<double>((server->CpuTime() - redis_before).count()) / applies;
    plain_digest = server->Cli({"DEBUG", "DIGEST"}).out;
    if (ours_digest != plain_digest) Fail("the two ways did not end in the same keys");
    ratios.push_back(hub / redis);
    std::printf("%6d %14.0f %14.0f %18.0f %7.2f\n", round + 1, hub, redis, redis_ours, ratios.back());
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf(
      "store: Apply of %d nodes, hub CPU / redis-server CPU for plain commands: median %.2f (must <= 1.5, aim 1.0)\n",
      kNodes, ratios[ratios.size() / 2]);
  return 0;
}

}  // namespace
}  // namespace clusterpulse::store

int main(int argc, char** argv) {
  // Any flag: the short run that only shows that it works.
  (void)argv;
  return argc > 1 ? clusterpulse::store::Run(1, 20) : clusterpulse::store::Run(7, 400);
}
