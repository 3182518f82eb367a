#include "common/json/value.h"

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include "common/base/status.h"
#include "common/json/writer.h"

namespace clusterpulse::json {
namespace {

constexpr std::size_t kMaxDepth = 512;

// Builds the tree from the reader's events. The stack holds the containers that are still open.
class Builder {
 public:
  explicit Builder(Value& root) : root_(root) {}

  bool Null() { return Put(Value()); }
  bool Bool(bool b) { return Put(b); }
  bool Int(int i) { return Put(static_cast<std::int64_t>(i)); }
  bool Uint(unsigned u) { return Put(static_cast<std::int64_t>(u)); }
  bool Int64(std::int64_t i) { return Put(i); }
  bool Uint64(std::uint64_t u) {
    return u <= static_cast<std::uint64_t>(INT64_MAX) ? Put(static_cast<std::int64_t>(u)) : Put(static_cast<double>(u));
  }
  bool Double(double d) { return Put(d); }
  bool RawNumber(const char*, rapidjson::SizeType, bool) { return false; }
  bool String(const char* text, rapidjson::SizeType length, bool) { return Put(std::string(text, length)); }
  bool Key(const char* text, rapidjson::SizeType length, bool) {
    key_.assign(text, length);
    return true;
  }
  bool StartObject() { return Open(Value::Object()); }
  bool EndObject(rapidjson::SizeType) { return Close(); }
  bool StartArray() { return Open(Value::Array()); }
  bool EndArray(rapidjson::SizeType) { return Close(); }

 private:
  Value* Place(Value value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Value& parent = *stack_.back();
    if (parent.IsArray()) return &parent.MutableArray().emplace_back(std::move(value));
    Value& member = parent.MutableObject()[key_];
    member = std::move(value);
    return &member;
  }
  bool Put(Value value) {
    Place(std::move(value));
    return true;
  }
  bool Open(Value value) {
    if (stack_.size() >= kMaxDepth) return false;
    stack_.push_back(Place(std::move(value)));
    return true;
  }
  bool Close() {
    stack_.pop_back();
    return true;
  }

  Value& root_;
  std::vector<Value*> stack_;
  std::string key_;
};

void AppendValue(Writer& writer, const Value& value) {
  if (value.IsObject()) {
    writer.BeginObject();
    for (const auto& [key, member] : value.members()) {
      writer.Key(key);
      AppendValue(writer, member);
    }
    writer.EndObject();
  } else if (value.IsArray()) {
    writer.BeginArray();
    for (const Value& item : value.items()) AppendValue(writer, item);
    writer.EndArray();
  } else if (value.IsString()) {
    writer.String(value.StringOr());
  } else if (value.IsBool()) {
    writer.Bool(value.BoolOr());
  } else if (value.IsInt()) {
    writer.Int(value.IntOr());
  } else if (value.IsNumber()) {
    writer.Double(value.DoubleOr());
  } else {
    writer.Null();
  }
}

}  // namespace

absl::StatusOr<Value> Value::Parse(std::string_view text) {
  Value root;
  Builder builder(root);
  rapidjson::MemoryStream stream(text.data(), text.size());
  rapidjson::Reader reader;
  constexpr unsigned kFlags =
      rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag | rapidjson::kParseFullPrecisionFlag;
  const rapidjson::ParseResult result = reader.Parse<kFlags>(stream, builder);
  if (!result.IsError() && stream.Tell() != text.size()) {  // RapidJSON takes a zero byte for the end
    return base::InvalidArgument("malformed JSON at byte {}: zero byte", stream.Tell());
  }
  if (result.IsError()) {
    const char* why = result.Code() == rapidjson::kParseErrorTermination ? "Nested more than 512 levels deep."
                                                                         : rapidjson::GetParseError_En(result.Code());
    return base::InvalidArgument("malformed JSON at byte {}: {}", result.Offset(), why);
  }
  return root;
}

std::string_view Value::StringOr(std::string_view fallback) const {
  const auto* text = std::get_if<std::string>(&data_);
  return text != nullptr ? std::string_view(*text) : fallback;
}

std::int64_t Value::IntOr(std::int64_t fallback) const {
  const auto* number = std::get_if<std::int64_t>(&data_);
  return number != nullptr ? *number : fallback;
}

double Value::DoubleOr(double fallback) const {
  if (const auto* number = std::get_if<double>(&data_)) return *number;
  if (const auto* number = std::get_if<std::int64_t>(&data_)) return static_cast<double>(*number);
  return fallback;
}

bool Value::BoolOr(bool fallback) const {
  const auto* flag = std::get_if<bool>(&data_);
  return flag != nullptr ? *flag : fallback;
}

const Value::Array& Value::items() const {
  static const Array empty;
  const auto* array = std::get_if<Array>(&data_);
  return array != nullptr ? *array : empty;
}

const Value::Object& Value::members() const {
  static const Object empty;
  const auto* object = std::get_if<Object>(&data_);
  return object != nullptr ? *object : empty;
}

Value::Array& Value::MutableArray() {
  if (!IsArray()) data_ = Array();
  return std::get<Array>(data_);
}

Value::Object& Value::MutableObject() {
  if (!IsObject()) data_ = Object();
  return std::get<Object>(data_);
}

const Value* Value::Find(std::string_view key) const {
  const auto& all = members();
  const auto it = all.find(key);
  return it == all.end() ? nullptr : &it->second;
}

const Value& Value::operator[](std::string_view key) const {
  static const Value null;
  const Value* found = Find(key);
  return found != nullptr ? *found : null;
}

Value& Value::Mutable(std::string_view key) {
  auto& all = MutableObject();
  const auto it = all.find(key);
  return it != all.end() ? it->second : all[std::string(key)];
}

bool Value::Erase(std::string_view key) {
  if (!IsObject()) return false;
  auto& all = MutableObject();
  const auto it = all.find(key);
  if (it == all.end()) return false;
  all.erase(it);
  return true;
}

void Value::AppendTo(std::string& out) const {
  Writer writer(out);
  AppendValue(writer, *this);
}

std::string Value::Dump() const {
  std::string out;
  AppendTo(out);
  return out;
}

void MergePatch(Value& target, const Value& patch) {
  if (!patch.IsObject()) {
    target = patch;
    return;
  }
  target.MutableObject();
  for (const auto& [key, member] : patch.members()) {
    if (member.IsNull()) {
      target.Erase(key);
    } else {
      MergePatch(target.Mutable(key), member);
    }
  }
}

}  // namespace clusterpulse::json
