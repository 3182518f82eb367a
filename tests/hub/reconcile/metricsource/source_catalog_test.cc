#include "hub/reconcile/metricsource/source_catalog.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "tests/hub/reconcile/metricsource/source_rig.h"

namespace clusterpulse::reconcile {
namespace {

struct Fixture {
  SourceCatalog catalog;

  bool Put(const MetricSource& object) { return catalog.Update(object.key(), &object); }
  bool Remove(const std::string& name) { return catalog.Update({"hub", name}, nullptr); }
  std::vector<std::string> For(std::string_view cluster, const model::Labels& labels = {}) {
    std::vector<std::string> ids;
    for (const auto& entry : catalog.For(cluster, labels)) ids.push_back(entry->id);
    return ids;
  }
};

constexpr std::string_view kBroken = R"({"computed":[{"name":"x","expression":"nope + 1"}]})";

}  // namespace

TEST_CASE("the catalog tells what a cluster should collect, and when that changes") {
  Fixture f;
  CHECK(f.Put(PodSource("b")));
  CHECK(f.Put(PodSource("a", R"({"clusters":{"names":["edge-*"]}})")));
  CHECK(f.For("edge-1") == std::vector<std::string>{"hub/a", "hub/b"});
  CHECK(f.For("core") == std::vector<std::string>{"hub/b"});

  CHECK_FALSE(f.Put(PodSource("b")));                                             // seen before
  CHECK_FALSE(f.Put(PodSource("b", R"({"source":{"scope":"Namespaced"}})", 2)));  // means the same
  CHECK(f.catalog.Find("hub/b")->generation == 2);
  CHECK(f.Put(PodSource("b", R"({"collection":{"intervalSeconds":120}})", 3)));
  CHECK(f.Put(PodSource("a", R"({"clusters":{"labelSelector":{"matchLabels":{"ring":"canary"}}}})", 2)));
  CHECK(f.For("core", {{"ring", "canary"}}) == std::vector<std::string>{"hub/a", "hub/b"});
  CHECK(f.For("core", {{"ring", "stable"}}) == std::vector<std::string>{"hub/b"});

  CHECK(f.Remove("a"));
  CHECK_FALSE(f.Remove("a"));
  CHECK(f.Put(PodSource("b", R"({"enabled":false})", 4)));
  CHECK(f.For("core", {{"ring", "canary"}}).empty());
  CHECK_FALSE(f.Remove("b"));  // nobody collected it
}

TEST_CASE("a source that is being deleted is not collected any more") {
  Fixture f;
  f.Put(PodSource("a"));
  MetricSource deleting = PodSource("a");
  deleting.meta.deletion_timestamp = "2031-01-02T00:00:00Z";
  CHECK(f.Put(deleting));
  CHECK(f.For("core").empty());
}

TEST_CASE("a version that does not compile leaves the one before in force") {
  Fixture f;
  f.Put(PodSource("a", R"({"clusters":{"names":["core"]}})"));
  const std::string definition = f.catalog.Find("hub/a")->definition;
  CHECK_FALSE(f.Put(PodSource("a", kBroken, 2)));
  const auto entry = f.catalog.Find("hub/a");
  CHECK_FALSE(entry->is_current);
  CHECK(entry->problems.has_errors());
  CHECK(entry->definition == definition);
  CHECK(f.For("core") == std::vector<std::string>{"hub/a"});
  CHECK(f.For("edge").empty());  // what it was for then

  SECTION("until it is mended") {
    CHECK(f.Put(PodSource("a", R"({"collection":{"intervalSeconds":90}})", 3)));
    CHECK(f.catalog.Find("hub/a")->is_current);
    CHECK(f.For("edge") == std::vector<std::string>{"hub/a"});
  }
  SECTION("but not for another object of the same name") {
    MetricSource other = PodSource("a", kBroken);
    other.meta.uid = "another";
    CHECK(f.Put(other));
    CHECK(f.For("core").empty());
  }
}

TEST_CASE("a source that never compiled is known and collected nowhere") {
  Fixture f;
  CHECK_FALSE(f.Put(PodSource("a", kBroken)));
  REQUIRE(f.catalog.Find("hub/a") != nullptr);
  CHECK(f.catalog.Find("hub/a")->source == nullptr);
  CHECK(f.For("core").empty());
  CHECK(f.catalog.All().size() == 1);
}

TEST_CASE("a collector is given what fits into one message, and the rest is known to be left out") {
  Fixture f;
  // Of these, this many fit.
  constexpr std::size_t kBytes = 240000, kFit = SourceCatalog::kMostDefinitionBytes / kBytes;
  std::string fields = R"({"name":"phase","path":".status.phase"},{"name":"restarts","path":".status.restarts",)"
                       R"("type":"integer"})";
  for (std::size_t i = 0; i < kBytes / 4200; ++i) {
    fields += fmt::format(R"(,{{"name":"pad{:02}","path":".pad","default":"{}"}})", i, std::string(4096, 'x'));
  }
  std::vector<std::string> all;
  for (std::size_t i = 0; i <= kFit; ++i) {
    const std::string name = fmt::format("s{:02}", i);
    REQUIRE(f.Put(PodSource(name, R"({"fields":[)" + fields + "]}")));
    all.push_back("hub/" + name);
  }
  f.Put(PodSource("t", R"({"clusters":{"names":["edge"]}})"));
  const auto given = [&] {
    std::vector<std::string> ids;
    for (const auto& entry : f.catalog.GivenTo("core", {})) ids.push_back(entry->id);
    return ids;
  };
  const auto left_out = [&](const std::string& id) { return f.catalog.IsLeftOut(*f.catalog.Find(id), "core", {}); };
  CHECK(f.For("core") == all);
  CHECK(given() == std::vector<std::string>(all.begin(), all.end() - 1));
  CHECK_FALSE(left_out(all[kFit - 1]));
  CHECK(left_out(all[kFit]));
  CHECK_FALSE(left_out("hub/t"));  // not for it at all
  f.Remove("s00");
  CHECK(given() == std::vector<std::string>(all.begin() + 1, all.end()));
  CHECK_FALSE(left_out(all[kFit]));
}

TEST_CASE("sources that share a resource type know each other") {
  Fixture f;
  f.Put(PodSource("a"));
  f.Put(PodSource("b"));
  f.Put(PodSource("c", R"({"rbac":{"resourceTypeName":"other"}})"));
  f.Put(PodSource("d", R"({"enabled":false})"));
  f.Put(PodSource("e", R"({"rbac":null})"));
  f.Put(PodSource("f", R"({"rbac":null})"));
  CHECK(f.catalog.Namesakes(*f.catalog.Find("hub/a")) == std::vector<std::string>{"hub/b"});
  CHECK(f.catalog.Namesakes(*f.catalog.Find("hub/c")).empty());
  CHECK(f.catalog.Namesakes(*f.catalog.Find("hub/e")).empty());
}

TEST_CASE("replicas make the same definition of a source") {
  Fixture one, other;
  one.Put(PodSource("a", R"({"collection":{"intervalSeconds":90}})", 1));
  one.Put(PodSource("a", "{}", 2));
  other.Put(PodSource("a", "{}", 2));
  CHECK(one.catalog.Find("hub/a")->definition == other.catalog.Find("hub/a")->definition);
}

}  // namespace clusterpulse::reconcile
