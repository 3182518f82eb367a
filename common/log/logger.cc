#include "common/log/logger.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include <unistd.h>

#include "common/base/time_format.h"
#include "common/json/writer.h"

namespace clusterpulse::log {
namespace {

std::string_view Word(Level level) {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarn:
      return "warn";
    case Level::kError:
      return "error";
  }
  return "error";
}

bool NeedsQuotes(std::string_view text) {
  return text.empty() || std::any_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f || c == '"' ||
                  c == '=' || c == '\\';
         });
}

void AppendScalar(std::string& out, const Field& field, Format format) {
  if (const auto* text = std::get_if<std::string_view>(&field.value)) {
    const bool quotes = format == Format::kJson || NeedsQuotes(*text);
    if (quotes) out.push_back('"');
    // Escaping also in text: a peer's newline must not become a line of ours.
    if (quotes) {
      json::AppendEscaped(out, *text);
      out.push_back('"');
    } else {
      out.append(*text);
    }
  } else if (const auto* integer = std::get_if<std::int64_t>(&field.value)) {
    out.append(std::to_string(*integer));
  } else if (const auto* number = std::get_if<double>(&field.value)) {
    json::Writer(out).Double(*number);
  } else {
    out.append(std::get<bool>(field.value) ? "true" : "false");
  }
}

void AppendField(std::string& out, const Field& field, Format format) {
  if (format == Format::kJson) {
    out.append(",\"").append(field.key).append("\":");
  } else {
    out.append(" ").append(field.key).append("=");
  }
  AppendScalar(out, field, format);
}

}  // namespace

std::optional<Level> ParseLevel(std::string_view word) {
  std::string lower(word);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower == "trace" || lower == "debug") return Level::kDebug;
  if (lower == "info") return Level::kInfo;
  if (lower == "warn" || lower == "warning") return Level::kWarn;
  if (lower == "error" || lower == "critical") return Level::kError;
  return std::nullopt;
}

Logger::Logger(Options options)
    : core_(std::make_shared<const Core>(
          Core{options.level, options.format, options.fd, std::move(options.sink), options.clock})) {}

Logger Logger::With(std::initializer_list<Field> fields) const {
  Logger copy = *this;
  if (core_ == nullptr) return copy;
  for (const Field& field : fields) AppendField(copy.context_, field, core_->format);
  return copy;
}

void Logger::Write(Level level, std::string_view message, std::initializer_list<Field> fields) const {
  if (!Enabled(level)) return;
  std::string line;
  line.reserve(256);
  const std::string time = base::FormatMicros(core_->clock->Now());
  if (core_->format == Format::kJson) {
    line.append("{\"time\":\"").append(time).append("\",\"level\":\"").append(Word(level)).append("\",\"msg\":\"");
    json::AppendEscaped(line, message);
    line.push_back('"');
  } else {
    line.append(time).append(" ").append(Word(level)).append(Word(level).size() == 4 ? "  " : " ").append(message);
  }
  line.append(context_);
  for (const Field& field : fields) AppendField(line, field, core_->format);
  if (core_->format == Format::kJson) line.push_back('}');
  if (core_->sink) {
    core_->sink(line);
    return;
  }
  line.push_back('\n');
  // Nothing useful can be done when the log itself cannot be written.
  [[maybe_unused]] const ssize_t written = ::write(core_->fd, line.data(), line.size());
}

std::string ToText(const absl::Status& status) { return status.ToString(absl::StatusToStringMode::kWithNoExtraData); }

}  // namespace clusterpulse::log
