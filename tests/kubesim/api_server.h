#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/mutex.h"
#include "common/kube/testing/object_store.h"
#include "tests/kubesim/faults.h"
#include "tests/kubesim/http_server.h"

namespace clusterpulse::kubesim {

// The HTTP face of one simulated API server: authentication by bearer token, routes, verbs, content negotiation,
// watches and the faults asked for. The objects live in its ObjectStore. Thread-safe; Handle blocks for as long as a
// watch runs.
//
// Not imitated, beyond what ObjectStore lists: authorization, dry runs (refused), protobuf, JSON patches,
// impersonation, exec, logs, scale and every subresource but status.
class ApiServer {
 public:
  struct Options {
    std::string name;
    std::string token;  // of the administrator; empty: no authentication
    std::uint64_t seed = 1;
    std::size_t history = 1024;  // watch events kept for each type
    std::chrono::milliseconds bookmark_interval{10000};
  };

  explicit ApiServer(Options options);

  const std::string& name() const { return options_.name; }
  kube::ObjectStore& store() { return store_; }
  FaultRules& faults() { return faults_; }
  Gate& gate() { return gate_; }

  // Answers one request whose path is relative to this server.
  void Handle(Exchange& exchange);

  std::string token() const;
  void SetToken(std::string token);
  // Running watches end: in good order when `clean`, else without a word.
  void CutWatches(bool clean);
  // Requests by "verb resource".
  std::map<std::string, std::int64_t> RequestCounts() const;

 private:
  struct Target;

  bool Authorized(const HttpRequest& request) const;
  bool HandleNonResource(Exchange& exchange);
  void HandleList(Exchange& exchange, const Target& target, const std::vector<Fault>& faults);
  void HandleWatch(Exchange& exchange, const Target& target, const std::vector<Fault>& faults);
  absl::StatusOr<kube::ObjectPtr> HandleWrite(const HttpRequest& request, const Target& target);
  void HandleDelete(Exchange& exchange, const Target& target);
  // False: the request was answered or its connection ended.
  bool ApplyFaults(Exchange& exchange, const Target& target, const std::vector<Fault>& faults);
  void RespondObject(Exchange& exchange, const Target& target, int code, const kube::ObjectPtr& object,
                     const std::vector<Fault>& faults);

  const Options options_;
  kube::ObjectStore store_;
  FaultRules faults_;
  Gate gate_;
  std::atomic<std::int64_t> cuts_{0}, clean_cuts_{0};  // grow when running watches shall end
  mutable base::Mutex mu_;
  std::string token_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::int64_t> counts_ ABSL_GUARDED_BY(mu_);
};

// Answers with the metav1.Status of an error (ApiError inside), or 500.
void RespondError(Exchange& exchange, const absl::Status& status);

}  // namespace clusterpulse::kubesim
