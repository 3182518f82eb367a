#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include <google/protobuf/stubs/common.h>

namespace clusterpulse::wire {

// The fields of one message in the bytes of the wire, one after the other, without objects of protobuf's. Private to
// common/wire. Understands what writers of protobuf write, unknown fields included; what else protobuf's parser may
// take (groups, numbers and lengths longer than they need be) or refuse ends the reading with ok() false, and whoever
// reads leaves the bytes to it. The bytes must outlive the reader and what it gives.
//
//   while (fields.Next()) {
//     switch (fields.number()) { case kNameFieldNumber: fields.Read(name); break; }
//   }
//   if (!fields.ok()) ...
class FieldReader {
 public:
  explicit FieldReader(std::string_view bytes) : rest_(bytes) {}

  // False at the end and when the bytes are not understood.
  bool Next() {
    if (!ok_ || rest_.empty()) return false;
    const std::string_view from = rest_;
    std::uint64_t tag = 0;
    ok_ = Varint(tag, 2) && tag >> 3 != 0 && Value(static_cast<Type>(tag & 7));
    number_ = static_cast<int>(tag >> 3);
    field_ = from.substr(0, from.size() - rest_.size());
    return ok_;
  }
  bool ok() const { return ok_; }

  // Of the field that Next found:
  int number() const { return number_; }
  std::string_view field() const { return field_; }  // all of it, with its tag
  // Bytes, a string or a message: text().
  bool is_text() const { return type_ == Type::kText; }
  std::string_view text() const { return text_; }

  // Sets `to`; a field of another wire type is one that is not known. Text that is not UTF-8 is not understood.
  void Read(std::string_view& to) {
    if (type_ != Type::kText) return;
    ok_ = google::protobuf::internal::IsStructurallyValidUTF8(text_.data(), static_cast<int>(text_.size()));
    to = text_;
  }
  void Read(std::string& to) {
    std::string_view text = to;
    Read(text);
    if (type_ == Type::kText) to.assign(text);
  }
  void Read(double& to) {
    if (type_ == Type::kFixed64) to = std::bit_cast<double>(value_);
  }
  template <std::integral T>
  void Read(T& to) {
    if (type_ == Type::kVarint) to = static_cast<T>(value_);
  }

 private:
  enum class Type : std::uint8_t { kVarint = 0, kFixed64 = 1, kText = 2, kFixed32 = 5 };

  bool Varint(std::uint64_t& to, int most_bytes) {
    to = 0;
    for (int i = 0; i < most_bytes && !rest_.empty(); ++i) {
      const auto byte = static_cast<std::uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      to |= static_cast<std::uint64_t>(byte & 0x7f) << (7 * i);
      if (byte < 0x80) return i < 9 || byte <= 1;  // the tenth holds one bit
    }
    return false;
  }
  bool Fixed(std::size_t bytes) {
    if (rest_.size() < bytes) return false;
    value_ = 0;
    for (std::size_t i = 0; i < bytes; ++i) {
      value_ |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(rest_[i])) << (8 * i);
    }
    rest_.remove_prefix(bytes);
    return true;
  }
  bool Value(Type type) {
    type_ = type;
    switch (type) {
      case Type::kVarint:
        return Varint(value_, 10);
      case Type::kFixed64:
        return Fixed(8);
      case Type::kFixed32:
        return Fixed(4);
      case Type::kText: {
        std::uint64_t size = 0;
        if (!Varint(size, 4) || size > rest_.size()) return false;
        text_ = rest_.substr(0, static_cast<std::size_t>(size));
        rest_.remove_prefix(text_.size());
        return true;
      }
    }
    return false;  // groups, and types there are not
  }

  std::string_view rest_, field_, text_;
  std::uint64_t value_ = 0;
  int number_ = 0;
  Type type_ = Type::kVarint;
  bool ok_ = true;
};

}  // namespace clusterpulse::wire
