#include "tests/kubesim/faults.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "common/base/status.h"

namespace clusterpulse::kubesim {

using base::MutexLock;

const char* const kFaultFields =
    "action=latency|status|expired|reset|half|slow|cut, verb=list|watch|get|create|update|patch|delete, "
    "resource=PLURAL, rate=0..1, count=N, code=400..599, retry-after=SECONDS, ms=MILLISECONDS, clean=true; "
    "all but action optional, slow and cut only for watches";

namespace {

struct ActionName {
  std::string_view name;
  FaultAction action;
};
constexpr std::array<ActionName, 7> kActions{{{"latency", FaultAction::kLatency},
                                              {"status", FaultAction::kStatus},
                                              {"expired", FaultAction::kExpired},
                                              {"reset", FaultAction::kReset},
                                              {"half", FaultAction::kHalf},
                                              {"slow", FaultAction::kSlow},
                                              {"cut", FaultAction::kCut}}};

constexpr std::array<std::string_view, 7> kVerbs{"list", "watch", "get", "create", "update", "patch", "delete"};

// A day: long enough for every test, short enough for every sum.
constexpr int kMaxSeconds = 86400;

template <typename Number>
bool ParseNumber(std::string_view text, Number low, Number high, Number& out) {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, out);
  return result.ec == std::errc() && result.ptr == end && out >= low && out <= high;
}

bool SetField(Fault& fault, std::string_view key, std::string_view value) {
  if (key == "verb") {
    fault.verb = value;
    return value.empty() || std::find(kVerbs.begin(), kVerbs.end(), value) != kVerbs.end();
  }
  if (key == "resource") {
    fault.resource = value;
    return true;
  }
  if (key == "clean") {
    fault.clean = value == "true" || value == "1";
    return fault.clean || value == "false" || value == "0";
  }
  if (key == "rate") return ParseNumber(value, 0.0, 1.0, fault.rate);
  if (key == "count") return ParseNumber(value, 0, std::numeric_limits<int>::max(), fault.count);
  if (key == "code") return ParseNumber(value, 400, 599, fault.code);
  if (key == "retry-after") return ParseNumber(value, 0, kMaxSeconds, fault.retry_after);
  return key == "ms" && ParseNumber(value, 0, 1000 * kMaxSeconds, fault.ms);
}

}  // namespace

absl::StatusOr<Fault> Fault::Parse(std::string_view text) {
  Fault fault;
  bool has_action = false;
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const auto pair = rest.substr(0, comma);
    rest = comma == rest.npos ? std::string_view() : rest.substr(comma + 1);
    const auto equals = std::min(pair.find('='), pair.size());
    const auto key = pair.substr(0, equals);
    const auto value = pair.substr(std::min(equals + 1, pair.size()));
    if (key == "action") {
      const auto known = std::find_if(kActions.begin(), kActions.end(), [&](const auto& a) { return a.name == value; });
      if (known == kActions.end()) {
        return base::InvalidArgument("unknown fault action \"{}\"; fields: {}", value, kFaultFields);
      }
      fault.action = known->action;
      has_action = true;
    } else if (!SetField(fault, key, value)) {
      return base::InvalidArgument("bad fault field \"{}\"; fields: {}", pair, kFaultFields);
    }
  }
  if (!has_action) return base::InvalidArgument("fault \"{}\" has no action", text);
  const bool only_watches = fault.action == FaultAction::kSlow || fault.action == FaultAction::kCut;
  if (only_watches && !fault.verb.empty() && fault.verb != "watch") {
    return base::InvalidArgument("slow and cut are for watches, not for verb \"{}\"", fault.verb);
  }
  return fault;
}

std::string Fault::ToString() const {
  const auto known =
      std::find_if(kActions.begin(), kActions.end(), [this](const auto& a) { return a.action == action; });
  return fmt::format("action={},verb={},resource={},rate={},count={},code={},retry-after={},ms={},clean={}",
                     known->name, verb, resource, rate, count, code, retry_after, ms, clean);
}

void FaultRules::Add(Fault fault) {
  MutexLock lock(mu_);
  faults_.push_back(std::move(fault));
}

void FaultRules::Clear() {
  MutexLock lock(mu_);
  faults_.clear();
}

std::vector<Fault> FaultRules::List() const {
  MutexLock lock(mu_);
  return faults_;
}

std::vector<Fault> FaultRules::Draw(std::string_view verb, std::string_view resource) {
  std::vector<Fault> hits;
  MutexLock lock(mu_);
  for (auto it = faults_.begin(); it != faults_.end();) {
    const bool matches = (it->verb.empty() || it->verb == verb) && (it->resource.empty() || it->resource == resource);
    if (!matches || (it->rate < 1.0 && random_.Uniform() >= it->rate)) {
      ++it;
      continue;
    }
    hits.push_back(*it);
    it = it->count > 0 && --it->count == 0 ? faults_.erase(it) : std::next(it);
  }
  return hits;
}

const Fault* Find(const std::vector<Fault>& faults, FaultAction action) {
  const auto it =
      std::find_if(faults.begin(), faults.end(), [action](const Fault& fault) { return fault.action == action; });
  return it == faults.end() ? nullptr : &*it;
}

}  // namespace clusterpulse::kubesim
