#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/base/mutex.h"
#include "common/base/random.h"

namespace clusterpulse::kubesim {

enum class FaultAction {
  kLatency,  // the answer comes `ms` later; for watches: before the headers
  kStatus,   // refused with HTTP `code` and, when set, Retry-After `retry_after`
  kExpired,  // 410: in the answer of a list, as an ERROR event in a watch
  kReset,    // TCP reset instead of an answer; a watch after its first event
  kHalf,     // half of the answer, then the end; half a line in a watch
  kSlow,     // watches: `ms` between events
  kCut,      // watches end without a word after `ms`; with `clean`, in good order
};

// The fields of a fault rule, as --help and the control port show them.
extern const char* const kFaultFields;

// One rule of misbehaviour, written as "verb=list,resource=pods,action=status,code=429,retry-after=1,rate=0.1,count=5".
// Only the action is needed.
struct Fault {
  FaultAction action = FaultAction::kLatency;
  std::string verb;      // list watch get create update patch delete; empty: any
  std::string resource;  // plural; empty: any
  double rate = 1.0;     // share of the matching requests that it hits
  int count = 0;         // ends after so many hits; 0: never
  int code = 503;
  int retry_after = 0;  // seconds
  int ms = 1000;
  bool clean = false;

  // kInvalidArgument names the field that is unknown, out of its range or without effect on this action.
  static absl::StatusOr<Fault> Parse(std::string_view text);
  std::string ToString() const;
};

// The rules of one server. Thread-safe.
class FaultRules {
 public:
  explicit FaultRules(std::uint64_t seed) : random_(seed) {}

  void Add(Fault fault);
  void Clear();
  std::vector<Fault> List() const;
  // What happens to this request, in the order the rules were added.
  std::vector<Fault> Draw(std::string_view verb, std::string_view resource);

 private:
  mutable base::Mutex mu_;
  base::SeededRandom random_;
  std::vector<Fault> faults_ ABSL_GUARDED_BY(mu_);
};

const Fault* Find(const std::vector<Fault>& faults, FaultAction action);

}  // namespace clusterpulse::kubesim
