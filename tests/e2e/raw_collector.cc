#include "tests/e2e/raw_collector.h"

#include <algorithm>

#include <fmt/format.h>

namespace clusterpulse::testing {
namespace {

constexpr std::chrono::seconds kInterval{5};

ClientOptions OptionsFor(const HubFixture& hub) {
  const std::string ca = hub.ingester_ca();
  return {.target = fmt::format("localhost:{}", hub.ingester_port()), .ca_pem = ca.empty() ? "" : ReadFile(ca)};
}

}  // namespace

RawCollector::RawCollector(HubFixture& hub, std::string cluster, std::string token, bool upstream)
    : cluster_(std::move(cluster)), token_(std::move(token)), upstream_(upstream), client_(OptionsFor(hub), token_) {}

bool RawCollector::Register() {
  model::Registration registration;
  registration.cluster = cluster_;
  registration.token = token_;
  registration.version = "by-hand";
  if (upstream_) return client_.Send(registration);
  registration.instance = "by-hand";
  registration.capabilities = {true, true, true};
  registration.interval = kInterval;
  return client_.Send(registration) && client_.Await<model::Welcome>().has_value();
}

model::Batch RawCollector::MakeBatch(std::uint64_t seq, const std::vector<std::string>& nodes) const {
  model::Batch batch;
  batch.cluster = cluster_;
  batch.id = fmt::format("by-hand-{}", seq);
  batch.seq = upstream_ ? 0 : seq;
  batch.collected_at = base::SystemClock().Now();
  if (!upstream_) batch.interval = kInterval;
  batch.snapshot.nodes.emplace();
  for (const std::string& name : nodes) {
    model::Node node;
    node.name = name;
    node.status = model::NodeStatus::kReady;
    batch.snapshot.nodes->push_back(std::move(node));
  }
  const auto count = static_cast<std::int32_t>(nodes.size());
  batch.snapshot.counts = model::ClusterCounts{count, count, 10, 9, 8, 1024, 4};
  return batch;
}

bool RawCollector::WaitForApplied(std::uint64_t seq) {
  while (const auto ack = client_.Await<model::DeliveryAck>()) {
    const auto& applied = ack->applied;
    if (std::any_of(applied.begin(), applied.end(),
                    [seq](const model::SeqRange& range) { return range.first <= seq && seq <= range.last; })) {
      return true;
    }
  }
  return false;
}

}  // namespace clusterpulse::testing
