#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <absl/status/status.h>

#include "common/base/clock.h"

namespace clusterpulse::log {

enum class Level { kDebug, kInfo, kWarn, kError };

// "trace", "debug", "info", "warn", "warning", "error", "critical" in any case (trace is debug, critical is error).
std::optional<Level> ParseLevel(std::string_view word);

enum class Format { kText, kJson };

// One key and its value. Views must live until the call returns. The same thing has the same key everywhere: cluster,
// node, namespace, name, peer, error, duration_ms.
struct Field {
  std::string_view key;
  std::variant<std::string_view, std::int64_t, double, bool> value;

  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const std::string& v) : key(k), value(std::string_view(v)) {}
  Field(std::string_view k, const char* v) : key(k), value(std::string_view(v)) {}
  Field(std::string_view k, bool v) : key(k), value(v) {}
  Field(std::string_view k, double v) : key(k), value(v) {}
  Field(std::string_view k, int v) : key(k), value(static_cast<std::int64_t>(v)) {}
  Field(std::string_view k, std::int64_t v) : key(k), value(v) {}
  Field(std::string_view k, std::uint64_t v) : key(k), value(static_cast<std::int64_t>(v)) {}
};

// Structured log: a constant lower-case message plus fields. A cheap handle, copied freely; copies share the output.
// Thread-safe: a line is written with one write(2). Never pass tokens, certificates, environment values or objects.
class Logger {
 public:
  struct Options {
    Level level = Level::kInfo;
    Format format = Format::kJson;
    int fd = 2;
    // Takes lines (without newline) instead of fd; for tests.
    std::function<void(std::string_view line)> sink;
    const base::Clock* clock = &base::SystemClock();
  };

  // Writes nothing.
  Logger() = default;
  explicit Logger(Options options);

  // A logger that adds these fields to every line.
  Logger With(std::initializer_list<Field> fields) const;

  void Debug(std::string_view message, std::initializer_list<Field> fields = {}) const {
    Write(Level::kDebug, message, fields);
  }
  void Info(std::string_view message, std::initializer_list<Field> fields = {}) const {
    Write(Level::kInfo, message, fields);
  }
  void Warn(std::string_view message, std::initializer_list<Field> fields = {}) const {
    Write(Level::kWarn, message, fields);
  }
  void Error(std::string_view message, std::initializer_list<Field> fields = {}) const {
    Write(Level::kError, message, fields);
  }
  bool Enabled(Level level) const { return core_ != nullptr && level >= core_->level; }
  void Write(Level level, std::string_view message, std::initializer_list<Field> fields) const;

 private:
  struct Core {
    Level level;
    Format format;
    int fd;
    std::function<void(std::string_view)> sink;
    const base::Clock* clock;
  };

  std::shared_ptr<const Core> core_;
  std::string context_;  // fields of With, already rendered
};

// Text of a status for a log field: "UNAVAILABLE: connection refused".
std::string ToText(const absl::Status& status);

}  // namespace clusterpulse::log
