#include "common/kube/discovery.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "common/base/status.h"

namespace clusterpulse::kube {
namespace {

// "20+" (managed clusters write a plus) is 20.
int LeadingNumber(std::string_view text) {
  int value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

absl::StatusOr<ResourceType> Discovery::Find(std::string_view api_version, std::string_view kind,
                                             const CallOptions& options, std::int64_t* calls) {
  const auto slash = api_version.find('/');
  const std::string group(slash == std::string_view::npos ? "" : api_version.substr(0, slash));
  const std::string version(slash == std::string_view::npos ? api_version : api_version.substr(slash + 1));
  if (!IsPathSegment(version) || (slash != std::string_view::npos && !IsPathSegment(group))) {
    return base::InvalidArgument("the apiVersion \"{}\" is not of the form version or group/version", api_version);
  }

  std::optional<ResourceType> stale;
  {
    base::MutexLock lock(mu_);
    if (const auto found = groups_.find(api_version); found != groups_.end()) {
      const auto age = clock_.Steady() - found->second.fetched;
      const auto hit = found->second.by_kind.find(kind);
      if (hit != found->second.by_kind.end()) {
        if (age <= options_.max_age) return hit->second;
        stale = hit->second;
      } else if (age < options_.min_refresh) {
        return absl::NotFoundError(fmt::format("the server does not serve {} in {}", kind, api_version));
      }
    }
  }

  // Not under the lock: this waits for the network.
  const std::string path = ResourceType{group, version, "", "", true}.RootPath();
  if (calls != nullptr) ++*calls;
  const auto text = api_.GetPath(path, options);
  if (!text.ok() && !IsNotFound(text.status())) {
    if (stale) return *stale;
    return base::Annotate(text.status(), fmt::format("asking what {} serves", api_version));
  }
  Group fresh;
  fresh.fetched = clock_.Steady();
  if (text.ok()) {
    json::Parser parser;
    const absl::Status parsed = parser.Parse(*text, [&](json::Cursor root) {
      return root.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
        if (key != "resources") return absl::OkStatus();
        return value.ForEachElement([&](json::Cursor item) -> absl::Status {
          ResourceType type{group, version, "", "", false};
          RETURN_IF_ERROR(item.ForEachMember([&](std::string_view name, json::Cursor v) {
            if (name == "name") v.Get(type.plural);
            if (name == "kind") v.Get(type.kind);
            if (name == "namespaced") v.Get(type.namespaced);
          }));
          // Subresources have a slash; the name goes into paths.
          if (IsPathSegment(type.plural) && !type.kind.empty()) fresh.by_kind.emplace(type.kind, std::move(type));
          return absl::OkStatus();
        });
      });
    });
    if (!parsed.ok()) return base::Annotate(parsed, fmt::format("reading what {} serves", api_version));
  }
  std::optional<ResourceType> result;
  if (const auto hit = fresh.by_kind.find(kind); hit != fresh.by_kind.end()) result = hit->second;
  {
    base::MutexLock lock(mu_);
    groups_.insert_or_assign(std::string(api_version), std::move(fresh));
    if (groups_.size() > options_.max_groups) {
      groups_.erase(std::min_element(groups_.begin(), groups_.end(),
                                     [](const auto& a, const auto& b) { return a.second.fetched < b.second.fetched; }));
    }
  }
  if (!result) return absl::NotFoundError(fmt::format("the server does not serve {} in {}", kind, api_version));
  return *std::move(result);
}

absl::StatusOr<ServerVersion> Discovery::Version(const CallOptions& options) {
  ASSIGN_OR_RETURN(const std::string text, api_.GetPath("/version", options), "asking for the server's version");
  ServerVersion out;
  json::Parser parser;
  RETURN_IF_ERROR(parser.Parse(text, [&](json::Cursor root) {
    return root.ForEachMember([&](std::string_view key, json::Cursor value) {
      std::string word;
      if (key == "gitVersion") value.Get(out.git_version);
      if (key == "platform") value.Get(out.platform);
      if (key == "major" && value.Get(word)) out.major = LeadingNumber(word);
      if (key == "minor" && value.Get(word)) out.minor = LeadingNumber(word);
    });
  }));
  return out;
}

}  // namespace clusterpulse::kube
