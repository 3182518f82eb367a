#include "common/kube/response_decoder.h"

#include <optional>
#include <string>

#include "common/base/status.h"

namespace clusterpulse::kube {
namespace {

// Memory of one watch line that is kept for the next one; most are a few KiB.
constexpr std::size_t kKeepLineBytes = 256 << 10;

bool IsBlank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

std::optional<WatchEventType> ParseType(std::string_view word) {
  if (word == "ADDED") return WatchEventType::kAdded;
  if (word == "MODIFIED") return WatchEventType::kModified;
  if (word == "DELETED") return WatchEventType::kDeleted;
  if (word == "BOOKMARK") return WatchEventType::kBookmark;
  return std::nullopt;
}

}  // namespace

absl::StatusOr<ListPage> DecodeList(json::Parser& parser, const json::Buffer& body, ItemVisitor visit) {
  ListPage page;
  bool is_list = false;
  RETURN_IF_ERROR(parser.Parse(body, [&](json::Cursor root) {
    return root.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
      if (key == "metadata") {
        return value.ForEachMember([&](std::string_view name, json::Cursor v) {
          if (name == "resourceVersion") {
            v.Get(page.resource_version);
          } else if (name == "continue") {
            v.Get(page.continue_token);
          }
        });
      }
      if (key != "items") return absl::OkStatus();
      const json::Type type = value.type();
      is_list = type == json::Type::kArray || type == json::Type::kNull;  // Go writes an empty list as null
      return value.ForEachElement([&](json::Cursor item) -> absl::Status {
        if (!item.IsObject()) return absl::DataLossError("an item of the list is no object");
        return visit(item);
      });
    });
  }));
  if (!is_list) return absl::DataLossError("the answer is no list of Kubernetes objects");
  return page;
}

absl::Status WatchDecoder::Feed(std::string_view bytes, WatchVisitor visit) {
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end);
    if (line_.size() + piece.size() > max_line_bytes_) {
      return absl::DataLossError(fmt::format("a watch event is larger than {} bytes", max_line_bytes_));
    }
    line_.Append(piece);
    if (end == std::string_view::npos) break;
    bytes.remove_prefix(end + 1);
    if (!IsBlank(line_.view())) RETURN_IF_ERROR(DecodeLine(visit));
    if (line_.capacity() > kKeepLineBytes) {
      line_.Shrink(kKeepLineBytes);
      parser_ = json::Parser();
    }
    line_.Clear();
  }
  return absl::OkStatus();
}

absl::Status WatchDecoder::Finish() const {
  if (IsBlank(line_.view())) return absl::OkStatus();
  return absl::UnavailableError("the watch ended in the middle of an event");
}

absl::Status WatchDecoder::DecodeLine(WatchVisitor visit) {
  std::string word;
  bool has_object = false, visited = false;
  const auto on_object = [&](json::Cursor object) -> absl::Status {
    if (!object.IsObject()) return absl::DataLossError("a watch event holds no object");
    visited = true;
    if (word == "ERROR") {
      ASSIGN_OR_RETURN(const std::string_view status, object.Raw());
      return ToStatus(DecodeApiError(200, status));
    }
    const auto type = ParseType(word);
    if (!type) return absl::DataLossError("a watch event has an unknown type");
    return visit(*type, object);
  };
  RETURN_IF_ERROR(parser_.Parse(line_, [&](json::Cursor root) {
    return root.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
      if (key == "type" && !visited) value.Get(word);
      if (key != "object" || visited) return absl::OkStatus();
      has_object = true;
      return word.empty() ? absl::OkStatus() : on_object(value);
    });
  }));
  if (visited) return absl::OkStatus();
  if (word.empty() || !has_object) return absl::DataLossError("a line of the watch is no event");
  // The type came behind the object: read the line again, now that it is known.
  return parser_.Parse(line_, [&](json::Cursor root) {
    return root.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
      return key == "object" && !visited ? on_object(value) : absl::OkStatus();
    });
  });
}

}  // namespace clusterpulse::kube
