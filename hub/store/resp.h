#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

struct redisReader;

// The Redis protocol as bytes: what we send is written by Command, what comes back is read by RespReader.
namespace clusterpulse::store {

struct Reply {
  enum class Type { kNil, kString, kStatus, kError, kInteger, kArray };
  Type type = Type::kNil;
  std::string text;             // kString, kStatus, kError
  std::int64_t integer = 0;     // kInteger
  std::vector<Reply> elements;  // kArray

  bool IsError() const { return type == Type::kError; }
};

// Appends commands to a buffer. The number of arguments is said first:
//   Command(out, 3).Arg("SET").Arg(key).Arg(value);
class Command {
 public:
  Command(std::string& out, std::size_t arguments);
  Command& Arg(std::string_view argument);
  Command& Arg(std::int64_t argument);

 private:
  std::string& out_;
};

// Decodes replies (RESP2) from bytes as they come. Bounded: kMaxReplyBytes and kMaxElements in one reply, six levels
// deep. After an error the connection is out of step: only destruction makes sense. Confined to one thread.
class RespReader {
 public:
  static constexpr std::size_t kMaxReplyBytes = 64u << 20;  // far above any document we keep
  static constexpr std::size_t kMaxElements = 1u << 20;

  RespReader();
  ~RespReader();
  RespReader(const RespReader&) = delete;
  RespReader& operator=(const RespReader&) = delete;

  absl::Status Feed(std::string_view bytes);
  // The next complete reply; nullopt: more bytes are needed. kDataLoss: not the protocol, or beyond the bounds.
  absl::StatusOr<std::optional<Reply>> Next();

 private:
  struct Free {
    void operator()(redisReader* reader) const;
  };
  std::unique_ptr<redisReader, Free> reader_;
  std::size_t fed_ = 0;                // bytes since the last complete reply
  std::size_t budget_ = kMaxElements;  // array elements the reply being read may still have
};

// What an error reply means to a caller of StateStore. `text` starts with Redis' error word.
absl::Status ErrorReplyStatus(std::string_view text);

}  // namespace clusterpulse::store
