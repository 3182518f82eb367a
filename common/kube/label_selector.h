#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/json/value.h"
#include "common/model/labels.h"

namespace clusterpulse::kube {

// A standard LabelSelector: every requirement must hold. A plain value type.
struct LabelSelector {
  enum class Operator { kIn, kNotIn, kExists, kDoesNotExist };
  struct Requirement {
    std::string key;
    Operator op = Operator::kExists;
    std::vector<std::string> values;  // kIn and kNotIn: at least one; otherwise none
    bool is_label = false;            // came from matchLabels: one value, written key=value
    bool operator==(const Requirement&) const = default;
  };
  std::vector<Requirement> requirements;  // matchLabels by key, then matchExpressions in their order

  // One thing that is wrong with a selector: where ("matchExpressions[1].operator") and what.
  struct Problem {
    std::string path, message;
  };
  // Reads a selector object; what is wrong is appended to `problems` and left out of the result. Keys and values are
  // held to Kubernetes' syntax, so that no server refuses the text.
  static LabelSelector Read(const json::Value& object, std::vector<Problem>& problems);

  // The labelSelector parameter of a list: "app=web,tier in (a,b),!canary". Empty: everything.
  std::string Text() const;
  // An object without the label passes kNotIn and kDoesNotExist, as in Kubernetes.
  bool Matches(const model::Labels& labels) const;
  bool operator==(const LabelSelector&) const = default;
};

}  // namespace clusterpulse::kube
