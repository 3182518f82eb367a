#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <simdjson.h>

#include "common/base/status.h"
#include "common/json/buffer.h"

namespace clusterpulse::json {

enum class Type { kNull, kBool, kNumber, kString, kArray, kObject };

// One JSON value that has not been read yet, inside a document that is being walked forwards. Each value is read at
// most once and in document order; what is not read is skipped at almost no cost. That makes a projection one pass:
//
//   absl::Status ReadPort(Cursor port, Port& out) {
//     return port.ForEachMember([&](std::string_view key, Cursor value) {
//       if (key == "name") value.Get(out.name);
//       else if (key == "port") value.Get(out.number);
//       return absl::OkStatus();
//     });
//   }
//
// A member of an unexpected type leaves the target as it was and Get says false: one odd field never spoils an object.
// Broken JSON (structure, UTF-8, unclosed strings) ends the walk with kDataLoss. Views given out live until the Parser
// parses again. A Cursor must not outlive the call it was passed to. Nesting is not bounded: a walk that recurses
// bounds its own depth.
class Cursor {
 public:
  explicit Cursor(simdjson::ondemand::value value) : value_(value) {}

  Type type();
  bool IsObject() { return type() == Type::kObject; }
  bool IsArray() { return type() == Type::kArray; }

  // Scalars. True when the value had that type; otherwise the target is untouched.
  bool Get(std::string_view& out);
  bool Get(std::string& out);
  bool Get(std::int64_t& out);  // integers only; out of 64 bits is false
  bool Get(std::int32_t& out);
  bool Get(double& out);  // any finite number
  bool Get(bool& out);

  // Calls f(std::string_view key, Cursor value) -> absl::Status (or void) per member. A value that is not an object is
  // ok and visits nothing: Kubernetes writes null for empty.
  template <typename F>
  absl::Status ForEachMember(F&& f);
  // Calls f(Cursor element) -> absl::Status (or void) per element; not an array: visits nothing.
  template <typename F>
  absl::Status ForEachElement(F&& f);

  // The value's own bytes, for passing on unread.
  absl::StatusOr<std::string_view> Raw();

 private:
  template <typename F, typename... Args>
  static absl::Status Call(F& f, Args&&... args) {
    if constexpr (std::is_void_v<std::invoke_result_t<F&, Args...>>) {
      f(std::forward<Args>(args)...);
      return absl::OkStatus();
    } else {
      return f(std::forward<Args>(args)...);
    }
  }

  simdjson::ondemand::value value_;
};

// Reusable parser. Confined to one thread at a time.
class Parser {
 public:
  Parser();
  ~Parser();
  Parser(Parser&&) noexcept;
  Parser& operator=(Parser&&) noexcept;

  // Walks the JSON object or array in `buffer`. kDataLoss for anything malformed on the way; otherwise what `visit`
  // returned. Text behind the value is not looked at. `buffer` must not change while `visit` runs.
  absl::Status Parse(const Buffer& buffer, absl::FunctionRef<absl::Status(Cursor)> visit);
  // The same for bytes without padding, which are copied first. For small documents.
  absl::Status Parse(std::string_view bytes, absl::FunctionRef<absl::Status(Cursor)> visit);

 private:
  std::unique_ptr<simdjson::ondemand::parser> parser_;
  Buffer copy_;
};

namespace internal {
absl::Status Broken(simdjson::error_code error);
// The text of a string token (first byte behind the opening quote) in place; false when it has escapes. The parser's
// first stage has proved that the string is closed, so the scan ends.
inline bool PlainText(const char* raw, std::string_view& out) {
  const char* end = raw;
  while (*end != '"') {
    if (*end == '\\') return false;
    ++end;
  }
  out = std::string_view(raw, static_cast<std::size_t>(end - raw));
  return true;
}
}  // namespace internal

template <typename F>
absl::Status Cursor::ForEachMember(F&& f) {
  simdjson::ondemand::object object;
  if (const auto error = value_.get_object().get(object)) {
    return error == simdjson::INCORRECT_TYPE ? absl::OkStatus() : internal::Broken(error);
  }
  for (auto field : object) {
    simdjson::ondemand::field member;
    if (const auto error = std::move(field).get(member)) return internal::Broken(error);
    std::string_view key;
    if (!internal::PlainText(member.key().raw(), key)) {
      if (const auto error = member.unescaped_key().get(key)) return internal::Broken(error);
    }
    if (absl::Status status = Call(f, key, Cursor(member.value())); !status.ok()) return status;
  }
  return absl::OkStatus();
}

template <typename F>
absl::Status Cursor::ForEachElement(F&& f) {
  simdjson::ondemand::array array;
  if (const auto error = value_.get_array().get(array)) {
    return error == simdjson::INCORRECT_TYPE ? absl::OkStatus() : internal::Broken(error);
  }
  for (auto item : array) {
    simdjson::ondemand::value element;
    if (const auto error = item.get(element)) return internal::Broken(error);
    if (absl::Status status = Call(f, Cursor(element)); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace clusterpulse::json
