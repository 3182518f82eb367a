#include "hub/reconcile/metricsource/source_status.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "common/base/time_format.h"
#include "common/base/utf8.h"

namespace clusterpulse::reconcile {
namespace {

using json::Value;

constexpr std::chrono::seconds kSlack{60};
constexpr std::size_t kShownProblems = 20;
constexpr std::size_t kLongestMessage = 1024;
// Of the objects; less is usual where a field is optional.
constexpr double kMostlyEmpty = 0.5;

// Why a cluster does not have what the source asks for now; nullopt: it has.
struct Problem {
  std::string state, message;
  bool failed = false;
};
std::optional<Problem> ProblemOf(const SourceCluster& cluster, const metricsource::Source& source,
                                 base::SystemTime now) {
  if (cluster.is_left_out && (!cluster.run || cluster.run->definition_hash != source.hash)) {
    return Problem{"LeftOut",
                   fmt::format("the sources for this cluster take more than the {} MiB a collector can be given",
                               SourceCatalog::kMostDefinitionBytes >> 20),
                   true};
  }
  if (!cluster.run) {
    return Problem{"pending", cluster.is_reached ? "not run there yet" : "the cluster is not reached", false};
  }
  const store::SourceRun& run = *cluster.run;
  if (!run.failure.empty()) return Problem{run.failure, run.message, true};
  if (run.definition_hash != source.hash) return Problem{"pending", "an older version of the source runs there", false};
  if (now - run.ran_at > 3 * source.collection.interval + kSlack) {
    return Problem{"stale", fmt::format("last run {}", base::FormatSeconds(run.ran_at)), false};
  }
  return std::nullopt;
}

Value FieldVerdict(const std::string& name, const model::SourceField& sum) {
  const std::uint64_t all = sum.matched + sum.empty + sum.failed;
  const auto share = [all](std::uint64_t part) { return 100.0 * static_cast<double>(part) / static_cast<double>(all); };
  const bool is_valid = sum.failed == 0 && static_cast<double>(sum.empty) <= kMostlyEmpty * static_cast<double>(all);
  Value verdict;
  verdict.Mutable("field") = name;
  verdict.Mutable("status") = is_valid ? "valid" : sum.matched == 0 ? "invalid" : "warning";
  verdict.Mutable("message") =
      fmt::format("{} objects: {} matched, {} empty ({:.0f} %), {} of a wrong type ({:.0f} %)", all, sum.matched,
                  sum.empty, share(sum.empty), sum.failed, share(sum.failed));
  return verdict;
}

Value FieldValidation(const std::vector<SourceCluster>& clusters, const metricsource::Source& source) {
  std::map<std::string, model::SourceField> sums;
  for (const SourceCluster& cluster : clusters) {
    if (!cluster.run) continue;
    for (const model::SourceField& field : cluster.run->fields) {
      model::SourceField& sum = sums[field.name];
      sum.matched += field.matched;
      sum.empty += field.empty;
      sum.failed += field.failed;
    }
  }
  Value::Array verdicts;
  for (const metricsource::FieldSpec& field : source.spec.fields) {
    const auto sum = sums.find(field.name);
    if (sum == sums.end() || sum->second.matched + sum->second.empty + sum->second.failed == 0) continue;
    verdicts.push_back(FieldVerdict(field.name, sum->second));
  }
  return verdicts.empty() ? Value() : Value(std::move(verdicts));
}

runtime::Condition Ready(std::string status, std::string reason, std::string message, const CatalogEntry& entry) {
  return {.type = "Ready",
          .status = std::move(status),
          .observed_generation = entry.generation,
          .last_transition_time = {},
          .reason = std::move(reason),
          .message = std::move(message)};
}

std::string Warnings(const CatalogEntry& entry, const std::vector<std::string>& namesakes) {
  std::string text;
  if (!namesakes.empty()) {
    text = fmt::format("; warning: spec.rbac.resourceTypeName: \"{}\" is also that of {}: readers get one of them",
                       entry.source->spec.rbac.resource_type_name, namesakes.front());
  }
  for (const metricsource::Diagnostic& problem : entry.problems.items()) {
    if (problem.severity == metricsource::Diagnostic::Severity::kWarning) text += "; warning: " + problem.ToString();
  }
  return text;
}

}  // namespace

std::string DurationText(std::chrono::milliseconds duration) {
  const std::int64_t ms = duration.count();
  if (ms <= 0) return "0s";
  if (ms < 1000) return fmt::format("{}ms", ms);
  std::string seconds = fmt::format("{}", ms / 1000 % 60);
  if (const std::int64_t rest = ms % 1000; rest > 0) {
    seconds += fmt::format(".{:03}", rest);
    while (seconds.back() == '0') seconds.pop_back();
  }
  const std::int64_t minutes = ms / 60000 % 60, hours = ms / 3600000;
  if (hours > 0) return fmt::format("{}h{}m{}s", hours, minutes, seconds);
  return minutes > 0 ? fmt::format("{}m{}s", minutes, seconds) : seconds + "s";
}

SourceReport ReportOn(const CatalogEntry& entry, const std::vector<SourceCluster>& clusters,
                      std::vector<runtime::Condition> before, base::SystemTime now,
                      const std::vector<std::string>& namesakes) {
  SourceReport report;
  Value& status = report.status;
  status.MutableObject();
  status.Mutable("observedGeneration") = entry.generation;

  std::chrono::milliseconds longest{0};
  base::SystemTime newest{};
  std::int64_t lagging = 0, failed = 0, errors = 0;
  bool truncated = false;
  Value::Array problems;
  if (entry.source != nullptr) {
    for (const SourceCluster& cluster : clusters) {
      if (cluster.run) {
        const store::SourceRun& run = *cluster.run;
        report.resources += run.resources;
        errors += run.failure.empty() ? run.errors : 0;
        truncated |= run.truncated;
        longest = std::max(longest, run.duration);
        newest = std::max(newest, run.collected_at);
        report.last_run = std::max(report.last_run.value_or(run.ran_at), run.ran_at);
      }
      std::optional<Problem> problem = ProblemOf(cluster, *entry.source, now);
      if (problem) {
        ++(problem->failed ? failed : lagging);
      } else {
        ++report.clusters;
        if (cluster.run->errors == 0) continue;
        problem = Problem{"partial", cluster.run->message, false};
      }
      if (problems.size() >= kShownProblems) continue;
      Value shown;
      shown.Mutable("name") = cluster.name;
      shown.Mutable("state") = problem->state;
      if (!problem->message.empty()) shown.Mutable("message") = base::Shortened(problem->message, kLongestMessage);
      problems.push_back(std::move(shown));
    }
    status.Mutable("fieldValidation") = FieldValidation(clusters, *entry.source);
  }
  report.errors = failed + errors;

  std::string phase = "Active", message;
  runtime::Condition ready;
  const auto selected = static_cast<std::int64_t>(clusters.size());
  if (!entry.enabled) {
    phase = "Disabled";
    message = "spec.enabled is false";
    ready = Ready("False", "Disabled", message, entry);
  } else if (!entry.is_current) {
    phase = "Error";
    message = entry.problems.Summary();
    if (entry.source != nullptr) message += "\nthe last valid version stays in force";
    ready = Ready("False", "InvalidSpec", message, entry);
  } else if (selected == 0) {
    message = "no cluster is selected" + Warnings(entry, namesakes);
    ready = Ready("True", "NoClusters", message, entry);
  } else {
    message = report.errors == 0 ? "Collection successful" : fmt::format("Collected with {} errors", report.errors);
    if (report.clusters == 0 && failed == 0) message = "waiting for the first run";
    message += Warnings(entry, namesakes);
    std::string detail = fmt::format("Collected {} resources from {} clusters", report.resources, report.clusters);
    if (report.clusters < selected) detail += fmt::format(" of {}: {} failed, {} lag", selected, failed, lagging);
    if (report.clusters > 0) {
      ready = Ready("True", "CollectionSuccessful", detail, entry);
    } else if (failed > 0) {
      ready = Ready("False", "CollectionFailed", detail, entry);
    } else {
      ready = Ready("Unknown", "Pending", detail, entry);
    }
  }
  status.Mutable("phase") = phase;
  status.Mutable("message") = base::Shortened(message, 4 * kLongestMessage);
  status.Mutable("errorsLastRun") = report.errors;
  status.Mutable("resourcesCollected") = report.resources;
  status.Mutable("clustersCollected") = report.clusters;
  status.Mutable("truncated") = truncated ? Value(true) : Value();
  if (newest != base::SystemTime{}) {
    status.Mutable("lastCollectionTime") = base::FormatSeconds(newest);
    status.Mutable("lastCollectionDuration") = DurationText(longest);
  }
  Value& counts = status.Mutable("clusters");
  counts.Mutable("selected") = selected;
  counts.Mutable("current") = report.clusters;
  counts.Mutable("lagging") = lagging;
  counts.Mutable("failed") = failed;
  if (!problems.empty()) counts.Mutable("problems") = std::move(problems);
  ready.message = base::Shortened(ready.message, 4 * kLongestMessage);
  runtime::SetCondition(before, std::move(ready), now);
  report.conditions = std::move(before);
  return report;
}

}  // namespace clusterpulse::reconcile
