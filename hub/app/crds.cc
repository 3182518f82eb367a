#include "hub/app/crds.h"

#include <vector>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/json/value.h"
#include "hub/app/yaml.h"

namespace clusterpulse::app {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(200);

bool IsEstablished(const json::Value& crd) {
  for (const json::Value& condition : crd["status"]["conditions"].items()) {
    if (condition["type"].StringOr() == "Established") return condition["status"].StringOr() == "True";
  }
  return false;
}

// What `kubectl apply` would call the change.
absl::StatusOr<std::string_view> ApplyOne(kube::KubeApi& api, const kube::ObjectKey& key, const json::Value& crd,
                                          const kube::CallOptions& options) {
  std::string before;
  if (const auto known = api.Get(kube::kCustomResourceDefinitions, key, options); known.ok()) {
    ASSIGN_OR_RETURN(const json::Value object, json::Value::Parse(*known));
    before = std::string(object["metadata"]["resourceVersion"].StringOr());
  } else if (!kube::IsNotFound(known.status())) {
    return known.status();
  }
  ASSIGN_OR_RETURN(const std::string applied,
                   api.Patch(kube::kCustomResourceDefinitions, key, kube::PatchType::kServerApply, crd.Dump(),
                             {.field_manager = "clusterpulse-hub", .force = true}, options));
  if (before.empty()) return "created";
  ASSIGN_OR_RETURN(const json::Value object, json::Value::Parse(applied));
  return object["metadata"]["resourceVersion"].StringOr() == before ? "unchanged" : "configured";
}

absl::Status WaitEstablished(kube::KubeApi& api, const kube::ObjectKey& key, base::SteadyTime deadline,
                             const kube::CallOptions& options) {
  base::StopSignal stop(options.stop);
  while (true) {
    ASSIGN_OR_RETURN(const std::string text, api.Get(kube::kCustomResourceDefinitions, key, options));
    ASSIGN_OR_RETURN(const json::Value crd, json::Value::Parse(text));
    if (IsEstablished(crd)) return absl::OkStatus();
    if (base::SystemClock().Steady() + kPoll >= deadline) {
      return absl::DeadlineExceededError("not established in time; look at the definition's status conditions");
    }
    if (stop.WaitFor(kPoll)) return absl::CancelledError("stopped");
  }
}

}  // namespace

void PrintCrds(std::ostream& out) {
  for (const EmbeddedCrd& crd : EmbeddedCrds()) out << "---\n" << crd.yaml;
}

absl::Status ApplyCrds(kube::KubeApi& api, std::chrono::milliseconds timeout, std::ostream& out, std::stop_token stop) {
  const base::SteadyTime deadline = base::SystemClock().Steady() + timeout;
  const kube::CallOptions options{.timeout = std::min<std::chrono::milliseconds>(timeout, std::chrono::seconds(30)),
                                  .stop = stop};
  for (const EmbeddedCrd& file : EmbeddedCrds()) {
    ASSIGN_OR_RETURN(const std::vector<json::Value> documents, YamlToJson(file.yaml), file.file);
    for (const json::Value& crd : documents) {
      const kube::ObjectKey key{"", std::string(crd["metadata"]["name"].StringOr())};
      ASSIGN_OR_RETURN(const std::string_view change, ApplyOne(api, key, crd, options),
                       fmt::format("applying {}", key.name));
      RETURN_IF_ERROR(
          base::Annotate(WaitEstablished(api, key, deadline, options), fmt::format("waiting for {}", key.name)));
      out << "customresourcedefinition/" << key.name << " " << change << ", established" << std::endl;
    }
  }
  return absl::OkStatus();
}

}  // namespace clusterpulse::app
