#include "hub/ingest/key_pair_files.h"

#include <utility>

#include "common/base/status.h"
#include "common/http/pem.h"

namespace clusterpulse::ingest {

std::string KeyPairFiles::Stamp() const { return cert_.Stamp() + ";" + key_.Stamp(); }

absl::StatusOr<KeyPairFiles::Pair> KeyPairFiles::Load() const {
  Pair pair;
  ASSIGN_OR_RETURN(pair.cert, cert_.Read());
  ASSIGN_OR_RETURN(pair.key, key_.Read());
  RETURN_IF_ERROR(base::Annotate(http::CheckClientPem(pair.cert, pair.key), cert_.path() + " and " + key_.path()));
  return pair;
}

std::optional<KeyPairFiles::Pair> KeyPairFiles::TakeChanged() {
  // Before reading: what changes meanwhile is looked at again.
  std::string stamp = Stamp();
  {
    base::MutexLock lock(mu_);
    if (stamp == seen_) return std::nullopt;
    seen_ = std::move(stamp);
  }
  absl::StatusOr<Pair> pair = Load();
  bool is_first = false;
  {
    base::MutexLock lock(mu_);
    is_first = !std::exchange(given_, given_ || pair.ok());
  }
  if (!pair.ok()) {
    log_.Warn("new certificate cannot be used, the one before stays", {{"error", log::ToText(pair.status())}});
    return std::nullopt;
  }
  if (!is_first) log_.Info("certificate replaced", {{"file", cert_.path()}});
  return *std::move(pair);
}

}  // namespace clusterpulse::ingest
