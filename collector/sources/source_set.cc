#include "collector/sources/source_set.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "common/base/printable.h"
#include "common/base/utf8.h"
#include "common/json/value.h"
#include "common/wire/names.h"

namespace clusterpulse::sources {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kLongestMessage = 2048, kLongestHash = 64;
// Of its interval, until the second run of a source: one whole interval wide.
constexpr double kSoonest = 0.25;

// As the wire takes it.
std::string Text(std::string text) {
  if (!base::IsUtf8(text)) return base::Printable(std::move(text), kLongestMessage);
  if (text.size() > kLongestMessage) {
    std::size_t size = kLongestMessage;
    while ((static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
    text.resize(size);
  }
  return text;
}

std::string OneLine(std::string text) {
  for (std::size_t at = text.find('\n'); at != std::string::npos; at = text.find('\n', at)) text.replace(at, 1, "; ");
  return text;
}

base::SystemTime WholeMillis(base::SystemTime time) {
  return base::SystemTime(std::chrono::floor<milliseconds>(time.time_since_epoch()));
}

milliseconds Times(double factor, std::chrono::seconds time) {
  return milliseconds(static_cast<std::int64_t>(factor * static_cast<double>(milliseconds(time).count())));
}

}  // namespace

SourceSet::Definition SourceSet::Read(const std::string& text, std::size_t index) {
  Definition out{.text = text};
  const auto json = json::Value::Parse(text);
  const auto fail = [&](std::string_view why) {
    out.problem = fmt::format("metric source {}: rejected: {}", index + 1, why);
    return out;
  };
  if (!json.ok() || !json->IsObject()) return fail("no JSON object");
  const std::string_view ns = (*json)["namespace"].StringOr(), name = (*json)["name"].StringOr();
  if (!wire::IsDnsLabel(ns) || !wire::IsDnsSubdomain(name)) return fail("no namespace and name of a MetricSource");
  out.id = fmt::format("{}/{}", ns, name);
  const std::string_view hash = (*json)["hash"].StringOr();
  if (hash.size() <= kLongestHash) out.hash = hash;
  return out;
}

void SourceSet::Compile(Definition& definition) {
  metricsource::Diagnostics diagnostics;
  definition.source = metricsource::CompileDefinition(definition.text, diagnostics);
  if (definition.source == nullptr) {
    definition.problem = Text(diagnostics.Summary());
  } else if (definition.hash.empty()) {
    definition.hash = definition.source->hash;
  }
}

SourceSet::Applied SourceSet::Apply(const std::vector<std::string>& texts) {
  base::MutexLock apply_lock(apply_mu_);
  Applied applied;
  std::vector<Definition> definitions;
  std::set<std::string, std::less<>> ids;
  for (const std::string& text : texts) {
    Definition definition = Read(text, definitions.size());
    if (!definition.id.empty() && !ids.insert(definition.id).second) {
      definition.problem = fmt::format("metric source {}: rejected: it is there twice", definition.id);
      definition.id.clear();
    }
    if (!definition.id.empty()) {
      {
        base::MutexLock lock(mu_);
        const auto entry = entries_.find(definition.id);
        definition.is_known =
            entry != entries_.end() && (entry->second.text == text || entry->second.rejected_text == text);
      }
      if (!definition.is_known) Compile(definition);
    }
    definitions.push_back(std::move(definition));
  }

  std::vector<std::stop_source> stops;
  {
    base::MutexLock lock(mu_);
    for (auto it = entries_.begin(); it != entries_.end();) {
      const auto here = it++;
      if (ids.contains(here->first)) continue;
      stops.push_back(here->second.stop);
      applied.is_changed |= here->second.source != nullptr;
      applied.gone.push_back(here->first);
      entries_.erase(here);
    }
    for (Definition& definition : definitions) TakeInLocked(std::move(definition), applied, stops);
    applied.in_force = static_cast<std::size_t>(std::count_if(
        entries_.begin(), entries_.end(), [](const auto& entry) { return entry.second.source != nullptr; }));
  }
  applied.rejected = applied.problems.size();
  // What runs may be in a call that ends on this thread.
  for (std::stop_source& stop : stops) stop.request_stop();
  return applied;
}

void SourceSet::TakeInLocked(Definition definition, Applied& applied, std::vector<std::stop_source>& stops) {
  if (definition.id.empty()) {
    applied.problems.push_back(std::move(definition.problem));
    return;
  }
  Entry& entry = entries_[definition.id];
  const bool is_bad = definition.is_known ? entry.text != definition.text : definition.source == nullptr;
  if (is_bad) {
    if (!definition.is_known) {
      entry.problem = fmt::format("metric source {}: rejected: {}", definition.id, OneLine(definition.problem));
      entry.rejected_text = std::move(definition.text);
      entry.rejection = {.result = {.source = definition.id,
                                    .definition_hash = std::move(definition.hash),
                                    .failure = "Rejected",
                                    .message = std::move(definition.problem),
                                    .errors = 1},
                         .began = {.steady = clock_.Steady()}};
      if (entry.source != nullptr) entry.rejection->result.message += "; the version before goes on";
      entry.is_failure_new = applied.has_news = true;
    }
    applied.problems.push_back(entry.problem);
    return;
  }
  if (entry.rejection) {
    // The hub knows of the rejection only that it was the last it heard.
    entry.rejection.reset();
    entry.rejected_text.clear();
    entry.problem.clear();
    applied.has_news |= entry.is_rows_new = entry.rows.has_value();
    entry.is_failure_new = entry.failure.has_value();
  }
  if (definition.is_known) return;
  applied.is_changed = true;
  if (entry.source != nullptr && entry.source->hash == definition.source->hash) {
    // Another hub made it, or at another time.
    if (entry.hash != definition.hash) applied.has_news |= entry.is_rows_new = entry.rows.has_value();
    entry.text = std::move(definition.text);
    entry.hash = std::move(definition.hash);
    return;
  }
  stops.push_back(entry.stop);
  entry = {.text = std::move(definition.text),
           .hash = std::move(definition.hash),
           .source = std::move(definition.source),
           .due = clock_.Steady()};
}

std::shared_ptr<const metricsource::Source> SourceSet::Find(std::string_view id) const {
  base::MutexLock lock(mu_);
  const auto entry = entries_.find(id);
  return entry == entries_.end() ? nullptr : entry->second.source;
}

std::vector<std::string> SourceSet::definitions() const {
  base::MutexLock lock(mu_);
  std::vector<std::string> texts;
  for (const auto& [id, entry] : entries_) {
    if (entry.source != nullptr) texts.push_back(entry.text);
  }
  return texts;
}

std::optional<SourceSet::Run> SourceSet::Begin() {
  base::MutexLock lock(mu_);
  const base::SteadyTime now = clock_.Steady();
  Entry* next = nullptr;
  for (auto& [id, entry] : entries_) {
    if (entry.source == nullptr || entry.running != 0 || entry.due > now) continue;
    if (next == nullptr || entry.due < next->due) next = &entry;
  }
  if (next == nullptr) return std::nullopt;
  next->running = ++last_run_;
  next->begun = now;
  return Run{next->source, next->running, next->stop.get_token()};
}

std::optional<base::SteadyTime> SourceSet::due() const {
  base::MutexLock lock(mu_);
  std::optional<base::SteadyTime> due;
  for (const auto& [id, entry] : entries_) {
    if (entry.source != nullptr && entry.running == 0) due = std::min(due.value_or(entry.due), entry.due);
  }
  return due;
}

SourceSet::Ended SourceSet::End(const Run& run, metricsource::Collection collection) {
  const metricsource::Source& source = *run.source;
  const std::chrono::seconds interval = source.collection.interval;
  const bool is_failed = !collection.failure.empty();
  const std::string outcome = is_failed ? collection.failure : collection.errors.empty() ? "" : "partial";
  Failure failure;
  std::optional<Rows> rows;
  if (is_failed) {
    failure.result = metricsource::ToResult(source, collection);
    failure.result.message = Text(std::move(failure.result.message));
  } else {
    rows = Rows{.collection = std::make_shared<const metricsource::Collection>(std::move(collection))};
  }

  // What is replaced dies behind the lock.
  base::MutexLock lock(mu_);
  const auto found = entries_.find(source.id);
  if (found == entries_.end() || found->second.running != run.number) return {};
  Entry& entry = found->second;
  const base::SteadyTime now = clock_.Steady();
  entry.running = 0;
  if (!entry.tick) entry.tick = entry.begun + Times(kSoonest + random_.Uniform(), interval);
  if (outcome.empty()) {
    const auto missed = now < *entry.tick ? 0 : (now - *entry.tick) / interval + 1;
    *entry.tick += missed * interval;
    entry.due = *entry.tick;
  } else {
    entry.due = now + std::max<std::chrono::nanoseconds>(std::chrono::nanoseconds(interval) / 2, kShortestRetry);
  }
  if (run.stop.stop_requested()) return {};
  Ended ended{.is_used = true, .is_news = entry.last_outcome != outcome, .interval = interval};
  entry.last_outcome = outcome;
  if (is_failed) {
    failure.began.steady = entry.begun;
    entry.failure = std::move(failure);
    entry.is_failure_new = true;
  } else {
    rows->began.steady = entry.begun;
    entry.rows.swap(rows);
    entry.failure.reset();
    entry.is_rows_new = true;
    entry.is_failure_new = entry.rejection.has_value();
  }
  return ended;
}

void SourceSet::StopRuns() {
  std::vector<std::stop_source> stops;
  {
    base::MutexLock lock(mu_);
    for (const auto& [id, entry] : entries_) stops.push_back(entry.stop);
  }
  for (std::stop_source& stop : stops) stop.request_stop();
}

milliseconds SourceSet::AgeAt(Moment& moment, base::SystemTime collected_at, base::SteadyTime now) {
  const base::SystemTime at = WholeMillis(collected_at);
  if (!moment.system || *moment.system > at) moment.system = at - std::chrono::ceil<milliseconds>(now - moment.steady);
  return std::chrono::duration_cast<milliseconds>(at - *moment.system);
}

SourceSet::Taken SourceSet::Take(bool full, bool with_failures, base::SystemTime collected_at) {
  struct Found {
    std::shared_ptr<const metricsource::Source> source;
    std::shared_ptr<const metricsource::Collection> collection;
  };
  Taken taken;
  std::vector<model::SourceResult> results;
  std::vector<Found> found;  // beside each of them; null: that is all
  {
    base::MutexLock lock(mu_);
    const base::SteadyTime now = clock_.Steady();
    for (auto& [id, entry] : entries_) {
      const bool has_failure = with_failures && entry.HasFailure();
      if (entry.rows && (full || entry.is_rows_new)) {
        entry.is_rows_new = false;
        // It would hide the failure from the hub.
        entry.is_failure_new = entry.HasFailure();
        taken.has_more |= has_failure;
        results.push_back({.definition_hash = entry.hash, .age = AgeAt(entry.rows->began, collected_at, now)});
        found.push_back({entry.source, entry.rows->collection});
      } else if (has_failure && (full || entry.is_failure_new)) {
        Failure& failure = entry.rejection ? *entry.rejection : *entry.failure;
        entry.is_failure_new = false;
        failure.result.age = AgeAt(failure.began, collected_at, now);
        if (!entry.rejection) failure.result.definition_hash = entry.hash;
        results.push_back(failure.result);
        found.emplace_back();
      }
    }
  }
  std::size_t rows = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto& collection = found[i].collection;
    if (collection == nullptr) {
      taken.results.push_back(std::move(results[i]));
      continue;
    }
    model::SourceResult head = metricsource::ToSummary(*found[i].source, *collection);
    head.message = Text(std::move(head.message));
    head.definition_hash = std::move(results[i].definition_hash);
    head.age = results[i].age;
    const std::size_t count = collection->rows.size();
    if (rows + count > kMostRows) {
      taken.streams.push_back({std::move(head), count, [collection](std::size_t first, std::size_t last, auto& out) {
                                 metricsource::AppendRows(collection->rows, first, last, out);
                               }});
      continue;
    }
    rows += count;
    metricsource::AppendRows(collection->rows, 0, count, head.rows);
    taken.results.push_back(std::move(head));
  }
  return taken;
}

base::SteadyTime SourceSet::last_turn() const {
  base::MutexLock lock(mu_);
  base::SteadyTime turn = clock_.Steady();
  for (const auto& [id, entry] : entries_) {
    if (entry.running != 0) turn = std::min(turn, entry.begun + entry.source->collection.timeout);
  }
  return turn;
}

}  // namespace clusterpulse::sources
