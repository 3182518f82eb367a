#pragma once

#include <string>

#include <absl/status/statusor.h>

namespace clusterpulse::http {

// A small file that somebody may replace at any time: a certificate, a key, a secret, as Kubernetes mounts them.
// Whoever uses it keeps the stamp of what was read, taken before reading, so that what changes meanwhile is looked at
// again. A plain value.
class ReplaceableFile {
 public:
  explicit ReplaceableFile(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  // Identity, size and times: another one after every way to replace the file. Costs one stat call.
  std::string Stamp() const;
  // kInvalidArgument names the file: it cannot be read, or has a mebibyte and more.
  absl::StatusOr<std::string> Read() const;

 private:
  std::string path_;
};

}  // namespace clusterpulse::http
