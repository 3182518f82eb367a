#include "tests/fleetload/objects.h"

#include <thread>

#include <absl/strings/escaping.h>
#include <fmt/format.h>

#include "common/base/status.h"
#include "common/json/cursor.h"
#include "common/json/value.h"
#include "common/kube/resource.h"

namespace clusterpulse::fleetload {
namespace {

constexpr std::chrono::milliseconds kPoll{200};

// The token in a Secret; empty while there is none.
absl::StatusOr<std::string> ReadToken(kube::KubeApi& hub, const kube::ObjectKey& key) {
  const auto text = hub.Get(kube::kSecrets, key, {});
  if (kube::IsNotFound(text.status())) return std::string();
  RETURN_IF_ERROR(text);
  ASSIGN_OR_RETURN(const json::Value secret, json::Value::Parse(*text));
  std::string token;
  const std::string encoded(secret["data"]["token"].StringOr());
  if (!absl::Base64Unescape(encoded, &token)) return base::InvalidArgument("{}: no base64", key.ToString());
  return token;
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> MakeClusters(kube::KubeApi& hub, const std::string& ns,
                                                                const std::string& prefix, int count,
                                                                std::chrono::seconds interval,
                                                                std::chrono::seconds limit) {
  std::map<std::string, std::string> tokens;
  for (int i = 1; i <= count; ++i) {
    const std::string name = fmt::format("{}-{:04}", prefix, i);
    const std::string body = fmt::format(
        R"({{"apiVersion":"clusterpulse.io/v1alpha1","kind":"ClusterConnection",)"
        R"("metadata":{{"name":"{}","namespace":"{}"}},)"
        R"("spec":{{"endpoint":"https://192.0.2.1:6443","credentialsRef":{{"name":"{}"}},"collectionMode":"push",)"
        R"("monitoring":{{"interval":{}}}}}}})",
        name, ns, name, interval.count());
    RETURN_IF_ERROR(hub.Patch(kube::kClusterConnections, {ns, name}, kube::PatchType::kServerApply, body,
                              {.field_manager = "fleetload", .force = true}, {}));
    tokens.emplace(name, std::string());
  }
  const auto until = std::chrono::steady_clock::now() + limit;
  for (auto& [name, token] : tokens) {
    for (;;) {
      ASSIGN_OR_RETURN(token, ReadToken(hub, {ns, name + "-collector-token"}));
      if (!token.empty()) break;
      if (std::chrono::steady_clock::now() > until) {
        return absl::DeadlineExceededError(fmt::format("the hub made no token for {}", name));
      }
      std::this_thread::sleep_for(kPoll);
    }
  }
  return tokens;
}

}  // namespace clusterpulse::fleetload
