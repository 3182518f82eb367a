#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/kube/discovery.h"
#include "common/kube/kube_api.h"
#include "common/metricsource/reader.h"
#include "common/metricsource/source.h"
#include "common/metricsource/table.h"
#include "common/model/batch.h"

namespace clusterpulse::metricsource {

// How one run ended, in one word, for status, metrics and messages.
//
//   NotInstalled   the server does not serve the kind (a CRD that is not there yet)
//   Forbidden, Unauthorized, NotFound, Expired (410 again and again), Throttled, Refused (400, 422)   it says so
//   TimedOut       the run's time is over; Unreachable: no connection; InvalidAnswer: what came is no list
//   Stopped        the program ends
std::string_view FailureWord(const absl::Status& status);

struct CollectOptions {
  std::stop_token stop{};
  std::chrono::milliseconds first_retry{500};  // doubled with each, up to 10 s, with jitter
  // Narrower than the source: of one namespace, of so many objects.
  std::optional<std::string> ns;
  std::optional<std::int64_t> limit;
  // What was done so far, after each call; from several threads, one at a time.
  struct Progress {
    std::int64_t objects = 0;  // that came, also those that no row was made of
    std::int64_t bytes = 0;    // of the pages that came, unpacked; of lists that were cut, too
    std::int64_t calls = 0;    // of KubeApi: pages, and what discovery had to ask
  };
  std::function<void(const Progress&)> on_call;
};

// What one run of a source found on one cluster.
struct Collection {
  explicit Collection(const Source& source) : rows(source.columns) {}

  Table rows;              // in the server's order, namespaces in that of their names
  bool truncated = false;  // at least one object that would be a row was left out: it was seen
  base::SystemTime started{};
  std::chrono::milliseconds duration{0};
  std::vector<FieldCounts> fields;
  EvaluationCounts evaluation;
  CollectOptions::Progress work;
  std::string failure, message;     // FailureWord; empty: there are rows, of all but the namespaces below
  std::vector<std::string> errors;  // "namespace a: ..."
};

// Lists what the source selects and keeps of each object its row. Blocks for at most the source's timeout; a page is
// the most that is in memory beside the rows. A list that fails for a while is tried again, as often as the source
// allows; one whose token grew too old begins again. Everything is thread-safe and borrowed for the call.
//
// Namespaces that are named exactly are listed one by one, several at once; excluded names are left to the server where
// it can filter them; everything else is listed as a whole and filtered here. max_resources counts what is left then;
// rows beyond Table::kMostWritten are left out like those beyond it.
//
// A page has batch_size objects; where every object becomes a row no more than the bound and one, which tells whether
// there is more. All pages of a list are of one size, as the API wants it. Where rows are filtered here pages are
// whole: the rows may lie far apart, and small pages would be many.
Collection Collect(const Source& source, kube::KubeApi& api, kube::Discovery& discovery, const base::Clock& clock,
                   base::Random& random, const CollectOptions& options);

// All aggregations of a run as JSON; the largest are left out, as null and told, until the others fit.
inline constexpr std::size_t kMostAggregationBytes = std::size_t{2} << 20;

// As it goes to the store, to a collector's batch, to a person: rows as JSON and all aggregations. Its age is left 0.
model::SourceResult ToResult(const Source& source, const Collection& collection);
// All of it but the rows, and the rows from `first` to before `last`, added: for what has so many that they should not
// be there at once.
model::SourceResult ToSummary(const Source& source, const Collection& collection);
void AppendRows(const Table& rows, std::size_t first, std::size_t last, std::vector<model::SourceRow>& out);

// Completes what an upstream collector gave of the source, which does not filter by namespace, computes nothing, and
// has defaults in other forms: the rows, and everything that is made of them. kDataLoss: the values of a row are no
// JSON object; nothing is changed.
absl::Status CompleteResult(const Source& source, base::SystemTime now, model::SourceResult& result);

}  // namespace clusterpulse::metricsource
