#include "hub/store/resp.h"

#include <array>
#include <charconv>

#include <hiredis/read.h>

#include "common/base/status.h"

namespace clusterpulse::store {
namespace {

void AppendLength(std::string& out, char kind, std::size_t n) {
  std::array<char, 24> text;
  text[0] = kind;
  const auto [end, error] = std::to_chars(text.data() + 1, text.data() + text.size() - 2, n);
  (void)error;
  end[0] = '\r';
  end[1] = '\n';
  out.append(text.data(), static_cast<std::size_t>(end + 2 - text.data()));
}

// hiredis' callbacks: each makes one object, the root on the heap, others in place inside their parent's array.
Reply* Place(const redisReadTask* task) {
  if (task->parent == nullptr) return new Reply();
  return &static_cast<Reply*>(task->parent->obj)->elements[static_cast<std::size_t>(task->idx)];
}

void* CreateString(const redisReadTask* task, char* text, size_t size) {
  Reply* reply = Place(task);
  reply->type = task->type == REDIS_REPLY_ERROR    ? Reply::Type::kError
                : task->type == REDIS_REPLY_STATUS ? Reply::Type::kStatus
                                                   : Reply::Type::kString;
  reply->text.assign(text, size);
  return reply;
}

void* CreateArray(const redisReadTask* task, int elements) {
  auto& budget = *static_cast<std::size_t*>(task->privdata);
  if (elements < 0 || static_cast<std::size_t>(elements) > budget) return nullptr;
  budget -= static_cast<std::size_t>(elements);
  Reply* reply = Place(task);
  reply->type = Reply::Type::kArray;
  reply->elements.resize(static_cast<std::size_t>(elements));
  return reply;
}

void* CreateInteger(const redisReadTask* task, long long value) {
  Reply* reply = Place(task);
  reply->type = Reply::Type::kInteger;
  reply->integer = value;
  return reply;
}

void* CreateNil(const redisReadTask* task) { return Place(task); }

void FreeRoot(void* reply) { delete static_cast<Reply*>(reply); }

redisReplyObjectFunctions kFunctions = {CreateString, CreateArray, CreateInteger, CreateNil, FreeRoot};

}  // namespace

Command::Command(std::string& out, std::size_t arguments) : out_(out) { AppendLength(out_, '*', arguments); }

Command& Command::Arg(std::string_view argument) {
  AppendLength(out_, '$', argument.size());
  out_.append(argument);
  out_.append("\r\n", 2);
  return *this;
}

Command& Command::Arg(std::int64_t argument) {
  std::array<char, 24> digits;
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), argument);
  (void)error;
  return Arg(std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data())));
}

void RespReader::Free::operator()(redisReader* reader) const { redisReaderFree(reader); }

RespReader::RespReader() : reader_(redisReaderCreateWithFunctions(&kFunctions)) { reader_->privdata = &budget_; }
RespReader::~RespReader() = default;

absl::Status RespReader::Feed(std::string_view bytes) {
  fed_ += bytes.size();
  if (fed_ > kMaxReplyBytes) return absl::DataLossError("reply from redis is too large");
  if (redisReaderFeed(reader_.get(), bytes.data(), bytes.size()) != REDIS_OK) {
    return base::MakeStatus(absl::StatusCode::kDataLoss, "reply from redis: {}", reader_->errstr);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Reply>> RespReader::Next() {
  void* object = nullptr;
  if (redisReaderGetReply(reader_.get(), &object) != REDIS_OK) {
    return base::MakeStatus(absl::StatusCode::kDataLoss, "reply from redis: {}", reader_->errstr);
  }
  if (object == nullptr) return std::optional<Reply>();
  const std::unique_ptr<Reply> root(static_cast<Reply*>(object));
  fed_ = reader_->len - reader_->pos;
  budget_ = kMaxElements;
  return std::optional<Reply>(std::move(*root));
}

absl::Status ErrorReplyStatus(std::string_view text) {
  struct Meaning {
    std::string_view word;
    absl::StatusCode code;
  };
  static constexpr Meaning kMeanings[] = {
      {"NOPERM", absl::StatusCode::kPermissionDenied},
      {"NOAUTH", absl::StatusCode::kUnauthenticated},
      {"WRONGPASS", absl::StatusCode::kUnauthenticated},
      {"ERR AUTH", absl::StatusCode::kUnauthenticated},
      {"ERR invalid password", absl::StatusCode::kUnauthenticated},
      {"WRONGTYPE", absl::StatusCode::kFailedPrecondition},
      {"OOM", absl::StatusCode::kResourceExhausted},
      {"ERR max number of clients", absl::StatusCode::kResourceExhausted},
      // Starting, failing over, cannot save: passes, or is repaired by an operator, without our doing.
      {"LOADING", absl::StatusCode::kUnavailable},
      {"READONLY", absl::StatusCode::kUnavailable},
      {"MASTERDOWN", absl::StatusCode::kUnavailable},
      {"MISCONF", absl::StatusCode::kUnavailable},
      {"NOREPLICAS", absl::StatusCode::kUnavailable},
      {"BUSY", absl::StatusCode::kUnavailable},
      {"UNKILLABLE", absl::StatusCode::kUnavailable},
      {"TRYAGAIN", absl::StatusCode::kUnavailable},
      {"CLUSTERDOWN", absl::StatusCode::kUnavailable},
      {"NOSCRIPT", absl::StatusCode::kNotFound},
  };
  absl::StatusCode code = absl::StatusCode::kInternal;
  for (const Meaning& meaning : kMeanings) {
    if (text.starts_with(meaning.word)) code = meaning.code;
  }
  // Inside a script the ACL's refusal has another wording.
  if (text.find("user executing the script") != std::string_view::npos) code = absl::StatusCode::kPermissionDenied;
  return base::MakeStatus(code, "redis: {}", text.substr(0, 300));
}

}  // namespace clusterpulse::store
