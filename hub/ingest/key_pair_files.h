#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <absl/status/statusor.h>

#include "common/base/mutex.h"
#include "common/http/replaceable_file.h"
#include "common/log/logger.h"

namespace clusterpulse::ingest {

// A server's certificate (chain) and key in two PEM files, which may be replaced at any time. What is unreadable, half
// written, or does not fit together is never given out: the pair before stays in force, with one warning. Looking costs
// two stat calls. Thread-safe.
class KeyPairFiles {
 public:
  struct Pair {
    std::string cert, key;
  };

  KeyPairFiles(std::string cert_path, std::string key_path, log::Logger log)
      : cert_(std::move(cert_path)), key_(std::move(key_path)), log_(std::move(log)) {}

  // What is in the files now. kInvalidArgument says which file is wrong and why.
  absl::StatusOr<Pair> Load() const;
  // The pair, the first time and whenever it is another one than before.
  std::optional<Pair> TakeChanged();

 private:
  // Of both files.
  std::string Stamp() const;

  const http::ReplaceableFile cert_, key_;
  const log::Logger log_;
  base::Mutex mu_;
  std::string seen_ ABSL_GUARDED_BY(mu_);  // stamp of what was looked at last
  bool given_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace clusterpulse::ingest
