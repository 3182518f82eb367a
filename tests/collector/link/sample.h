#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <catch2/catch.hpp>

#include "common/base/random.h"
#include "common/model/batch.h"
#include "common/wire/messages.h"

namespace clusterpulse::link {

inline model::Node SampleNode(std::size_t i, std::size_t padding = 0) {
  model::Node node;
  node.name = "node-" + std::to_string(i);
  node.status = model::NodeStatus::kReady;
  node.cpu_capacity = static_cast<double>(i);
  node.labels = {{"padding", std::string(padding, 'x')}};
  return node;
}

// A batch with nodes, counts and namespaces.
inline model::Batch NodeBatch(std::string id, std::size_t nodes = 1, std::size_t padding = 0) {
  model::Batch batch;
  batch.cluster = "edge-1";
  batch.id = std::move(id);
  batch.collected_at = base::SystemTime(std::chrono::seconds(1'700'000'000));
  batch.interval = std::chrono::seconds(30);
  batch.snapshot.nodes.emplace();
  for (std::size_t i = 0; i < nodes; ++i) batch.snapshot.nodes->push_back(SampleNode(i, padding));
  batch.snapshot.counts = model::ClusterCounts{.nodes = static_cast<int>(nodes), .deployments = 3};
  batch.snapshot.namespaces = {"default"};
  return batch;
}

inline model::SourceResult SampleSource(std::string name, std::size_t rows, std::size_t padding = 0) {
  model::SourceResult source;
  source.source = "team-a/" + name;
  source.resource_count = static_cast<int>(rows);
  source.duration = std::chrono::milliseconds(12);
  source.aggregations = {{"ready", 7.5}};
  for (std::size_t i = 0; i < rows; ++i) {
    source.rows.push_back({"ns/" + std::to_string(i),
                           "ns",
                           std::to_string(i),
                           {{"app", std::string(padding, 'y')}},
                           R"({"ready":true})"});
  }
  return source;
}

// A batch message as the hub reads it.
inline model::Batch ReadBatch(const std::string& message) {
  const auto decoded = wire::DecodeFromCollector(message);
  REQUIRE(decoded.ok());
  REQUIRE(std::holds_alternative<model::Batch>(*decoded));
  return std::get<model::Batch>(*decoded);
}

// What a hub does with parts, and what all pieces of a batch say together: lists of the same scope are joined.
inline void JoinInto(model::Batch& whole, const model::Batch& part) {
  const auto append = [](auto& to, const auto& from) {
    if (!from.has_value()) return;
    if (!to.has_value()) to.emplace();
    to->insert(to->end(), from->begin(), from->end());
  };
  append(whole.snapshot.nodes, part.snapshot.nodes);
  append(whole.snapshot.namespaces, part.snapshot.namespaces);
  append(whole.snapshot.operators, part.snapshot.operators);
  append(whole.snapshot.cluster_operators, part.snapshot.cluster_operators);
  if (part.snapshot.counts.has_value()) whole.snapshot.counts = part.snapshot.counts;
  if (part.snapshot.info.has_value()) whole.snapshot.info = part.snapshot.info;
  for (const model::SourceResult& source : part.sources) {
    if (whole.sources.empty() || whole.sources.back().source != source.source) {
      whole.sources.push_back(source);
      continue;
    }
    model::SourceResult& to = whole.sources.back();
    to.rows.insert(to.rows.end(), source.rows.begin(), source.rows.end());
    to.aggregations.insert(source.aggregations.begin(), source.aggregations.end());
  }
}

}  // namespace clusterpulse::link
