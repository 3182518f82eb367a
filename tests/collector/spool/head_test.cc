#include "collector/spool/head.h"

#include <chrono>

#include <catch2/catch.hpp>

#include "collector/spool/testing/fake_file_system.h"

namespace clusterpulse::spool {
namespace {

using namespace std::chrono_literals;

const std::string kInstance = "00112233445566778899aabbccddeeff";

Head Sample(std::uint64_t last_given) {
  return {kInstance, last_given, base::SystemTime(1933135628s), 3, {.low = 5, .ranges = {{7, 8}, {10, 10}}}};
}

struct Disk {
  base::SeededRandom random{1};
  FakeFileSystem files{random};

  std::unique_ptr<HeadFile> Open() {
    auto head = HeadFile::Open(files, "/d");
    REQUIRE(head.ok());
    return *std::move(head);
  }
};

TEST_CASE("the head is read as it was written last") {
  Disk disk;
  auto head = disk.Open();
  CHECK_FALSE(head->found());
  CHECK_FALSE(head->is_broken());
  CHECK(disk.files.Content("/d/HEAD").size() == HeadFile::kBytes);
  for (std::uint64_t given = 20; given < 26; ++given) {
    const bool sync = given % 3 == 0;
    REQUIRE(head->Write(Sample(given), sync).ok());
    CHECK(*HeadFile::Read(disk.files, "/d") == Sample(given));
    CHECK(disk.Open()->found() == Sample(given));
  }
  Head none;
  none.instance = kInstance;
  REQUIRE(head->Write(none, true).ok());
  CHECK(disk.Open()->found() == none);
}

TEST_CASE("in a head of before numbers were confirmed all are") {
  Disk disk;
  Head head = Sample(20);
  head.confirmed = 20;
  REQUIRE(disk.Open()->Write(head, true).ok());
  const std::string content = disk.files.Content("/d/HEAD");
  CHECK(content.substr(76, 4) == std::string(4, '\0'));  // what such a program wrote there
  head.confirmed = 17;
  REQUIRE(disk.Open()->Write(head, true).ok());
  CHECK(disk.Open()->found()->confirmed == 17);
}

TEST_CASE("a position of many ranges is kept without the highest") {
  Disk disk;
  Head full = Sample(5000);
  full.durable.ranges.clear();
  for (std::uint64_t seq = 10; seq < 3000; seq += 2) full.durable.ranges.push_back({seq, seq});
  REQUIRE(disk.Open()->Write(full, true).ok());
  const auto found = disk.Open()->found();
  REQUIRE(found);
  CHECK(found->durable.ranges.size() == Head::kMostRanges);
  CHECK(found->durable.ranges.back() == model::SeqRange{10 + 2 * 249, 10 + 2 * 249});
}

TEST_CASE("loss of power costs what was not synced, and no more") {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    base::SeededRandom random(seed);
    FakeFileSystem files(random);
    std::uint64_t synced = 0, written = 0;
    for (int round = 0; round < 6; ++round) {
      auto head = HeadFile::Open(files, "/d");
      REQUIRE(head.ok());
      const auto found = (*head)->found();
      CAPTURE(seed, round);
      if (synced > 0) {
        REQUIRE(found);
        CHECK(found->last_given >= synced);
        CHECK(found->last_given <= written);
      }
      for (std::uint64_t i = random.Next() % 6; i > 0; --i) {
        const bool sync = random.Next() % 3 == 0;
        REQUIRE((*head)->Write(Sample(++written), sync).ok());
        if (sync) synced = written;
      }
      // What a process that was killed left may be all there is.
      if (random.Next() % 2 == 0) {
        files.Restart();
      } else {
        files.LosePower();
      }
    }
  }
}

TEST_CASE("a broken bit costs one slot") {
  Disk disk;
  {
    auto head = disk.Open();
    REQUIRE(head->Write(Sample(20), true).ok());
    REQUIRE(head->Write(Sample(21), true).ok());
  }
  const std::string content = disk.files.Content("/d/HEAD");
  for (std::size_t at = 0; at < content.size(); ++at) {
    std::string bad = content;
    bad[at] ^= static_cast<char>(1 << (at % 8));
    disk.files.SetContent("/d/HEAD", bad);
    const auto head = disk.Open();
    CAPTURE(at);
    REQUIRE(head->found());
    if (head->found()->last_given < 20 || head->found()->last_given > 21) FAIL("neither slot");
  }
}

TEST_CASE("what is no head is broken, what is blank is new") {
  Disk disk;
  const auto [content, is_broken] = GENERATE(table<std::string, bool>(
      {{"", false}, {std::string(100, '\0'), false}, {"x", true}, {std::string(9000, 'x'), true}}));
  disk.files.SetContent("/d/HEAD", content);
  const auto head = disk.Open();
  CHECK_FALSE(head->found());
  CHECK(head->is_broken() == is_broken);
  CHECK(HeadFile::Read(disk.files, "/d").status().code() == absl::StatusCode::kDataLoss);
  REQUIRE(head->Write(Sample(4), true).ok());
  CHECK(disk.Open()->found() == Sample(4));
}

}  // namespace
}  // namespace clusterpulse::spool
