#include "tests/collector/sources/churn.h"

#include <array>
#include <initializer_list>
#include <thread>

#include <fmt/format.h>

#include "common/base/thread.h"
#include "common/json/value.h"

namespace clusterpulse::sources {
namespace {

using namespace std::chrono_literals;
using json::Value;
using testing::Eventually;

constexpr auto kPatience = 60s;

const kube::ResourceType kConfigMaps{"", "v1", "configmaps", "ConfigMap", true};

// Their objects are not in the order of their names: '-' comes before the slash behind a namespace, '0' and 'a' do not.
constexpr std::array kNamespaces = {"v1", "w", "w-0", "w-b", "w-b-c", "w0", "wa"};
constexpr std::array kDoomed = {"w-b", "v1", "w0"};
constexpr std::array kNameBegins = {"a", "b", "k", "m", "w", "z"};
constexpr std::array kNameEnds = {"", "-b", ".b", "0", "0.0", "a", "b"};
constexpr int kBerthCount = 48;

constexpr std::string_view kBerthDefinition = R"({"apiVersion":"apiextensions.k8s.io/v1",
  "kind":"CustomResourceDefinition","metadata":{"name":"moorage.watch.example.org"},"spec":{"group":"watch.example.org",
  "scope":"Cluster","names":{"kind":"Berth","plural":"moorage","singular":"berth","listKind":"BerthList"},
  "versions":[{"name":"v1","served":true,"storage":true,
  "schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}})";

const kube::ResourceType& TypeOf(const kube::ObjectKey& key) { return key.ns.empty() ? kBerths : kConfigMaps; }

}  // namespace

std::string Churn::Note(std::int64_t number, std::string_view size, std::string_view team, std::string_view tier) {
  return fmt::format("{}|{}|{}|{}", number, size, team, tier);
}

Churn::Churn(kube::KubeApi& api, const testing::KubeTestEnv& env, const testing::KubeTestEnv::Server& server,
             std::uint64_t seed)
    : api_(api), env_(env), server_(server), namespaces_(seed) {
  for (std::uint64_t i = 1; i <= kWriters; ++i) writers_.emplace_back(seed + i);
  std::size_t turn = 0;
  const auto give = [&](kube::ObjectKey key) { writers_[turn++ % kWriters].keys.push_back(std::move(key)); };
  for (const char* ns : kNamespaces) {
    for (const char* begin : kNameBegins) {
      for (const char* end : kNameEnds) give({ns, fmt::format("{}{}", begin, end)});
    }
  }
  for (int i = 0; i < kBerthCount; ++i) give({"", fmt::format("b{}", i * 37 % 100)});
}

void Churn::MakeAll() {
  for (const char* ns : kNamespaces) {
    if (!MakeNamespace(ns)) Report(fmt::format("namespace {}", ns));
  }
  const auto made = api_.Create(kube::kCustomResourceDefinitions, "", kBerthDefinition, {});
  if (!made.ok()) Report(made.status().ToString());
  // It is served a moment later.
  if (!Eventually(kPatience, [&] {
        return api_.List({.resource = kBerths}, [](json::Cursor) { return absl::OkStatus(); }, {}).ok();
      })) {
    Report("Berths are not served");
  }
  std::vector<std::jthread> threads;
  for (Writer& writer : writers_) {
    threads.push_back(base::StartThread("writer", [this, &writer] {
      for (const kube::ObjectKey& key : writer.keys) Create(writer, key);
    }));
  }
}

void Churn::Run(const Options& options) {
  may_fail_ = options.may_fail;
  std::atomic<bool> is_over = false;
  const std::jthread reader = base::StartThread("reader", [&] {
    for (std::uint64_t seen = progress_; !is_over; seen = progress_) {
      options.read();
      progress_.wait(seen);
    }
  });
  {
    std::vector<std::jthread> threads;
    for (Writer& writer : writers_) {
      threads.push_back(base::StartThread("writer", [&] { Change(writer, options.writes); }));
    }
    threads.push_back(base::StartThread("namespaces", [&] {
      for (int i = 0; i < options.namespaces; ++i) {
        const std::string ns = kDoomed[namespaces_.Next() % kDoomed.size()];
        if (!DeleteNamespace(ns) || !MakeNamespace(ns)) Report("namespace " + ns);
        Progress();
      }
    }));
    if (options.meanwhile) options.meanwhile();
  }
  is_over = true;
  Progress();
}

void Churn::Progress() {
  ++progress_;
  progress_.notify_all();
}

void Churn::Report(const std::string& problem) {
  base::MutexLock lock(mu_);
  if (problem_.empty()) problem_ = problem;
}

std::string Churn::Problem() {
  base::MutexLock lock(mu_);
  return problem_;
}

void Churn::Change(Writer& writer, int writes) {
  for (int i = 0; i < writes; ++i) {
    const kube::ObjectKey& key = writer.keys[writer.random.Next() % writer.keys.size()];
    switch (writer.random.Next() % 10) {
      case 0:
      case 1:
        Delete(key);
        break;
      case 2:
        Delete(key);
        Create(writer, key);
        break;
      case 3:
      case 4:
        Create(writer, key);
        break;
      case 5:
      case 6:
        Replace(writer, key);
        break;
      default:
        Patch(writer, key);
    }
  }
}

// The next state of an object. In a patch what is not there is null.
std::string Churn::Body(Writer& writer, const kube::ObjectKey& key, bool is_patch) {
  const auto pick = [&](std::initializer_list<const char*> words) {
    return std::string(*(words.begin() + writer.random.Next() % words.size()));
  };
  const std::int64_t number = ++numbers_;
  const std::string size = pick({"4Ki", "1", "250m", "7Mi", "<no & \"size\">\u00e9\n", ""});
  const std::string team = pick({"a", "b", "c.d", ""}), tier = pick({"gold", "silver", "bronze", ""});
  const std::string note = Note(number, size, team, tier);

  const auto set = [is_patch](Value& to, const char* name, const std::string& value) {
    if (!value.empty()) {
      to.Mutable(name) = value;
    } else if (is_patch) {
      to.Mutable(name) = nullptr;
    }
  };
  const kube::ResourceType& type = TypeOf(key);
  Value object;
  object.Mutable("apiVersion") = type.ApiVersion();
  object.Mutable("kind") = type.kind;
  Value& meta = object.Mutable("metadata");
  meta.Mutable("name") = key.name;
  Value& labels = meta.Mutable("labels");
  set(labels, "number", std::to_string(number));
  set(labels, "team", team);
  set(labels, "tier", tier);
  Value& annotations = meta.Mutable("annotations");
  set(annotations, "note", note);
  set(annotations, "size", size);
  const bool is_berth = key.ns.empty();
  Value& data = object.Mutable(is_berth ? "spec" : "data");
  set(data, "number", std::to_string(number));
  set(data, "note", note);
  set(data, "size", size);
  if (is_berth) {
    data.Mutable("big") = number * 1000000007;
    data.Mutable("share") = static_cast<double>(number) / 7;
    data.Mutable("open") = number % 2 == 0;
    data.Mutable("ports") = Value::Array{Value(number % 5), Value("<a&b>\u20ac")};
  }
  return object.Dump();
}

void Churn::Create(Writer& writer, const kube::ObjectKey& key) {
  Judge("create", key, api_.Create(TypeOf(key), key.ns, Body(writer, key, false), {}).status());
}

void Churn::Patch(Writer& writer, const kube::ObjectKey& key) {
  const std::string body = Body(writer, key, true);
  Judge("patch", key, api_.Patch(TypeOf(key), key, kube::PatchType::kMerge, body, {}, {}).status());
}

void Churn::Replace(Writer& writer, const kube::ObjectKey& key) {
  if (key.ns.empty()) return Patch(writer, key);  // a custom resource needs its version for that
  Judge("replace", key, api_.Replace(TypeOf(key), key, Body(writer, key, false), {}).status());
}

void Churn::Delete(const kube::ObjectKey& key) { Judge("delete", key, api_.Delete(TypeOf(key), key, {}, {})); }

// While the server is away: waits until it is back.
void Churn::Judge(std::string_view what, const kube::ObjectKey& key, const absl::Status& status) {
  Progress();
  const auto error = kube::GetApiError(status);
  // It is not there, or there already, or its namespace is being deleted.
  if (status.ok() || (error && (error->code == 404 || error->code == 409 || error->code == 403))) return;
  if (!may_fail_) return Report(fmt::format("{} {}: {}", what, key.ToString(), status.ToString()));
  if (!Eventually(kPatience, [&] { return api_.GetPath("/readyz", {.timeout = 5s}).ok(); })) {
    Report("the server does not come back");
  }
}

bool Churn::MakeNamespace(const std::string& ns) {
  return Eventually(kPatience, [&] {
    const auto made = api_.Create(kube::kNamespaces, "", fmt::format(R"({{"metadata":{{"name":"{}"}}}})", ns), {});
    return made.ok() || kube::IsAlreadyExists(made.status());
  });
}

// With what is in it, as the namespace controller would, which does not run here.
bool Churn::DeleteNamespace(const std::string& ns) {
  return Eventually(kPatience, [&] {
    if (kube::IsNotFound(api_.Delete(kube::kNamespaces, {"", ns}, {}, {}))) return true;
    const std::string path = "/api/v1/namespaces/" + ns;
    Curl("DELETE", path + "/configmaps", "{}");
    Curl("PUT", path + "/finalize",
         fmt::format(
             R"({{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{}"}},"spec":{{"finalizers":[]}}}})", ns));
    return kube::IsNotFound(api_.Get(kube::kNamespaces, {"", ns}, {}).status());
  });
}

// What KubeApi has no verb for.
testing::CommandResult Churn::Curl(const std::string& method, const std::string& path, const std::string& body) const {
  const std::string tls = env_.tls_dir();
  return testing::RunCommand({"curl", "-s", "--max-time", "20", "--cacert", tls + "/ca.crt", "--cert",
                              tls + "/admin.crt", "--key", tls + "/admin.key", "-X", method, "-H",
                              "Content-Type: application/json", "--data-binary", body, server_.url() + path});
}

}  // namespace clusterpulse::sources
