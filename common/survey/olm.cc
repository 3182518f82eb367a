#include "common/survey/olm.h"

#include <algorithm>
#include <utility>

#include "common/kube/object_meta.h"

namespace clusterpulse::survey {
namespace {

constexpr std::string_view kTargetNamespaces = "olm.targetNamespaces";
constexpr std::string_view kAllNamespaces = "AllNamespaces";

std::string_view Trim(std::string_view text, std::string_view characters) {
  const auto begin = text.find_first_not_of(characters);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(characters) - begin + 1);
}

// "a, b" -> {"a", "b"}; empty parts are left out.
std::vector<std::string> SplitNames(std::string_view text) {
  std::vector<std::string> names;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    if (const auto name = Trim(text.substr(0, comma), " \t"); !name.empty()) names.emplace_back(name);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return names;
}

absl::Status ReadEnv(json::Cursor variable, std::string& watch_namespace) {
  std::string name, text;
  RETURN_IF_ERROR(variable.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "name") {
      value.Get(name);
    } else if (key == "value") {
      value.Get(text);
    }
  }));
  if (name == "WATCH_NAMESPACE") watch_namespace = std::move(text);
  return absl::OkStatus();
}

absl::Status ReadInstallMode(json::Cursor mode, std::vector<std::string>& supported_modes) {
  std::string type;
  bool supported = false;
  RETURN_IF_ERROR(mode.ForEachMember([&](std::string_view key, json::Cursor value) {
    if (key == "type") {
      value.Get(type);
    } else if (key == "supported") {
      value.Get(supported);
    }
  }));
  if (supported && !type.empty()) supported_modes.push_back(std::move(type));
  return absl::OkStatus();
}

absl::Status ReadCsvSpec(json::Cursor spec, ClusterServiceVersion& out) {
  return spec.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "displayName") {
      value.Get(out.display_name);
    } else if (key == "version") {
      value.Get(out.version);
    } else if (key == "provider") {
      return value.ForEachMember([&](std::string_view name, json::Cursor member) {
        if (name == "name") member.Get(out.provider);
      });
    } else if (key == "installModes") {
      out.lists_install_modes = value.IsArray();
      return value.ForEachElement([&](json::Cursor mode) { return ReadInstallMode(mode, out.install_modes); });
    }
    return absl::OkStatus();
  });
}

std::vector<std::string> AvailableIn(const Subscription& subscription, const ClusterServiceVersion& csv) {
  if (auto watched = SplitNames(subscription.watch_namespace); !watched.empty()) return watched;
  if (csv.target_namespaces) return SplitNames(Trim(*csv.target_namespaces, "\"'"));
  return {csv.ns};
}

}  // namespace

absl::Status ReadSubscription(json::Cursor object, Subscription& out) {
  out = {};
  return object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "metadata") {
      kube::ObjectMeta meta;
      RETURN_IF_ERROR(kube::ReadMeta(value, kube::MetaParts::kIdentity, meta));
      out.ns = std::move(meta.ns);
    } else if (key == "spec") {
      return value.ForEachMember([&](std::string_view name, json::Cursor member) -> absl::Status {
        std::string_view text;
        if (name == "installPlanApproval") {
          if (member.Get(text)) out.approval = text;
        } else if (name == "config") {
          return member.ForEachMember([&](std::string_view setting, json::Cursor list) -> absl::Status {
            if (setting != "env") return absl::OkStatus();
            return list.ForEachElement([&](json::Cursor variable) { return ReadEnv(variable, out.watch_namespace); });
          });
        }
        return absl::OkStatus();
      });
    } else if (key == "status") {
      return value.ForEachMember([&](std::string_view name, json::Cursor member) {
        if (name == "installedCSV") member.Get(out.installed_csv);
      });
    }
    return absl::OkStatus();
  });
}

absl::Status ReadClusterServiceVersion(json::Cursor object, ClusterServiceVersion& out) {
  out = {};
  return object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key == "metadata") {
      kube::ObjectMeta meta;
      RETURN_IF_ERROR(kube::ReadMeta(value, kube::MetaParts::kAll, meta));
      out.ns = std::move(meta.ns);
      out.name = std::move(meta.name);
      out.created_at = std::move(meta.creation_timestamp);
      if (const auto names = meta.annotations.Find(kTargetNamespaces)) out.target_namespaces = *names;
    } else if (key == "spec") {
      out.has_spec = value.IsObject();
      return ReadCsvSpec(value, out);
    } else if (key == "status") {
      return value.ForEachMember([&](std::string_view name, json::Cursor member) {
        if (name == "phase") {
          member.Get(out.phase);
        } else if (name == "lastUpdateTime") {
          member.Get(out.updated_at);
        }
      });
    }
    return absl::OkStatus();
  });
}

model::OlmOperator MakeOperator(const Subscription& subscription, const ClusterServiceVersion& csv) {
  model::OlmOperator made;
  made.name = csv.name;
  made.display_name = csv.display_name.empty() ? csv.name : csv.display_name;
  made.version = csv.version.empty() ? "unknown" : csv.version;
  made.status = csv.phase.empty() ? "Unknown" : csv.phase;
  made.installed_namespace = csv.ns;
  made.provider = csv.provider;
  made.install_modes = csv.install_modes;
  made.is_cluster_wide =
      std::find(csv.install_modes.begin(), csv.install_modes.end(), kAllNamespaces) != csv.install_modes.end();
  if (made.is_cluster_wide) {
    made.install_mode = kAllNamespaces;
    made.available_in_namespaces = {"*"};
  } else {
    if (csv.lists_install_modes) made.install_mode = "SingleNamespace";
    made.available_in_namespaces = AvailableIn(subscription, csv);
  }
  made.created_at = csv.created_at;
  made.updated_at = csv.updated_at;
  if (subscription.approval) made.subscription = {{"installPlanApproval", *subscription.approval}};
  return made;
}

}  // namespace clusterpulse::survey
