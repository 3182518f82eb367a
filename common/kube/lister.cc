#include "common/kube/lister.h"

#include <fmt/format.h>

namespace clusterpulse::kube {

absl::StatusOr<std::string> ListAll(KubeApi& api, ListQuery query, ItemVisitor visit, absl::FunctionRef<void()> restart,
                                    const CallOptions& options, int max_restarts) {
  const std::string wanted_version = query.resource_version;
  std::string version;
  query.continue_token.clear();
  int pages = 0;
  for (int restarts = 0;;) {
    absl::StatusOr<ListPage> page = api.List(query, visit, options);
    if (!page.ok()) {
      // Without a token there is nothing to start again from: the caller asked for a version that is gone.
      if (!IsExpired(page.status()) || query.continue_token.empty() || restarts >= max_restarts) return page.status();
      ++restarts;
      restart();
      query.continue_token.clear();
      query.resource_version = wanted_version;
      version.clear();
      pages = 0;
      continue;
    }
    // All pages are of one version; should a server disagree, the oldest loses no event.
    if (version.empty()) version = std::move(page->resource_version);
    if (version.empty()) return absl::DataLossError("list of " + query.resource.plural + " without a resourceVersion");
    if (page->continue_token.empty()) return version;
    if (page->continue_token == query.continue_token) {
      return absl::DataLossError("list of " + query.resource.plural +
                                 " does not advance: the server gives the same continue token again");
    }
    if (++pages == kMaxListPages) {
      return absl::DataLossError(
          fmt::format("list of {} does not end: more than {} pages", query.resource.plural, kMaxListPages));
    }
    query.continue_token = std::move(page->continue_token);
    query.resource_version.clear();  // the token names it; servers refuse both
  }
}

}  // namespace clusterpulse::kube
