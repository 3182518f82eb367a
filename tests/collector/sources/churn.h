#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/kube/kube_api.h"
#include "tests/support/kube_api_server.h"

namespace clusterpulse::sources {

// Of a definition that Churn makes, cluster-scoped; no rule of spelling gives this plural.
inline const kube::ResourceType kBerths{"watch.example.org", "v1", "moorage", "Berth", false};

// Some 300 ConfigMaps in seven namespaces and Berths on a real API server, which several threads create, change, delete
// and make again, also so that they come under a selector on the label `tier` and leave it, while namespaces are
// deleted with all that is in them. What each thread does is a function of the seed.
//
// Every object is in a state that shows whether it is whole, and how old it is: its labels `team` and `tier`, and
// `size`, `number` and `note` in .data (.spec of a Berth); `size` and `note` stand also in its annotations, `number` in
// its labels. An empty text is not there. `number` is that of the write, of all; each object is written by one thread,
// so that its numbers only grow.
//
// All calls are for one thread.
class Churn {
 public:
  static constexpr int kWriters = 4;
  static std::string Note(std::int64_t number, std::string_view size, std::string_view team, std::string_view tier);

  // `api` is borrowed, as are the others, and leads to `server`.
  Churn(kube::KubeApi& api, const testing::KubeTestEnv& env, const testing::KubeTestEnv::Server& server,
        std::uint64_t seed);

  // Namespaces, the definition of Berths, all objects.
  void MakeAll();

  struct Options {
    int writes = 0;                   // of each writer
    int namespaces = 0;               // to delete and to make again
    bool may_fail = false;            // the server may be away for a while
    std::function<void()> read;       // from one thread, about once for each write
    std::function<void()> meanwhile;  // on the calling thread
  };
  // Returns when nobody writes any more.
  void Run(const Options& options);
  // Of MakeAll and all runs.
  std::int64_t writes() const { return numbers_; }
  // `read` is called once more soon. For `meanwhile`.
  void Progress();

  // For `read`, too: the first problem is kept.
  void Report(const std::string& problem);
  // Empty: none.
  std::string Problem();

 private:
  struct Writer {
    explicit Writer(std::uint64_t seed) : random(seed) {}
    base::SeededRandom random;
    std::vector<kube::ObjectKey> keys;
  };

  void Change(Writer& writer, int writes);
  std::string Body(Writer& writer, const kube::ObjectKey& key, bool is_patch);
  void Create(Writer& writer, const kube::ObjectKey& key);
  void Patch(Writer& writer, const kube::ObjectKey& key);
  void Replace(Writer& writer, const kube::ObjectKey& key);
  void Delete(const kube::ObjectKey& key);
  void Judge(std::string_view what, const kube::ObjectKey& key, const absl::Status& status);
  bool MakeNamespace(const std::string& ns);
  bool DeleteNamespace(const std::string& ns);
  testing::CommandResult Curl(const std::string& method, const std::string& path, const std::string& body) const;

  kube::KubeApi& api_;
  const testing::KubeTestEnv& env_;
  const testing::KubeTestEnv::Server& server_;
  std::deque<Writer> writers_;
  base::SeededRandom namespaces_;  // which to delete

  std::atomic<bool> may_fail_ = false;
  std::atomic<std::int64_t> numbers_ = 0;
  std::atomic<std::uint64_t> progress_ = 0;  // writes ended, and other reasons to read
  base::Mutex mu_;
  std::string problem_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::sources
