#include "collector/spool/directory.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "common/base/status.h"

namespace clusterpulse::spool {
namespace {

std::string PathIn(const std::string& dir, std::uint64_t segment) {
  return fmt::format("{}/{}", dir, SegmentName(segment));
}

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
  std::vector<std::uint64_t> found;
  for (const std::string& name : names) {
    if (name == kLockName || name == kHeadName) continue;
    if (name == kNewSegmentName) {
      out.has_new_segment = true;
    } else if (const auto index = ParseSegmentName(name)) {
      found.push_back(*index);
      out.highest_index = std::max(out.highest_index, *index);
    } else {
      out.others.push_back({name, "its name is not that of a segment"});
    }
  }
  std::sort(found.begin(), found.end());
  for (auto index = found.rbegin(); index != found.rend() && out.instance.empty(); ++index) {
    const auto file = files.Open(PathIn(dir, *index), FileSystem::Mode::kRead);
    if (!file.ok()) continue;  // told below
    if (const auto header = ReadSegmentHeader(**file)) out.instance = header->instance;
  }
  for (const std::uint64_t index : found) {
    const auto file = files.Open(PathIn(dir, index), FileSystem::Mode::kRead);
    if (absl::IsInvalidArgument(file.status())) out.others.push_back({SegmentName(index), "it is no regular file"});
    if (absl::IsInvalidArgument(file.status()) || absl::IsNotFound(file.status())) continue;
    if (!file.ok()) return file.status();
    auto segment = ReadSegment(**file, out.instance, verify);
    if (!segment.ok() && !absl::IsInvalidArgument(segment.status())) return segment.status();
    const std::string why = segment.ok() ? WhyOther(*segment, index, out.instance) : base::Message(segment.status());
    if (why.empty()) {
      out.segments.emplace(index, *std::move(segment));
    } else {
      out.others.push_back({SegmentName(index), why});
    }
  }
  std::sort(out.others.begin(), out.others.end(),
            [](const Directory::OtherFile& a, const Directory::OtherFile& b) { return a.file < b.file; });
  return out;
}

absl::StatusOr<std::string> ReadRecordIn(FileSystem& files, const std::string& dir, std::uint64_t segment,
                                         const std::string& instance, const Record& record) {
  ASSIGN_OR_RETURN(const auto file, files.Open(PathIn(dir, segment), FileSystem::Mode::kRead));
  return ReadRecord(*file, instance, record);
}

}  // namespace clusterpulse::spool
