#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace clusterpulse::json {

// True for the bytes that a JSON text has as they are.
constexpr bool IsPlain(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
}

// The name of a member. Whether a literal needs escaping is known when it is compiled.
class Name {
 public:
  template <std::size_t N>
  consteval Name(const char (&literal)[N]) : text_(literal, N - 1), is_plain_(true) {
    for (const char c : text_) is_plain_ &= IsPlain(c);
  }
  Name(std::string_view text) : text_(text) {}
  Name(const std::string& text) : text_(text) {}

  std::string_view text() const { return text_; }
  bool is_plain() const { return is_plain_; }

 private:
  std::string_view text_;
  bool is_plain_ = false;
};

// Appends one JSON text to a string, byte for byte as Go's encoding/json would (the Redis documents are a contract):
// compact, `<` `>` `&` U+2028 U+2029 escaped, invalid UTF-8 replaced by U+FFFD, doubles in shortest form with an
// exponent only below 1e-6 or from 1e21. Keys are written in the order given. Confined to one thread.
//
//   Writer w(out);
//   w.BeginObject().Member("name", node.name).Key("roles").BeginArray();
//   for (const auto& role : node.roles) w.String(role);
//   w.EndArray().EndObject();
class Writer {
 public:
  // `out` is borrowed; text is appended to it.
  explicit Writer(std::string& out) : out_(out) {}

  Writer& BeginObject() { return Open('{'); }
  Writer& EndObject() { return Close('}'); }
  Writer& BeginArray() { return Open('['); }
  Writer& EndArray() { return Close(']'); }
  Writer& Key(Name key);

  Writer& String(std::string_view value);
  Writer& Int(std::int64_t value);
  Writer& Double(double value);  // NaN and infinities, which JSON lacks, become null
  Writer& Bool(bool value);
  Writer& Null();
  // Bytes that are already one JSON value.
  Writer& Raw(std::string_view json);

  Writer& Member(Name key, std::string_view value) { return Key(key).String(value); }
  Writer& Member(Name key, const char* value) { return Key(key).String(value); }
  Writer& Member(Name key, const std::string& value) { return Key(key).String(value); }
  Writer& Member(Name key, std::int64_t value) { return Key(key).Int(value); }
  Writer& Member(Name key, std::int32_t value) { return Key(key).Int(value); }
  Writer& Member(Name key, double value) { return Key(key).Double(value); }
  Writer& Member(Name key, bool value) { return Key(key).Bool(value); }

 private:
  Writer& Open(char c);
  Writer& Close(char c);
  void Separate();

  std::string& out_;
  bool comma_ = false;
};

// The text between the quotes, escaped as above.
void AppendEscaped(std::string& out, std::string_view text);
// A double as above. REQUIRES: finite.
void AppendNumber(std::string& out, double value);
// The same into a buffer; gives the number of bytes written, at most kMaxNumberSize.
inline constexpr std::size_t kMaxNumberSize = 32;
std::size_t WriteNumber(char* out, double value);

}  // namespace clusterpulse::json
