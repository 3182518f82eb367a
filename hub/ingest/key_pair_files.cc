#include "hub/ingest/key_pair_files.h"

#include <fstream>
#include <iterator>
#include <utility>

#include <sys/stat.h>

#include "common/base/status.h"
#include "common/http/pem.h"

namespace clusterpulse::ingest {
namespace {

absl::StatusOr<std::string> ReadPem(const std::string& path) {
  constexpr std::size_t kLargest = std::size_t{1} << 20;
  std::ifstream file(path, std::ios::binary);
  if (!file) return base::InvalidArgument("{} cannot be read", path);
  std::string text(kLargest, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return base::InvalidArgument("{} cannot be read", path);
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() == kLargest) return base::InvalidArgument("{} is too large for a PEM file", path);
  return text;
}

void AppendStamp(const std::string& path, std::string& out) {
  struct stat s = {};
  if (::stat(path.c_str(), &s) != 0) {
    out += "none;";
    return;
  }
  out += fmt::format("{}.{}.{}.{}.{}.{}.{};", s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec,
                     s.st_ctim.tv_sec, s.st_ctim.tv_nsec);
}

}  // namespace

std::string KeyPairFiles::Stamp() const {
  std::string stamp;
  AppendStamp(cert_path_, stamp);
  AppendStamp(key_path_, stamp);
  return stamp;
}

absl::StatusOr<KeyPairFiles::Pair> KeyPairFiles::Load() const {
  Pair pair;
  ASSIGN_OR_RETURN(pair.cert, ReadPem(cert_path_));
  ASSIGN_OR_RETURN(pair.key, ReadPem(key_path_));
  RETURN_IF_ERROR(base::Annotate(http::CheckClientPem(pair.cert, pair.key), cert_path_ + " and " + key_path_));
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
  if (!is_first) log_.Info("certificate replaced", {{"file", cert_path_}});
  return *std::move(pair);
}

}  // namespace clusterpulse::ingest
