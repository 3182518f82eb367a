// Bytes of the stream, from either side: decoding them never breaks anything, and what was understood comes back the
// same after being sent on. A batch, its head, and bytes taken as a node, read as protobuf reads them.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "common/wire/messages.h"
#include "tests/common/wire/by_protobuf.h"
#include "tests/fuzz/input.h"

namespace {

using namespace clusterpulse::wire;

template <typename Decode>
void Check(std::string_view bytes, Decode decode) {
  const auto first = decode(bytes);
  if (!first.ok()) return;
  std::visit(
      [&](const auto& message) {
        using T = std::decay_t<decltype(message)>;
        if constexpr (!std::is_same_v<T, Unknown> && !std::is_same_v<T, BadBatch>) {
          if constexpr (std::is_same_v<T, clusterpulse::model::Batch>) {
            if (message.seq == 0) return;  // upstream's form says less than ours: it is read, never written
          }
          const auto second = decode(Encode(message));
          if (!second.ok() || !std::holds_alternative<T>(*second) || !(std::get<T>(*second) == message)) std::abort();
        }
      },
      *first);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Check(bytes, DecodeFromCollector);
  Check(bytes, DecodeFromHub);
  clusterpulse::fuzz::Require(BatchDifference(bytes).empty());
  clusterpulse::fuzz::Require(NodeDifference(bytes).empty());
  return 0;
}
