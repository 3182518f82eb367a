#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>

namespace clusterpulse::kube {

// Label or field values of an object; few enough that a linear search wins.
using FlatMap = std::vector<std::pair<std::string, std::string>>;

// Null when absent.
const std::string* FindIn(const FlatMap& map, std::string_view key);

// A parsed label selector (`a=b,c!=d,e in (f,g),h notin (i),j,!k`) or field selector (`a=b,c!=d`). A plain value; an
// empty one matches everything.
class Selector {
 public:
  // kInvalidArgument with the API server's 400 for text it would refuse.
  static absl::StatusOr<Selector> ParseLabels(std::string_view text);
  static absl::StatusOr<Selector> ParseFields(std::string_view text);

  // As Kubernetes counts: != and notin match objects without the key.
  bool Matches(const FlatMap& values) const;
  bool empty() const { return terms_.empty(); }
  std::vector<std::string> Keys() const;

 private:
  enum class Operator { kIn, kNotIn, kExists, kNotExists };
  struct Term {
    std::string key;
    Operator op = Operator::kIn;
    std::vector<std::string> values;
  };

  static absl::StatusOr<Term> ParseTerm(std::string_view text, bool labels);

  std::vector<Term> terms_;
};

}  // namespace clusterpulse::kube
