#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "common/tls/stream.h"
#include "hub/store/resp.h"
#include "tests/support/redis_server.h"

namespace clusterpulse::bench {

// Commands that were carried out together.
struct RedisStep {
  std::string commands;  // as a client sends them
  std::size_t count = 0;
};

// Records what a Redis server is told to write from its construction on, by the server's own account (MONITOR): the
// commands inside scripts one by one, those without effect too; reads and messages to channels are left out.
class RedisRecorder {
 public:
  explicit RedisRecorder(const testing::RedisServer& server);
  // What was carried out since the last call; a script's commands are one step.
  std::vector<RedisStep> Take();

 private:
  std::string ReadLine();

  const testing::RedisServer& server_;
  std::unordered_set<std::string> writes_;  // names of the commands that write
  std::unique_ptr<tls::Stream> stream_;
  std::string unread_;
  std::size_t taken_ = 0;  // bytes at the front of it
  int marks_ = 0;
};

// A plain client: what it sends goes out in one write. Replies that are errors end the program. Confined to one thread.
class RedisPipe {
 public:
  explicit RedisPipe(const testing::RedisServer& server);
  // One reply for each of the `count` commands.
  std::vector<store::Reply> Execute(std::string_view commands, std::size_t count);
  // Each step in one go.
  void Play(const std::vector<RedisStep>& steps);

 private:
  std::unique_ptr<tls::Stream> stream_;
  store::RespReader reader_;
};

}  // namespace clusterpulse::bench
