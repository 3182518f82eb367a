#include "collector/spool/directory.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"

namespace clusterpulse::spool {
namespace {

// Why this is no segment of the spool; empty when it is one.
std::string WhyOther(const Segment& segment, std::uint64_t index, const std::string& instance) {
  if (!segment.header) {
    return segment.records.empty() && segment.broken.empty() ? "it has neither a header nor records" : "";
  }
  if (segment.header->instance != instance) return "it belongs to another spool";
  if (segment.header->index != index) return fmt::format("it is a copy of {}", SegmentName(segment.header->index));
  return "";
}

}  // namespace

absl::StatusOr<Directory> ReadDirectory(FileSystem& files, const std::string& dir, const std::string& instance,
                                        Verify verify) {
  Directory out;
  out.instance = instance;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(dir));
  std::map<std::uint64_t, std::unique_ptr<File>> open;
  for (const std::string& name : names) {
    if (name == kLockName || name == kHeadName) continue;
    if (name == kNewSegmentName) {
      out.has_new_segment = true;
      continue;
    }
    const auto index = ParseSegmentName(name);
    if (!index) {
      out.others.push_back({name, "its name is not that of a segment"});
      continue;
    }
    out.highest_index = std::max(out.highest_index, *index);
    auto file = files.Open(fmt::format("{}/{}", dir, name), FileSystem::Mode::kRead);
    if (file.ok()) {
      open[*index] = *std::move(file);
    } else if (absl::IsInvalidArgument(file.status())) {
      out.others.push_back({name, "it is no regular file"});
    } else if (!absl::IsNotFound(file.status())) {
      return file.status();
    }
  }
  for (auto file = open.rbegin(); file != open.rend() && out.instance.empty(); ++file) {
    if (const auto header = ReadSegmentHeader(*file->second)) out.instance = header->instance;
  }
  for (auto& [index, file] : open) {
    auto segment = ReadSegment(*file, out.instance, verify);
    if (!segment.ok() && !absl::IsInvalidArgument(segment.status())) return segment.status();
    const std::string why = segment.ok() ? WhyOther(*segment, index, out.instance) : base::Message(segment.status());
    if (why.empty()) {
      out.segments.emplace(index, Directory::Entry{std::move(file), *std::move(segment)});
    } else {
      out.others.push_back({SegmentName(index), why});
    }
  }
  std::sort(out.others.begin(), out.others.end(),
            [](const Directory::OtherFile& a, const Directory::OtherFile& b) { return a.file < b.file; });
  return out;
}

}  // namespace clusterpulse::spool
