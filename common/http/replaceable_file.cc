#include "common/http/replaceable_file.h"

#include <fstream>

#include <sys/stat.h>

#include "common/base/status.h"

namespace clusterpulse::http {

std::string ReplaceableFile::Stamp() const {
  struct stat s = {};
  if (::stat(path_.c_str(), &s) != 0) return "none";
  return fmt::format("{}.{}.{}.{}.{}.{}.{}", s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec,
                     s.st_ctim.tv_sec, s.st_ctim.tv_nsec);
}

absl::StatusOr<std::string> ReplaceableFile::Read() const {
  constexpr std::size_t kLargest = std::size_t{1} << 20;
  std::ifstream file(path_, std::ios::binary);
  std::string text(kLargest, '\0');
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) return base::InvalidArgument("{} cannot be read", path_);
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() == kLargest) return base::InvalidArgument("{} is too large", path_);
  return text;
}

}  // namespace clusterpulse::http
