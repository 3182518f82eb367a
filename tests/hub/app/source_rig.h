#pragma once

#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/base/testing/manual_clock.h"
#include "common/json/value.h"
#include "common/kube/discovery.h"
#include "common/kube/testing/fake_kube_api.h"
#include "common/metricsource/collect.h"
#include "common/metricsource/source.h"

namespace clusterpulse::app {

inline std::string ReadWhole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  CAPTURE(path);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Files that are gone with the test.
class Folder {
 public:
  Folder() {
    char path[] = "/tmp/clusterpulse-sources.XXXXXX";
    REQUIRE(::mkdtemp(path) != nullptr);
    path_ = path;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/" + name) << text;
    return path_ + "/" + name;
  }
  // What a command said, without the folder.
  std::string Local(std::string text) const {
    for (std::size_t at; (at = text.find(path_ + "/")) != std::string::npos;) text.erase(at, path_.size() + 1);
    return text;
  }

 private:
  std::string path_;
};

// What `metricsource try` printed, with N for the bytes and milliseconds of its last line: they differ from run to run,
// and from store to store.
inline std::string WithoutCosts(std::string text) {
  for (const std::string unit : {" bytes", " ms"}) {
    const std::size_t end = text.rfind(unit);
    if (end == std::string::npos) continue;
    std::size_t begin = end;
    while (begin > 0 && std::isdigit(static_cast<unsigned char>(text[begin - 1])) != 0) --begin;
    text.replace(begin, end - begin, "N");
  }
  return text;
}

// Puts objects of the source's kind on a cluster, which learns to serve that if it does not yet.
inline void ServeObjects(kube::FakeKubeApi& api, const metricsource::Source& source, const json::Value& objects) {
  const metricsource::TargetSpec& target = source.spec.target;
  const auto find = [&] {
    kube::Discovery discovery(api, base::SystemClock(), {});
    return discovery.Find(target.api_version, target.kind, {});
  };
  auto type = find();
  if (kube::IsNotFound(type.status())) {
    const auto crd = json::Value::Parse(fmt::format(
        R"({{"metadata":{{"name":"{0}.{1}"}},"spec":{{"group":"{1}","scope":"{2}","names":{{"kind":"{3}","plural":"{0}"}},
        "versions":[{{"name":"{4}","served":true,"storage":true,"schema":{{"openAPIV3Schema":{{"type":"object",
        "x-kubernetes-preserve-unknown-fields":true}}}}}}]}}}})",
        source.resource, source.group, source.is_cluster_scoped ? "Cluster" : "Namespaced", target.kind,
        source.version));
    REQUIRE(crd.ok());
    const auto created = api.store().Create(kube::kCustomResourceDefinitions, "", *crd);
    CAPTURE(created.status());
    REQUIRE(created.ok());
    type = find();
  }
  CAPTURE(type.status());
  REQUIRE(type.ok());
  for (const json::Value& object : objects.items()) {
    const auto put = api.store().Put(*type, object);
    CAPTURE(put.status(), object.Dump());
    REQUIRE(put.ok());
  }
}

// One run at a given time; it must not fail.
inline metricsource::Collection RunAt(kube::FakeKubeApi& api, const metricsource::Source& source,
                                      base::SystemTime now) {
  const base::ManualClock clock(now);
  base::SeededRandom random(1);
  kube::Discovery discovery(api, clock, {});
  metricsource::Collection run = metricsource::Collect(source, api, discovery, clock, random, {});
  CAPTURE(run.message);
  REQUIRE(run.failure.empty());
  REQUIRE(run.errors.empty());
  return run;
}

// {"shop/cart":{...values...}}
inline json::Value RowsById(const metricsource::Table& rows) {
  json::Value::Object out;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::string text;
    rows.AppendRecord(i, text);
    const auto record = json::Value::Parse(text);
    REQUIRE(record.ok());
    out.emplace((*record)["_id"].StringOr(), (*record)["values"]);
  }
  return out;
}

inline json::Value AggregationsOf(const metricsource::Source& source, const metricsource::Collection& run) {
  const auto value = json::Value::Parse(metricsource::ToResult(source, run).aggregations_json);
  REQUIRE(value.ok());
  return *value;
}

}  // namespace clusterpulse::app
