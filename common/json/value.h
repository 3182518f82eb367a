#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <absl/status/statusor.h>

namespace clusterpulse::json {

// A JSON value as a tree that can be changed, compared and written: small objects, merge patches, tests, kubesim. Large
// inputs go through Cursor instead. A plain value type; not synchronised.
class Value {
 public:
  using Array = std::vector<Value>;
  using Object = std::map<std::string, Value, std::less<>>;  // key order, as Go's maps are written

  Value() = default;  // null
  Value(std::nullptr_t) {}
  Value(bool value) : data_(value) {}
  Value(std::int64_t value) : data_(value) {}
  Value(int value) : data_(static_cast<std::int64_t>(value)) {}
  Value(double value) : data_(value) {}
  Value(const char* value) : data_(std::string(value)) {}
  Value(std::string_view value) : data_(std::string(value)) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(Array value) : data_(std::move(value)) {}
  Value(Object value) : data_(std::move(value)) {}

  // At most 512 levels deep and only one value; kInvalidArgument names the byte offset otherwise.
  static absl::StatusOr<Value> Parse(std::string_view text);

  bool IsNull() const { return std::holds_alternative<std::monostate>(data_); }
  bool IsBool() const { return std::holds_alternative<bool>(data_); }
  bool IsInt() const { return std::holds_alternative<std::int64_t>(data_); }
  bool IsNumber() const { return IsInt() || std::holds_alternative<double>(data_); }
  bool IsString() const { return std::holds_alternative<std::string>(data_); }
  bool IsArray() const { return std::holds_alternative<Array>(data_); }
  bool IsObject() const { return std::holds_alternative<Object>(data_); }

  // The value, or the fallback when it has another type.
  std::string_view StringOr(std::string_view fallback = "") const;
  std::int64_t IntOr(std::int64_t fallback = 0) const;
  double DoubleOr(double fallback = 0) const;
  bool BoolOr(bool fallback = false) const;

  // Elements and members; empty when the value has another type.
  const Array& items() const;
  const Object& members() const;
  // Makes it an array or object first (dropping what it was) when it is not one.
  Array& MutableArray();
  Object& MutableObject();

  // The member, or a shared null value: value["spec"]["replicas"].IntOr(1) never fails.
  const Value& operator[](std::string_view key) const;
  // The member, made when missing.
  Value& Mutable(std::string_view key);
  // Null when absent.
  const Value* Find(std::string_view key) const;
  bool Erase(std::string_view key);

  std::string Dump() const;
  void AppendTo(std::string& out) const;
  bool operator==(const Value& other) const = default;

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> data_;
};

// RFC 7386: members of `patch` replace those of `target`, null removes.
void MergePatch(Value& target, const Value& patch);

}  // namespace clusterpulse::json
