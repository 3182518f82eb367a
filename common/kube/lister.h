#pragma once

#include <string>
#include <utility>
#include <vector>

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include "common/base/status.h"
#include "common/kube/kube_api.h"

namespace clusterpulse::kube {

// A list has no more pages than this: a million objects at 500 a page, far more than an API server can hold of a kind.
inline constexpr int kMaxListPages = 2000;

// Lists every page of `query` and returns the version of the list, from which a watch goes on. Objects go to `visit`
// one by one; no more than one page is in memory.
//
// A continue token that grew too old (410, kOutOfRange) means that the pages so far belong to a state that can no
// longer be completed: `restart` is called, which must drop what was collected, and the list begins again; after
// `max_restarts` of these the error is returned. Every other error, and one of `visit`, ends the list with it.
// `options.timeout` is for each page. An answer without a version, a page that leads to itself, or a list that still
// goes on after kMaxListPages is kDataLoss.
absl::StatusOr<std::string> ListAll(KubeApi& api, ListQuery query, ItemVisitor visit, absl::FunctionRef<void()> restart,
                                    const CallOptions& options, int max_restarts = 3);

template <typename T>
struct Listed {
  std::string resource_version;
  std::vector<T> items;
};

// Collects one T per object: project(json::Cursor object, T& out) -> absl::Status. The first error ends the list.
template <typename T, typename Project>
absl::StatusOr<Listed<T>> ListInto(KubeApi& api, ListQuery query, Project&& project, const CallOptions& options) {
  Listed<T> listed;
  const auto visit = [&](json::Cursor object) -> absl::Status {
    T item{};
    RETURN_IF_ERROR(project(object, item));
    listed.items.push_back(std::move(item));
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(listed.resource_version, ListAll(
                                                api, std::move(query), visit, [&] { listed.items.clear(); }, options));
  return listed;
}

}  // namespace clusterpulse::kube
