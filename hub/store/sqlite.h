#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <absl/status/statusor.h>

struct sqlite3;
struct sqlite3_stmt;

namespace clusterpulse::store {

// One prepared statement in use: bind, step, read. Resets itself when it goes out of scope. Parameters are bound in
// order.
class Query {
 public:
  // `error`: why there is no statement (an SQLite code), which Step then returns.
  Query(sqlite3_stmt* statement, int error) : statement_(statement), error_(error) {}
  ~Query();
  Query(Query&& other) noexcept
      : statement_(std::exchange(other.statement_, nullptr)), error_(other.error_), bound_(other.bound_) {}
  Query& operator=(Query&&) = delete;

  // Text and blobs alike; must stay alive until the query is done.
  Query& Bind(std::string_view bytes);
  Query& Bind(std::int64_t value);
  Query& Bind(double value);
  Query& Bind(std::optional<std::int64_t> value);

  // True: there is a row. False: done.
  absl::StatusOr<bool> Step();
  // For statements without rows.
  absl::Status Run();

  std::string Bytes(int column) const;
  std::int64_t Int(int column) const;
  double Double(int column) const;
  bool IsNull(int column) const;

 private:
  sqlite3_stmt* statement_;
  int error_;
  int bound_ = 0;
};

// One connection to an SQLite database and its prepared statements: the only code that calls SQLite. Confined to one
// thread at a time.
//
// Errors: kDataLoss (the file is damaged or no database), kResourceExhausted (disk or memory full), kUnavailable
// (cannot be read or written now), kInternal (our bug).
class Sqlite {
 public:
  // `path` is a file, or ":memory:".
  static absl::StatusOr<std::unique_ptr<Sqlite>> Open(const std::string& path, bool read_only);
  ~Sqlite();

  // Any number of statements, without parameters.
  absl::Status Execute(const char* sql);
  // Prepared at the first use and kept. REQUIRES: `sql` is a literal and not in use by another Query. An error (a
  // damaged file) shows at Step.
  Query Prepare(const char* sql);
  std::int64_t Changes() const;  // rows the last statement changed
  std::int64_t LastId() const;   // of the row last inserted

 private:
  explicit Sqlite(sqlite3* database) : database_(database) {}

  sqlite3* database_;
  std::map<const char*, sqlite3_stmt*> statements_;  // by the literal's address
};

}  // namespace clusterpulse::store
