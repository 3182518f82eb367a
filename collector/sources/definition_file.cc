#include "collector/sources/definition_file.h"

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "collector/spool/encoding.h"
#include "common/base/status.h"

namespace clusterpulse::sources {
namespace {

using spool::File;
using spool::FileSystem;

constexpr std::string_view kTitle = "clusterpulse metric sources 1 ";
constexpr std::size_t kCrcDigits = 8, kHeader = kTitle.size() + kCrcDigits + 1;
// A hub's configuration is one message of at most 4 MiB.
constexpr std::uint64_t kLargest = std::uint64_t{16} << 20;

absl::Status Damaged(std::string_view how) { return base::MakeStatus(absl::StatusCode::kDataLoss, "{}", how); }

std::string CrcText(std::string_view rest) { return fmt::format("{:08x}", spool::Crc32(rest)); }

absl::StatusOr<std::vector<std::string>> Decode(std::string_view bytes) {
  if (!bytes.starts_with(kTitle) || bytes.size() < kHeader || bytes[kHeader - 1] != '\n')
    return Damaged("it does not begin as such a file");
  std::string_view rest = bytes.substr(kHeader);
  if (bytes.substr(kTitle.size(), kCrcDigits) != CrcText(rest)) return Damaged("its checksum is wrong");
  std::vector<std::string> definitions;
  while (!rest.empty()) {
    std::size_t length = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), length);
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    if (error != std::errc() || rest.size() < 2 || length > rest.size() - 2) return Damaged("it is cut");
    definitions.emplace_back(rest.substr(1, length));
    rest.remove_prefix(length + 2);
  }
  return definitions;
}

std::string FolderOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

absl::Status WriteDefinitions(FileSystem& files, const std::string& path, const std::vector<std::string>& definitions) {
  std::string rest;
  for (const std::string& definition : definitions) rest += fmt::format("{}\n{}\n", definition.size(), definition);
  const std::string temporary = path + ".new", folder = FolderOf(path);
  RETURN_IF_ERROR(files.MakeDir(folder));
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<File> file, files.Open(temporary, FileSystem::Mode::kReplace));
    RETURN_IF_ERROR(file->WriteAt(0, fmt::format("{}{}\n{}", kTitle, CrcText(rest), rest)));
    RETURN_IF_ERROR(file->Sync());
  }
  RETURN_IF_ERROR(files.Rename(temporary, path));
  return files.SyncDir(folder);
}

absl::StatusOr<std::vector<std::string>> ReadDefinitions(FileSystem& files, const std::string& path) {
  const auto file = files.Open(path, FileSystem::Mode::kRead);
  if (absl::IsNotFound(file.status())) return std::vector<std::string>();
  if (!file.ok()) return file.status();
  ASSIGN_OR_RETURN(const std::uint64_t size, (*file)->Size());
  if (size > kLargest) return Damaged("it is larger than any such file");
  std::string bytes(size, '\0');
  ASSIGN_OR_RETURN(const std::size_t read, (*file)->ReadAt(0, bytes));
  bytes.resize(read);
  return Decode(bytes);
}

}  // namespace clusterpulse::sources
