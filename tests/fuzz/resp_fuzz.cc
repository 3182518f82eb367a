// Replies from Redis: any bytes, cut anywhere. The same bytes must give the same replies however they are cut.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "hub/store/resp.h"

namespace {

using clusterpulse::store::Reply;
using clusterpulse::store::RespReader;

void Print(const Reply& reply, std::string& out) {
  out += std::to_string(static_cast<int>(reply.type)) + ":" + std::to_string(reply.integer) + ":" + reply.text + "[";
  for (const Reply& element : reply.elements) Print(element, out);
  out += "]";
}

// All replies as text, then "!" when the bytes were refused.
std::string Read(std::string_view bytes, std::size_t step) {
  RespReader reader;
  std::string out;
  while (!bytes.empty()) {
    const std::size_t n = step < bytes.size() ? step : bytes.size();
    if (!reader.Feed(bytes.substr(0, n)).ok()) return out + "!";
    bytes.remove_prefix(n);
    for (;;) {
      const auto reply = reader.Next();
      if (!reply.ok()) return out + "!";
      if (!reply->has_value()) break;
      Print(**reply, out);
    }
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 65536) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (Read(bytes, bytes.size() + 1) != Read(bytes, data[0] % 16 + 1u)) std::abort();
  (void)clusterpulse::store::ErrorReplyStatus(bytes);
  return 0;
}
