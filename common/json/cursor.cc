#include "common/json/cursor.h"

#include <cmath>
#include <limits>

namespace clusterpulse::json {
namespace od = simdjson::ondemand;

namespace internal {

absl::Status Broken(simdjson::error_code error) {
  return absl::DataLossError(fmt::format("malformed JSON: {}", simdjson::error_message(error)));
}

}  // namespace internal

Type Cursor::type() {
  od::json_type type;
  if (value_.type().get(type)) return Type::kNull;
  switch (type) {
    case od::json_type::array:
      return Type::kArray;
    case od::json_type::object:
      return Type::kObject;
    case od::json_type::number:
      return Type::kNumber;
    case od::json_type::string:
      return Type::kString;
    case od::json_type::boolean:
      return Type::kBool;
    case od::json_type::null:
      return Type::kNull;
  }
  return Type::kNull;
}

bool Cursor::Get(std::string_view& out) {
  const std::string_view token = value_.raw_json_token();
  if (token.empty() || token[0] != '"') return false;
  if (internal::PlainText(token.data() + 1, out)) return true;
  std::string_view text;
  if (value_.get_string().get(text)) return false;
  out = text;
  return true;
}

bool Cursor::Get(std::string& out) {
  std::string_view text;
  if (!Get(text)) return false;
  out.assign(text);
  return true;
}

bool Cursor::Get(std::int64_t& out) { return !value_.get_int64().get(out); }

bool Cursor::Get(std::int32_t& out) {
  std::int64_t wide;
  if (value_.get_int64().get(wide)) return false;
  if (wide < std::numeric_limits<std::int32_t>::min() || wide > std::numeric_limits<std::int32_t>::max()) return false;
  out = static_cast<std::int32_t>(wide);
  return true;
}

bool Cursor::Get(double& out) {
  double number;
  if (value_.get_double().get(number) || !std::isfinite(number)) return false;
  out = number;
  return true;
}

bool Cursor::Get(bool& out) { return !value_.get_bool().get(out); }

absl::StatusOr<std::string_view> Cursor::Raw() {
  std::string_view raw;
  if (const auto error = simdjson::to_json_string(value_).get(raw)) return internal::Broken(error);
  return raw;
}

Parser::Parser() : parser_(std::make_unique<od::parser>()) {}
Parser::~Parser() = default;
Parser::Parser(Parser&&) noexcept = default;
Parser& Parser::operator=(Parser&&) noexcept = default;

absl::Status Parser::Parse(const Buffer& buffer, absl::FunctionRef<absl::Status(Cursor)> visit) {
  if (buffer.size() == 0) return absl::DataLossError("malformed JSON: no bytes");
  od::document document;
  const simdjson::padded_string_view text(buffer.data(), buffer.size(), buffer.capacity() + simdjson::SIMDJSON_PADDING);
  if (const auto error = parser_->iterate(text).get(document)) return internal::Broken(error);
  od::value root;
  if (const auto error = document.get_value().get(root)) return internal::Broken(error);
  RETURN_IF_ERROR(visit(Cursor(root)));
  return absl::OkStatus();
}

absl::Status Parser::Parse(std::string_view bytes, absl::FunctionRef<absl::Status(Cursor)> visit) {
  copy_.Assign(bytes);
  return Parse(copy_, visit);
}

}  // namespace clusterpulse::json
