#include "hub/store/sqlite.h"

#include <sqlite3.h>

#include "common/base/status.h"

namespace clusterpulse::store {
namespace {

absl::Status ToStatus(int code, const char* message) {
  switch (code & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return base::MakeStatus(absl::StatusCode::kDataLoss, "sqlite: {}", message);
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
      return base::MakeStatus(absl::StatusCode::kResourceExhausted, "sqlite: {}", message);
    case SQLITE_IOERR:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      return base::Unavailable("sqlite: {}", message);
    default:
      return base::Internal("sqlite: {}", message);
  }
}

absl::Status ToStatus(int code, sqlite3* database) { return ToStatus(code, sqlite3_errmsg(database)); }

}  // namespace

Query::~Query() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Query& Query::Bind(std::string_view bytes) {
  // An empty view may hold a null pointer, which would bind NULL.
  sqlite3_bind_blob64(statement_, ++bound_, bytes.empty() ? "" : bytes.data(), bytes.size(), SQLITE_STATIC);
  return *this;
}
Query& Query::Bind(std::int64_t value) {
  sqlite3_bind_int64(statement_, ++bound_, value);
  return *this;
}
Query& Query::Bind(double value) {
  sqlite3_bind_double(statement_, ++bound_, value);
  return *this;
}
Query& Query::Bind(std::optional<std::int64_t> value) {
  if (value.has_value()) return Bind(*value);
  sqlite3_bind_null(statement_, ++bound_);
  return *this;
}

absl::StatusOr<bool> Query::Step() {
  if (error_ != SQLITE_OK) return ToStatus(error_, sqlite3_errstr(error_));
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return ToStatus(code, sqlite3_db_handle(statement_));
}

absl::Status Query::Run() {
  ASSIGN_OR_RETURN(const bool has_row, Step());
  (void)has_row;
  return absl::OkStatus();
}

std::string Query::Bytes(int column) const {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  return data == nullptr ? std::string()
                         : std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
}
std::int64_t Query::Int(int column) const { return sqlite3_column_int64(statement_, column); }
double Query::Double(int column) const { return sqlite3_column_double(statement_, column); }
bool Query::IsNull(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

absl::StatusOr<std::unique_ptr<Sqlite>> Sqlite::Open(const std::string& path, bool read_only) {
  sqlite3* database = nullptr;
  const int flags = (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) |
                    SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &database, flags, nullptr);
  if (code != SQLITE_OK) {
    const absl::Status status = ToStatus(code, sqlite3_errstr(code));
    sqlite3_close(database);
    return status;
  }
  sqlite3_busy_timeout(database, 2000);
  return std::unique_ptr<Sqlite>(new Sqlite(database));
}

Sqlite::~Sqlite() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(database_);
}

absl::Status Sqlite::Execute(const char* sql) {
  const int code = sqlite3_exec(database_, sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : ToStatus(code, database_);
}

Query Sqlite::Prepare(const char* sql) {
  sqlite3_stmt*& statement = statements_[sql];
  int code = SQLITE_OK;
  if (statement == nullptr) {
    code = sqlite3_prepare_v3(database_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  }
  return Query(statement, code);
}

std::int64_t Sqlite::Changes() const { return sqlite3_changes64(database_); }
std::int64_t Sqlite::LastId() const { return sqlite3_last_insert_rowid(database_); }

}  // namespace clusterpulse::store
