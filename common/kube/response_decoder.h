#pragma once

#include <cstddef>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "common/json/buffer.h"
#include "common/json/cursor.h"
#include "common/kube/kube_api.h"

namespace clusterpulse::kube {

// Reads one page of a list: calls `visit` per item in document order and returns the page's metadata, whichever comes
// first in the text. kDataLoss: no list, or broken JSON (items before the break were visited).
absl::StatusOr<ListPage> DecodeList(json::Parser& parser, const json::Buffer& body, ItemVisitor visit);

// Puts the pieces of a watch response together into lines and each line into an event. Confined to one thread.
//
// Errors end the watch: that of an ERROR event (kOutOfRange when the version is too old), kDataLoss for what is no
// event or a line over the bound, otherwise what the visitor returned.
class WatchDecoder {
 public:
  // The largest object etcd takes is 1.5 MiB by default; a line holds one object in JSON.
  static constexpr std::size_t kMaxLineBytes = std::size_t{16} << 20;

  explicit WatchDecoder(std::size_t max_line_bytes = kMaxLineBytes) : max_line_bytes_(max_line_bytes) {}

  absl::Status Feed(std::string_view bytes, WatchVisitor visit);
  // The response has ended: kUnavailable when it did so in the middle of a line.
  absl::Status Finish() const;

 private:
  absl::Status DecodeLine(WatchVisitor visit);

  const std::size_t max_line_bytes_;
  json::Buffer line_;
  json::Parser parser_;
};

}  // namespace clusterpulse::kube
