#include "collector/spool/inspect.h"

#include <chrono>

#include <catch2/catch.hpp>

#include "tests/collector/spool/spool_rig.h"

namespace clusterpulse::spool {
namespace {

using namespace std::chrono_literals;

struct Inspected {
  SpoolRig rig;
  Inspected() {
    rig.options.segment_bytes = 16 << 10;
    rig.options.max_bytes = 1 << 20;
    rig.Reopen();
    for (int i = 0; i < 5; ++i) REQUIRE(rig.Append(5000).ok());
    rig.spool->GiveUp(2, model::GapCause::kRejected);
  }
  Inspection Look() {
    auto inspection = Inspect(rig.files, "/spool");
    REQUIRE(inspection.ok());
    return *std::move(inspection);
  }
  void Damage(const std::string& name, std::size_t at) {
    std::string content = rig.files.Content(rig.Path(name));
    content.at(at) ^= 1;
    rig.files.SetContent(rig.Path(name), content);
  }
};

TEST_CASE("a whole spool is clean, while it is used and when it is closed") {
  Inspected i;
  const bool is_used = GENERATE(true, false);
  const std::string instance = i.rig.spool->instance();
  if (!is_used) i.rig.spool = nullptr;
  const auto changes = i.rig.files.changes();
  const Inspection found = i.Look();
  CHECK(i.rig.files.changes() == changes);  // it only reads
  CHECK(found.is_clean());
  REQUIRE(found.head);
  CHECK(found.head->instance == instance);
  CHECK(found.head->last_given == 5);
  REQUIRE(found.segments.size() == 2);
  CHECK(found.segments[0].file == "0000000000000001.seg");
  CHECK(found.segments[0].seqs == model::SeqRange{1, 3});
  CHECK(found.segments[0].batches == 3);
  CHECK(found.segments[0].used_bytes == 128 + 3 * 5040);
  CHECK(found.segments[0].from == i.rig.clock.Now() - 120s);
  CHECK(found.segments[0].to == i.rig.clock.Now() - 60s);
  CHECK(found.segments[1].seqs == model::SeqRange{4, 5});
  CHECK(found.segments[1].gap_lists == 1);
  REQUIRE(found.gaps.size() == 1);
  CHECK(found.gaps[0].seqs == model::SeqRange{2, 2});
  CHECK(found.damage.empty());
  CHECK(found.missing.empty());
  CHECK(found.others.empty());
}

TEST_CASE("damage is found in every payload, with its file and offset") {
  Inspected i;
  i.Damage("0000000000000001.seg", 128 + 5040 + 100);
  Inspection found = i.Look();
  CHECK_FALSE(found.is_clean());
  REQUIRE(found.damage.size() == 1);
  CHECK(found.damage[0].file == "0000000000000001.seg");
  CHECK(found.damage[0].damage.offset == 128 + 5040);
  CHECK(found.damage[0].damage.bytes == 5040);
  CHECK(found.missing.empty());  // record 2 was given up
  CHECK(found.segments[0].broken == 1);
  i.Damage("0000000000000002.seg", 128 + 200);
  found = i.Look();
  CHECK(found.missing == std::vector<model::SeqRange>{{4, 4}});
  CHECK(ToText(found) ==
        "spool      /spool\n"
        "instance   " +
            i.rig.spool->instance() +
            "\n"
            "given      5\n"
            "durable    nothing\n"
            "newest     2031-04-05T06:09:38Z\n"
            "\n"
            "SEGMENT                        NUMBERS  BATCHES   GAPS       BYTES        USED  COLLECTED\n"
            "0000000000000001.seg               1-3        2      0       15248       15248  2031-04-05T06:07:38Z .. "
            "2031-04-05T06:08:38Z\n"
            "0000000000000002.seg                 5        1      1       16384       10296  2031-04-05T06:09:38Z .. "
            "2031-04-05T06:09:38Z\n"
            "gap        2 rejected, 2031-04-05T06:08:08Z .. 2031-04-05T06:08:08Z\n"
            "damage     0000000000000001.seg at 5168, 5040 bytes: the content of record 2 is not what was written\n"
            "damage     0000000000000002.seg at 128, 5040 bytes: the content of record 4 is not what was written\n"
            "missing    4: given, and neither here nor durable nor in a gap\n"
            "damaged\n");
}

TEST_CASE("a spool that has lost its head, or a segment, is damaged") {
  Inspected i;
  SECTION("no HEAD") {
    REQUIRE(i.rig.files.Remove("/spool/HEAD").ok());
    const Inspection found = i.Look();
    CHECK_FALSE(found.is_clean());
    CHECK(found.damage.at(0).file == "HEAD");
    CHECK(found.segments.size() == 2);
  }
  SECTION("a broken HEAD") {
    i.rig.files.SetContent("/spool/HEAD", std::string(8192, 'x'));
    const Inspection found = i.Look();
    CHECK(found.damage.at(0).file == "HEAD");
    CHECK(found.segments.size() == 2);
    CHECK(found.gaps.size() == 1);
  }
  SECTION("a segment that was cut between two records") {
    const std::string path = i.rig.Path("0000000000000002.seg");
    i.rig.files.SetContent(path, i.rig.files.Content(path).substr(0, 128 + 5040));
    const Inspection found = i.Look();
    CHECK(found.damage.empty());
    CHECK(found.missing == std::vector<model::SeqRange>{{5, 5}});
    CHECK(found.gaps.empty());  // the list of them is gone too; record 2, which was given up, is still there
    CHECK_FALSE(found.is_clean());
  }
}

TEST_CASE("files that are no segments are named, and are no damage") {
  Inspected i;
  i.rig.files.SetContent("/spool/a\x1b[31m.txt", "x");
  i.rig.files.SetContent("/spool/0000000000000009.seg", "x");
  i.rig.files.SetContent("/spool/new.tmp", "");
  const Inspection found = i.Look();
  CHECK(found.is_clean());
  REQUIRE(found.others.size() == 2);
  CHECK(found.others[0].file == "0000000000000009.seg");
  CHECK(found.others[1].file == "a?[31m.txt");
}

TEST_CASE("an empty directory is clean, one that cannot be read an error") {
  SpoolRig rig;
  auto found = Inspect(rig.files, "/spool");
  REQUIRE(found.ok());
  CHECK(found->is_clean());
  CHECK(ToText(*found).find("none\nclean\n") != std::string::npos);
  rig.files.SetFault([](FakeFileSystem::Call call, const std::string&) {
    return call == FakeFileSystem::Call::kList ? absl::PermissionDeniedError("no") : absl::OkStatus();
  });
  CHECK(Inspect(rig.files, "/spool").status().code() == absl::StatusCode::kPermissionDenied);
}

TEST_CASE("the same as JSON") {
  Inspected i;
  i.rig.spool->SetDurable({.low = 1, .ranges = {{4, 4}}});
  i.Damage("0000000000000002.seg", 128 + 5040 + 200);
  i.rig.files.SetContent("/spool/notes", "x");
  CHECK(
      ToJson(i.Look()) ==
      R"({"dir":"/spool","clean":false,"head":{"instance":")" + i.rig.spool->instance() +
          R"(","last_given":5,"last_collected_at":"2031-04-05T06:09:38Z","floor":0,"durable_low":1,)"
          R"("durable_ranges":[{"first":4,"last":4}]},"segments":[{"file":"0000000000000001.seg","instance":")" +
          i.rig.spool->instance() +
          R"(","first":1,"last":3,"batches":3,"gap_lists":0,"broken":0,"bytes":15248,"used_bytes":15248,)"
          R"("from":"2031-04-05T06:07:38Z","to":"2031-04-05T06:08:38Z"},{"file":"0000000000000002.seg","instance":")" +
          i.rig.spool->instance() +
          R"(","first":4,"last":4,"batches":1,"gap_lists":1,"broken":1,"bytes":16384,"used_bytes":10296,)"
          R"("from":"2031-04-05T06:09:08Z","to":"2031-04-05T06:09:08Z"}],"gaps":[{"first":2,"last":2,)"
          R"("cause":"rejected","from":"2031-04-05T06:08:08Z","to":"2031-04-05T06:08:08Z"}],"damage":[{"file":)"
          R"("0000000000000002.seg","offset":5168,"bytes":5040,"what":)"
          R"("the content of record 5 is not what was written"}],"missing":[{"first":5,"last":5}],)"
          R"("others":[{"file":"notes","why":"its name is not that of a segment"}]})"
          "\n");
}

}  // namespace
}  // namespace clusterpulse::spool
