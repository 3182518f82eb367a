#include "tests/kubesim/faults.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "common/base/status.h"

namespace clusterpulse::kubesim {

using base::MutexLock;

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

template <typename Number>
bool ParseNumber(std::string_view text, Number& out) {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, out);
  return result.ec == std::errc() && result.ptr == end;
}

bool SetField(Fault& fault, std::string_view key, std::string_view value) {
  if (key == "verb") {
    fault.verb = value;
  } else if (key == "resource") {
    fault.resource = value;
  } else if (key == "clean") {
    fault.clean = value != "false" && value != "0";
  } else if (key == "rate") {
    return ParseNumber(value, fault.rate);
  } else if (key == "count") {
    return ParseNumber(value, fault.count);
  } else if (key == "code") {
    return ParseNumber(value, fault.code);
  } else if (key == "retry-after") {
    return ParseNumber(value, fault.retry_after);
  } else if (key == "ms") {
    return ParseNumber(value, fault.ms);
  } else {
    return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<Fault> Fault::Parse(std::string_view text) {
  Fault fault;
  bool has_action = false;
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto end = std::min(rest.find(','), rest.size());
    const auto pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const auto equals = std::min(pair.find('='), pair.size());
    const auto key = pair.substr(0, equals);
    const auto value = pair.substr(std::min(equals + 1, pair.size()));
    if (key == "action") {
      const auto known = std::find_if(kActions.begin(), kActions.end(), [&](const auto& a) { return a.name == value; });
      if (known == kActions.end()) return base::InvalidArgument("unknown fault action \"{}\"", value);
      fault.action = known->action;
      has_action = true;
    } else if (!SetField(fault, key, value)) {
      return base::InvalidArgument("bad fault field \"{}\"", pair);
    }
  }
  if (!has_action) return base::InvalidArgument("fault \"{}\" has no action", text);
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
