#include "tests/bench/redis_replay.h"

#include <array>
#include <charconv>
#include <chrono>
#include <sstream>
#include <string_view>
#include <utility>

#include <absl/strings/ascii.h>
#include <fmt/format.h>

#include "common/base/clock.h"
#include "tests/bench/push_rig.h"

namespace clusterpulse::bench {
namespace {

base::SteadyTime Deadline() { return std::chrono::steady_clock::now() + std::chrono::seconds(60); }

std::unique_ptr<tls::Stream> Connect(const testing::RedisServer& server) {
  auto stream =
      tls::Stream::Connect({"127.0.0.1", static_cast<std::uint16_t>(server.port())}, std::nullopt, Deadline());
  if (!stream.ok()) Fail(stream.status().ToString());
  return *std::move(stream);
}

// Takes the next quoted word of a MONITOR line, as sdscatrepr writes it; false: there is none.
bool TakeWord(std::string_view& line, std::string& word) {
  const auto begin = line.find('"');
  if (begin == line.npos) return false;
  word.clear();
  std::size_t i = begin + 1;
  for (; i < line.size() && line[i] != '"'; ++i) {
    if (line[i] != '\\') {
      word += line[i];
      continue;
    }
    const char escaped = line.at(++i);
    if (escaped == 'x') {
      int byte = 0;
      std::from_chars(line.data() + i + 1, line.data() + i + 3, byte, 16);
      word += static_cast<char>(byte);
      i += 2;
    } else {
      word += escaped == 'n'   ? '\n'
              : escaped == 'r' ? '\r'
              : escaped == 't' ? '\t'
              : escaped == 'a' ? '\a'
              : escaped == 'b' ? '\b'
                               : escaped;
    }
  }
  line.remove_prefix(std::min(i + 1, line.size()));
  return true;
}

}  // namespace

RedisRecorder::RedisRecorder(const testing::RedisServer& server) : server_(server), stream_(Connect(server)) {
  std::istringstream names(server.Ask({"COMMAND", "LIST", "FILTERBY", "ACLCAT", "write"}));
  for (std::string name; std::getline(names, name);) writes_.insert(name);
  if (!stream_->Write("MONITOR\r\n", Deadline()).ok() || ReadLine() != "+OK") Fail("MONITOR is refused");
}

std::string RedisRecorder::ReadLine() {
  for (;;) {
    const auto end = unread_.find("\r\n", taken_);
    if (end != std::string::npos) {
      std::string line = unread_.substr(taken_, end - taken_);
      taken_ = end + 2;
      return line;
    }
    unread_.erase(0, std::exchange(taken_, 0));
    std::array<char, 65536> buffer;
    const auto n = stream_->Read(buffer.data(), buffer.size(), Deadline());
    if (!n.ok()) Fail("reading what redis records");
    unread_.append(buffer.data(), *n);
  }
}

std::vector<RedisStep> RedisRecorder::Take() {
  const std::string mark = fmt::format("end-of-recording-{}", ++marks_);
  server_.Ask({"ECHO", mark});
  std::vector<RedisStep> steps;
  bool in_script = false;
  for (std::vector<std::string> words;;) {
    // +1339518083.107412 [0 127.0.0.1:60866] "hset" "key" ...; inside a script: [0 lua]
    const std::string line = ReadLine();
    const auto head_end = line.find(']');
    if (head_end == std::string::npos) Fail("what redis records cannot be read: " + line.substr(0, 80));
    std::string_view rest = std::string_view(line).substr(head_end);
    words.clear();
    for (std::string word; TakeWord(rest, word);) words.push_back(word);
    if (words.size() == 2 && words[1] == mark) return steps;
    const bool is_lua = std::string_view(line).substr(0, head_end).ends_with(" lua");
    if (words.empty()) continue;
    const std::string name = absl::AsciiStrToLower(words[0]);
    if (!is_lua) in_script = false;
    if (!writes_.contains(name)) continue;
    if (!in_script) steps.emplace_back();
    in_script = is_lua;
    store::Command command(steps.back().commands, words.size());
    for (const std::string& word : words) command.Arg(word);
    ++steps.back().count;
  }
}

RedisPipe::RedisPipe(const testing::RedisServer& server) : stream_(Connect(server)) {}

std::vector<store::Reply> RedisPipe::Execute(std::string_view commands, std::size_t count) {
  const auto deadline = Deadline();
  if (!stream_->Write(commands, deadline).ok()) Fail("writing to redis");
  std::vector<store::Reply> replies;
  std::array<char, 65536> buffer;
  while (replies.size() < count) {
    auto reply = reader_.Next();
    if (!reply.ok()) Fail(reply.status().ToString());
    if (reply->has_value()) {
      if ((*reply)->IsError()) Fail((*reply)->text);
      replies.push_back(**std::move(reply));
      continue;
    }
    const auto n = stream_->Read(buffer.data(), buffer.size(), deadline);
    if (!n.ok() || !reader_.Feed(std::string_view(buffer.data(), *n)).ok()) Fail("reading from redis");
  }
  return replies;
}

void RedisPipe::Play(const std::vector<RedisStep>& steps) {
  for (const RedisStep& step : steps) Execute(step.commands, step.count);
}

}  // namespace clusterpulse::bench
