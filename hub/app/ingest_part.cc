#include "hub/app/ingest_part.h"

#include <utility>

#include "common/app/version.h"

namespace clusterpulse::app {
namespace {

// A cut network is noticed after at most 28 s; with the time a successor gets, such a cluster is lost within 45 s.
constexpr std::chrono::seconds kKeepaliveTime{20}, kKeepaliveTimeout{8};

ingest::Ingester::Options OptionsOf(const Config& config, std::string hub_name) {
  ingest::Ingester::Options options;
  options.hub = std::move(hub_name);
  options.version = kVersion;
  options.port = config.ingester_port;
  if (config.ingester_tls) {
    options.tls_cert = config.ingester_tls_cert;
    options.tls_key = config.ingester_tls_key;
  }
  options.keepalive_time = kKeepaliveTime;
  options.keepalive_timeout = kKeepaliveTimeout;
  return options;
}

}  // namespace

IngestPart::IngestPart(const Config& config, std::string hub_name, const Dependencies& deps,
                       const reconcile::CollectorTokens::Sources& sources, log::Logger log)
    : policies_(sources.connection,
                {.defaults = {.interval = config.reconciliation_interval, .timeout = config.connect_timeout},
                 .operator_interval = config.operator_scan_interval,
                 .limits = {.max_nodes = config.ingester_max_nodes,
                            .max_rows = config.ingester_max_rows,
                            .max_bytes_per_second = config.ingester_max_bytes_per_second}},
                [sources = deps.sources](const std::string& cluster, const model::Labels& labels) {
                  return sources != nullptr ? sources->DefinitionsFor(cluster, labels) : std::vector<std::string>();
                }),
      token_marker_(deps.hub, sources.token_secret),
      token_marks_({.name = "collector-token", .needs_lead = false, .registry = &deps.registry}, token_marker_,
                   deps.clock, log),
      tokens_(
          deps.hub, sources, [this](const kube::ObjectKey& secret) { token_marks_.Enqueue(secret); },
          {.hub_namespace = config.ns, .accept_bootstrap = config.ingester_bootstrap_token}, deps.clock),
      data_({deps.store, deps.clusters, deps.collectors, deps.clock, &deps.registry,
             deps.sources != nullptr ? &deps.sources->state() : nullptr,
             deps.sources != nullptr ? &deps.sources->results() : nullptr},
            sources.connection, {.operator_interval = config.operator_scan_interval}),
      ingester_(OptionsOf(config, std::move(hub_name)),
                {policies_, tokens_, data_, deps.clock, deps.random, &deps.registry, deps.history,
                 deps.sources != nullptr ? &deps.sources->results() : nullptr},
                log) {
  deps.registry
      .Gauges("clusterpulse_hub_ingester_tls_enabled", "1: collectors speak TLS with this hub; 0: in clear text")
      .With({})
      .Set(config.ingester_tls ? 1 : 0);
}

void IngestPart::ConnectionChanged(const kube::ObjectKey& key, const kube::ObjectMeta* meta) {
  if (changes_.Passes(key, meta)) ingester_.Recheck(key.name);
}

}  // namespace clusterpulse::app
