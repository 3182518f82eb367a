#include "common/survey/cluster_info.h"

#include <utility>

#include "common/survey/condition.h"

namespace clusterpulse::survey {
namespace {

absl::Status ReadHistoryEntry(json::Cursor entry, model::ClusterInfo& out) {
  return entry.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "state") {
      value.Get(out.version_state);
    } else if (key == "startedTime") {
      value.Get(out.version_started_time);
    } else if (key == "completionTime") {
      value.Get(out.version_completion_time);
    }
  });
}

absl::Status ReadVersionStatus(json::Cursor status, model::ClusterInfo& out) {
  return status.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "desired") {
      return value.ForEachMember([&](std::string_view name, json::Cursor member) {
        if (name == "version") {
          member.Get(out.version);
        } else if (name == "image") {
          member.Get(out.image);
        }
      });
    }
    if (key == "availableUpdates") {
      return value.ForEachElement([&](json::Cursor update) {
        const bool is_first = !std::exchange(out.update_available, true);
        return update.ForEachMember([&](std::string_view name, json::Cursor member) {
          if (is_first && name == "version") member.Get(out.available_update_version);
        });
      });
    }
    if (key == "history") {
      bool is_first = true;
      return value.ForEachElement([&](json::Cursor entry) {
        return std::exchange(is_first, false) ? ReadHistoryEntry(entry, out) : absl::OkStatus();
      });
    }
    if (key == "conditions") return ReadConditions(value, out.conditions);
    return absl::OkStatus();
  });
}

}  // namespace

absl::Status ReadClusterVersion(json::Cursor object, model::ClusterInfo& out) {
  out.is_openshift = true;
  out.platform = "OpenShift";
  RETURN_IF_ERROR(object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "spec") {
      return value.ForEachMember([&](std::string_view name, json::Cursor member) {
        if (name == "channel") {
          member.Get(out.channel);
        } else if (name == "clusterID") {
          member.Get(out.cluster_id);
        }
      });
    }
    return key == "status" ? ReadVersionStatus(value, out) : absl::OkStatus();
  }));
  for (const auto& condition : out.conditions) {
    const bool is_true = condition.status == "True";
    if (condition.type == "Progressing") out.is_progressing = is_true;
    if (condition.type == "Degraded") out.is_degraded = is_true;
    if (condition.type == "Available") out.is_available = is_true;
  }
  return absl::OkStatus();
}

absl::Status ReadServerVersion(json::Cursor object, model::ClusterInfo& out) {
  out.version = "unknown";
  return object.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "gitVersion") {
      value.Get(out.version);
    } else if (key == "platform") {
      value.Get(out.platform);
    }
  });
}

absl::Status ReadConsoleRoute(json::Cursor object, model::ClusterInfo& out) {
  std::string host;
  bool has_tls = false;
  RETURN_IF_ERROR(object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key != "spec") return absl::OkStatus();
    return value.ForEachMember([&](std::string_view name, json::Cursor member) {
      if (name == "host") {
        member.Get(host);
      } else if (name == "tls") {
        has_tls = member.IsObject();
      }
    });
  }));
  if (!host.empty()) out.console_url = (has_tls ? "https://" : "http://") + host;
  return absl::OkStatus();
}

std::string DeriveConsoleUrl(std::string_view endpoint) {
  constexpr std::string_view kApi = "api.";
  std::string_view host = endpoint;
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (host.substr(0, scheme.size()) == scheme) {
      host.remove_prefix(scheme.size());
      break;
    }
  }
  host = host.substr(0, host.find_first_of(":/"));
  if (host.substr(0, kApi.size()) != kApi) return std::string(endpoint);
  return "https://console-openshift-console.apps." + std::string(host.substr(kApi.size()));
}

}  // namespace clusterpulse::survey
