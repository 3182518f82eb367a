// What delivery promises of a disk that breaks things: a bit that tips over loses at most the record it hits, a cut
// loses exactly what lies behind it, both become gaps. Here for every bit and every length of a segment of three.
#include <chrono>

#include <catch2/catch.hpp>

#include "tests/collector/spool/spool_rig.h"

namespace clusterpulse::spool {
namespace {

using namespace std::chrono_literals;
using Seqs = std::vector<std::uint64_t>;

// Three records as they are after kill -9, with unused space behind them.
struct Broken {
  SpoolRig rig;
  std::string path, content, head, instance;
  base::SystemTime began = rig.clock.Now();
  std::vector<Record> records;

  Broken() {
    rig.Reopen();
    for (const std::size_t bytes : {20u, 33u, 7u}) REQUIRE(rig.Append(bytes).ok());
    rig.Kill();
    REQUIRE(rig.Segments().size() == 1);
    path = rig.Path(rig.Segments().front());
    content = rig.files.Content(path);
    content.resize(1024);  // the same, with less of the unused space
    head = rig.files.Content("/spool/HEAD");
    rig.files.SetContent(path, content);
    const auto file = rig.files.Open(path, FileSystem::Mode::kRead);
    REQUIRE(file.ok());
    const auto segment = ReadSegment(**file, "", Verify::kAll);
    REQUIRE(segment.ok());
    REQUIRE(segment->damage.empty());
    records = segment->records;
    REQUIRE(records.size() == 3);
  }

  // Opens a spool that holds that segment and nothing else, with HEAD as it was or none, and reads everything.
  void OpenWith(const std::string& bytes, bool with_head) {
    rig.spool = nullptr;
    const auto names = rig.files.List("/spool");
    for (const std::string& name : *names) REQUIRE(rig.files.Remove(rig.Path(name)).ok());
    rig.files.SetContent(path, bytes);
    if (with_head) rig.files.SetContent("/spool/HEAD", head);
    rig.Reopen();
    for (const Spool::Entry& entry : rig.spool->entries()) {
      const auto payload = rig.spool->Read(entry.seq);
      if (payload.ok()) {
        if (*payload != SpoolRig::PayloadOf(entry.seq, entry.bytes)) FAIL("wrong content");
      } else if (payload.status().code() != absl::StatusCode::kDataLoss) {
        FAIL(payload.status());
      }
    }
  }

  // Everything but `lost` is kept, those are gaps with about the right times, and the next number is new.
  bool IsOnlyLost(const Seqs& lost) const {
    Seqs kept, gaps;
    for (std::uint64_t seq = 1; seq <= 3; ++seq) {
      if (std::find(lost.begin(), lost.end(), seq) == lost.end()) kept.push_back(seq);
    }
    for (const model::Gap& gap : rig.spool->gaps()) {
      if (gap.cause != model::GapCause::kCollectorLost) return false;
      for (std::uint64_t seq = gap.seqs.first; seq <= gap.seqs.last; ++seq) gaps.push_back(seq);
      if (gap.from < began + 30s || gap.to > began + 90s || gap.from > gap.to) return false;
    }
    return rig.Kept() == kept && gaps == lost && rig.spool->next_seq() == 4;
  }
};

TEST_CASE("each single bit costs at most the record it is in") {
  Broken broken;
  const bool with_head = GENERATE(true, false);
  CAPTURE(with_head);
  const std::uint64_t end = broken.records.back().offset + RecordBytes(broken.records.back().length);
  int lost_records = 0;
  for (std::size_t at = 0; at < broken.content.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bytes = broken.content;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      broken.OpenWith(bytes, with_head);
      Seqs lost;
      for (const Record& record : broken.records) {
        if (record.offset <= at && at < record.offset + kRecordHeaderBytes + record.length) lost.push_back(record.seq);
      }
      if (!broken.IsOnlyLost(lost)) {
        CAPTURE(at, bit, end, broken.rig.Kept(), broken.rig.Gaps(), broken.rig.spool->next_seq());
        FAIL("more or less is lost than the bit hit");
      }
      lost_records += static_cast<int>(lost.size());
    }
  }
  CHECK(lost_records == 8 * (3 * 40 + 20 + 33 + 7));
}

TEST_CASE("each cut costs exactly what lies behind it") {
  Broken broken;
  for (std::size_t length = 0; length <= broken.content.size(); ++length) {
    broken.OpenWith(broken.content.substr(0, length), true);
    Seqs lost;
    for (const Record& record : broken.records) {
      if (length < record.offset + kRecordHeaderBytes + record.length) lost.push_back(record.seq);
    }
    if (!broken.IsOnlyLost(lost)) {
      CAPTURE(length, broken.rig.Kept(), broken.rig.Gaps(), broken.rig.spool->next_seq());
      FAIL("more or less is lost than was cut off");
    }
  }
}

TEST_CASE("a cut that even HEAD does not tell of leaves what lies before it") {
  Broken broken;
  for (std::size_t length = 0; length <= broken.content.size(); ++length) {
    broken.OpenWith(broken.content.substr(0, length), false);
    Seqs kept;
    for (const Record& record : broken.records) {
      if (length >= record.offset + kRecordHeaderBytes + record.length) kept.push_back(record.seq);
    }
    if (broken.rig.Kept() != kept) {
      CAPTURE(length, broken.rig.Kept());
      FAIL("not what lies before the cut");
    }
  }
}

TEST_CASE("each single bit of HEAD costs nothing") {
  Broken broken;
  for (std::size_t at = 0; at < broken.head.size(); ++at) {
    const int bit = static_cast<int>(at % 8);
    std::string head = broken.head;
    head[at] = static_cast<char>(head[at] ^ (1 << bit));
    std::swap(head, broken.head);
    broken.OpenWith(broken.content, true);
    std::swap(head, broken.head);
    if (!broken.IsOnlyLost({})) {
      CAPTURE(at, broken.rig.Kept(), broken.rig.Gaps());
      FAIL("something is lost");
    }
  }
}

TEST_CASE("the times of a gap come from its neighbours") {
  Broken broken;
  std::string bytes = broken.content;
  bytes[broken.records[1].offset] ^= 1;
  broken.OpenWith(bytes, true);
  REQUIRE(broken.rig.spool->gaps().size() == 1);
  CHECK(broken.rig.spool->gaps()[0].from == broken.began + 60s);
  // Of the first the header of the segment tells it, of the last HEAD.
  bytes = broken.content;
  bytes[broken.records[0].offset] ^= 1;
  bytes[broken.records[2].offset] ^= 1;
  broken.OpenWith(bytes, true);
  REQUIRE(broken.rig.spool->gaps().size() == 2);
  CHECK(broken.rig.spool->gaps()[0].from == broken.began + 30s);
  CHECK(broken.rig.spool->gaps()[1].to == broken.began + 90s);
}

}  // namespace
}  // namespace clusterpulse::spool
