#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/metricsource/diagnostics.h"

namespace clusterpulse::metricsource {

// Where a field is in an object:
//
//   .spec.replicas                   members, also with other than ASCII letters
//   .metadata.labels['app.io/name']  any key in quotes; \' \" \\ within
//   .metadata.labels.app\.io/name    the same: \. \[ \] \\ stand for themselves
//   .spec.rules[0].hosts[-1]         elements of lists, from the front and from the back
//   .spec.containers[*].image        of every element, flattened into one list; elements without it are skipped
//   .                                the whole object
//
// The first dot may be left out; empty segments are skipped. A member of a list or an element of an object is not
// there. Immutable; a plain value.
class Path {
 public:
  // Bounds what a projection walks; real paths have under ten segments.
  static constexpr std::size_t kMaxSegments = 64;
  static constexpr std::size_t kMaxBytes = 4096;

  struct Segment {
    enum class Type : std::uint8_t { kKey, kIndex, kAll };
    Type type = Type::kKey;
    std::string key;         // kKey
    std::int64_t index = 0;  // kIndex: negative counts from the back, -1 is the last
    bool operator==(const Segment&) const = default;
  };

  // Reports each problem with its column; nullopt when one is an error. What upstream reads in a way that its author
  // can hardly have meant (`.a[0`, `$.a`) keeps upstream's meaning with a warning.
  static std::optional<Path> Compile(std::string_view text, std::string_view diagnostic_path, Diagnostics& diagnostics);

  const std::string& text() const { return text_; }
  const std::vector<Segment>& segments() const { return segments_; }
  bool fans_out() const { return fans_out_; }

 private:
  Path() = default;

  std::string text_;
  std::vector<Segment> segments_;
  bool fans_out_ = false;
};

// The member `pathSegments` of a compiled source, as upstream's own compiler splits the text (spec 3.1): brackets stay
// in their segment, nothing is unquoted, and bytes above ASCII become the code points of those numbers.
std::vector<std::string> UpstreamPathSegments(std::string_view text);

// The annotation that holds a copy of the object as it was applied, of a Secret with its data.
inline constexpr std::string_view kLastAppliedAnnotation = "kubectl.kubernetes.io/last-applied-configuration";

// Whether a source may read that: never the last-applied annotation, and of Secrets only `metadata` and `type` (a path
// to the whole object is allowed; a projection leaves out what is secret). False with an error.
bool CheckReadable(const Path& path, bool is_secret, std::string_view diagnostic_path, Diagnostics& diagnostics);

}  // namespace clusterpulse::metricsource
