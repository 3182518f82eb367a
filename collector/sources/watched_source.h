#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include <absl/status/status.h>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/json/cursor.h"
#include "common/kube/kube_api.h"
#include "common/kube/watch_cache.h"
#include "common/log/logger.h"
#include "common/metricsource/collect.h"
#include "common/metricsource/reader.h"
#include "common/metricsource/source.h"

namespace clusterpulse::sources {

// The objects of one MetricSource, of which a watch keeps what the rows need: Read gives what listing them would give,
// and costs the server nothing. What depends on the time is computed with each Read.
//
// Construct, Start; the destructor ends its thread. Read is for one thread at a time, the rest is thread-safe. `api`,
// clock and generator are borrowed and must outlive this.
class WatchedSource {
 public:
  struct Options {
    // A watch that has shown no life for longer is not believed. Servers end each at most `longest_watch` after it
    // began, which is life.
    std::chrono::seconds believed_for{75}, longest_watch{60};
    base::Backoff::Options backoff{};
    log::Logger log;
    const base::Clock* clock = &base::SystemClock();
    base::Random* random = &base::SystemRandom();
  };

  // Whether its rows are those of one list, as a watch knows them. Namespaces that are named exactly are listed one by
  // one, which may be all that is allowed. And an object's own kind and apiVersion, which a watch tells with every
  // object, are not in lists of the server's own kinds. `resource`: as the server has it.
  static bool CanWatch(const metricsource::Source& source, const kube::ResourceType& resource);

  // REQUIRES: CanWatch.
  WatchedSource(std::shared_ptr<const metricsource::Source> source, const kube::ResourceType& resource,
                kube::KubeApi& api, Options options);

  void Start() { cache_.Start(); }

  // Rows in the order of a server's list (that of the keys in its store), cut as a list would be. Nullopt: the watch
  // has not listed yet, or cannot vouch for what it knows: list.
  std::optional<metricsource::Collection> Read();

  const std::shared_ptr<const metricsource::Source>& source() const { return source_; }
  struct Size {
    std::size_t objects = 0, bytes = 0;
  };
  Size size() const;
  // The server does not let us watch, or again and again not on from where we were, or watches have failed for long:
  // listing is cheaper. A server that was away for some minutes does not make it so.
  bool IsUseless() const;

 private:
  // What is kept of an object: labels and fields; null: it is of a namespace that the source does not take.
  using Record = std::shared_ptr<const std::string>;

  absl::Status Project(json::Cursor object, kube::ObjectMeta& meta, Record& out);

  const std::shared_ptr<const metricsource::Source> source_;
  const Options options_;

  // Confined to the reflector's thread.
  metricsource::RowReader projector_;
  json::Parser meta_parser_, row_parser_;

  kube::WatchCache<Record> cache_;  // last: its thread uses the others
};

}  // namespace clusterpulse::sources
