// Bytes from an API server: as a list page, and as a watch stream in pieces whose size the first byte gives. However
// the stream is cut, the same events must come out.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/kube/response_decoder.h"

namespace {

using namespace clusterpulse;

std::string Events(std::string_view stream, std::size_t piece) {
  kube::WatchDecoder decoder(1 << 16);
  std::string seen;
  const auto visit = [&seen](kube::WatchEventType type, json::Cursor object) -> absl::Status {
    seen += std::to_string(static_cast<int>(type));
    return object.ForEachMember([&seen](std::string_view key, json::Cursor value) {
      std::string_view text;
      if (value.Get(text)) seen.append(key).append(text);
    });
  };
  while (!stream.empty()) {
    const absl::Status status = decoder.Feed(stream.substr(0, piece), visit);
    if (!status.ok()) return seen + status.ToString();
    stream.remove_prefix(std::min(piece, stream.size()));
  }
  return seen + decoder.Finish().ToString();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (Events(text, std::size_t{data[0]} + 1) != Events(text, text.size() + 1)) std::abort();
  json::Buffer body;
  body.Assign(text);
  json::Parser parser;
  const auto page = kube::DecodeList(parser, body, [](json::Cursor item) {
    return item.ForEachMember([](std::string_view, json::Cursor value) { return value.Raw().status(); });
  });
  if (!page.ok() && page.status().message().empty()) std::abort();
  return 0;
}
