#include "hub/ingest/parts.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "common/base/status.h"
#include "common/wire/messages.h"

namespace clusterpulse::ingest {
namespace {

template <typename T>
void MoveAll(std::vector<T>&& from, std::vector<T>& to) {
  if (to.empty()) {
    to = std::move(from);
    return;
  }
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

template <typename T>
void AppendScope(std::optional<std::vector<T>>&& from, std::optional<std::vector<T>>& to) {
  if (!from.has_value()) return;
  if (!to.has_value()) to.emplace();
  MoveAll(*std::move(from), *to);
}

template <typename T>
void TakeFirst(std::optional<T> from, std::optional<T>& to) {
  if (!to.has_value()) to = std::move(from);
}

// Rows join the source they belong to; of its properties those of the first part hold.
class SourceJoiner {
 public:
  explicit SourceJoiner(std::vector<model::SourceResult>& to) : to_(to) { Index(0); }

  void Append(std::vector<model::SourceResult>&& from) {
    const std::size_t before = to_.size();
    for (model::SourceResult& source : from) {
      const auto known = at_.find(source.source);
      if (known == at_.end()) {
        to_.push_back(std::move(source));
        continue;
      }
      model::SourceResult& to = to_[known->second];
      MoveAll(std::move(source.rows), to.rows);
      to.truncated |= source.truncated;
      to.aggregations.merge(source.aggregations);
    }
    Index(before);
  }

 private:
  void Index(std::size_t from) {
    for (std::size_t i = from; i < to_.size(); ++i) at_.emplace(to_[i].source, i);
  }

  std::vector<model::SourceResult>& to_;
  std::map<std::string, std::size_t> at_;
};

template <typename T>
absl::Status CheckUnique(std::string_view list, const std::optional<std::vector<T>>& items) {
  if (!items.has_value()) return absl::OkStatus();
  std::set<std::string_view> seen;
  for (const T& item : *items) {
    if (!seen.insert(item.name).second) return base::InvalidArgument("{} has {} twice", list, item.name);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<model::Batch> JoinParts(std::vector<model::Batch> parts) {
  if (parts.empty()) return base::Internal("a batch without parts");
  model::Batch whole = std::move(parts.front());
  whole.part = whole.parts = 0;
  model::ClusterSnapshot& to = whole.snapshot;
  SourceJoiner sources(whole.sources);
  for (auto part = std::next(parts.begin()); part != parts.end(); ++part) {
    model::ClusterSnapshot& from = part->snapshot;
    AppendScope(std::move(from.nodes), to.nodes);
    AppendScope(std::move(from.namespaces), to.namespaces);
    AppendScope(std::move(from.operators), to.operators);
    AppendScope(std::move(from.cluster_operators), to.cluster_operators);
    TakeFirst(from.counts, to.counts);
    TakeFirst(std::move(from.info), to.info);
    sources.Append(std::move(part->sources));
  }
  RETURN_IF_ERROR(CheckUnique("node_metrics", to.nodes));
  RETURN_IF_ERROR(CheckUnique("cluster_operators", to.cluster_operators));
  if (to.namespaces.has_value()) {
    std::sort(to.namespaces->begin(), to.namespaces->end());
    to.namespaces->erase(std::unique(to.namespaces->begin(), to.namespaces->end()), to.namespaces->end());
  }
  return whole;
}

absl::StatusOr<model::Batch> DecodeParts(const std::vector<std::string>& messages) {
  if (messages.size() == 1) {
    ASSIGN_OR_RETURN(model::Batch whole, wire::DecodeBatch(messages.front()));
    whole.part = whole.parts = 0;
    return whole;
  }
  std::vector<model::Batch> parts;
  parts.reserve(messages.size());
  for (const std::string& message : messages) {
    ASSIGN_OR_RETURN(model::Batch part, wire::DecodeBatch(message));
    parts.push_back(std::move(part));
  }
  return JoinParts(std::move(parts));
}

}  // namespace clusterpulse::ingest
