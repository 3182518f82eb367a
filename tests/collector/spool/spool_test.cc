#include "collector/spool/spool.h"

#include <catch2/catch.hpp>

#include "tests/collector/spool/spool_rig.h"

namespace clusterpulse::spool {
namespace {

using namespace std::chrono_literals;
using Seqs = std::vector<std::uint64_t>;
using model::GapCause;

bool HasLine(const SpoolRig& rig, std::string_view text) {
  for (const std::string& line : rig.lines) {
    if (line.find(text) != std::string::npos) return true;
  }
  return false;
}

TEST_CASE("a new spool is empty and has a name of its own") {
  SpoolRig rig;
  rig.Reopen();
  CHECK(rig.spool->instance().size() == 32);
  CHECK(rig.spool->next_seq() == 1);
  CHECK(rig.spool->entries().empty());
  CHECK(rig.spool->gaps().empty());
  CHECK(rig.spool->durable() == model::DurablePosition{});
  CHECK_FALSE(rig.spool->last_collected_at());
  const std::string instance = rig.spool->instance();
  rig.Reopen();
  CHECK(rig.spool->instance() == instance);
  CHECK(rig.lines.empty());
}

TEST_CASE("what was appended is there after a restart, kill -9 and loss of power") {
  SpoolRig rig;
  rig.Reopen();
  const auto began = rig.clock.Now();
  for (int i = 0; i < 3; ++i) REQUIRE(rig.Append(100).ok());
  const std::string instance = rig.spool->instance();
  const auto how = GENERATE(0, 1, 2);
  CAPTURE(how);
  if (how == 0) rig.Reopen();
  if (how == 1) rig.Kill();
  if (how == 2) rig.files.LosePower();
  rig.Reopen();
  CHECK(rig.spool->instance() == instance);
  CHECK(rig.spool->next_seq() == 4);
  CHECK(rig.spool->entries() ==
        std::vector<Spool::Entry>{{1, began + 30s, 100}, {2, began + 60s, 100}, {3, began + 90s, 100}});
  CHECK(rig.AllReadable());
  CHECK(rig.Gaps().empty());
  CHECK(rig.spool->last_collected_at() == began + 90s);
  CHECK(rig.spool->Read(4).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("a directory belongs to one process at a time") {
  SpoolRig rig;
  rig.Reopen();
  const auto second = Spool::Open(rig.options, rig.files, rig.clock, rig.random, {});
  CHECK(second.status().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("what is durable is forgotten, and its segments go") {
  SpoolRig rig;
  rig.options.segment_bytes = 16 << 10;
  rig.options.max_bytes = 1 << 20;
  rig.Reopen();
  for (int i = 0; i < 10; ++i) REQUIRE(rig.Append(5000).ok());
  REQUIRE(rig.Segments().size() == 4);
  rig.spool->SetDurable({.low = 4, .ranges = {{7, 9}}});
  CHECK(rig.Kept() == Seqs{5, 6, 10});
  CHECK(rig.Segments().size() == 2);                // 4-6 and 10; 1-3 and 7-9 are gone
  rig.spool->SetDurable({.low = 2, .ranges = {}});  // an older word changes nothing
  CHECK(rig.spool->durable() == model::DurablePosition{.low = 4, .ranges = {{7, 9}}});
  rig.Reopen();
  CHECK(rig.Kept() == Seqs{5, 6, 10});
  CHECK(rig.spool->durable() == model::DurablePosition{.low = 4, .ranges = {{7, 9}}});
  CHECK(rig.Gaps().empty());
  CHECK(rig.AllReadable());
  rig.spool->SetDurable({.low = 10, .ranges = {}});
  CHECK(rig.Kept().empty());
  CHECK(rig.Segments().empty());
  rig.Reopen();
  CHECK(rig.spool->next_seq() == 11);
  CHECK(rig.Gaps().empty());
}

TEST_CASE("a position beyond what was given says nothing of it") {
  SpoolRig rig;
  rig.Reopen();
  REQUIRE(rig.Append().ok());
  rig.spool->SetDurable({.low = ~std::uint64_t{0}, .ranges = {}});
  CHECK(rig.spool->durable().low == 1);
  CHECK(rig.spool->next_seq() == 2);
  rig.spool->SetDurable({.low = 0, .ranges = {{5, ~std::uint64_t{0}}}});
  REQUIRE(rig.Append().ok());
  CHECK(rig.Kept() == Seqs{2});
}

TEST_CASE("when it is full the oldest segments go, with a gap each") {
  SpoolRig rig;
  rig.options.segment_bytes = 16 << 10;
  rig.options.max_bytes = 128 << 10;
  rig.Reopen();
  const auto began = rig.clock.Now();
  for (int i = 0; i < 60; ++i) {
    REQUIRE(rig.Append(5000).ok());
    CHECK(rig.BytesOnDisk() <= rig.options.max_bytes);
    CHECK(rig.spool->bytes() == rig.BytesOnDisk());
  }
  const std::uint64_t first = rig.Kept().front();
  CHECK(rig.Kept().back() == 60);
  CHECK(60 - first > 10);
  REQUIRE(rig.spool->gaps().size() == 1);
  const model::Gap expected{{1, first - 1}, began + 30s, began + 30s * (first - 1), GapCause::kSpoolOverflow};
  CHECK(rig.spool->gaps().front() == expected);
  rig.Kill();
  rig.Reopen();
  CHECK(rig.spool->gaps() == std::vector<model::Gap>{expected});
  CHECK(rig.Kept().front() == first);
  CHECK(rig.AllReadable());
  rig.spool->SetDurable({.low = first - 2, .ranges = {}});
  CHECK(rig.Gaps() == fmt::format("{0}-{0} spool_overflow", first - 1));
  rig.spool->SetDurable({.low = first - 1, .ranges = {}});
  CHECK(rig.Gaps().empty());
}

TEST_CASE("what is older than max_age goes, but for the newest") {
  SpoolRig rig;
  rig.options.max_age = 16h;
  rig.Reopen();
  for (int i = 0; i < 4; ++i) {
    REQUIRE(rig.Append().ok());
    rig.clock.AdvanceBy(6h);  // each in a segment of its own
  }
  CHECK(rig.Kept() == Seqs{2, 3, 4});
  CHECK(rig.Gaps() == "1-1 spool_overflow");
  rig.clock.AdvanceBy(1000h);
  rig.spool->Expire();
  CHECK(rig.Kept() == Seqs{4});
  CHECK(rig.Gaps() == "1-3 spool_overflow");
  rig.Reopen();
  CHECK(rig.Kept() == Seqs{4});
  CHECK(rig.AllReadable());
}

TEST_CASE("a record is given up with a cause, and stays so") {
  SpoolRig rig;
  rig.Reopen();
  for (int i = 0; i < 5; ++i) REQUIRE(rig.Append().ok());
  rig.spool->GiveUp(2, GapCause::kRejected);
  rig.spool->GiveUp(4, GapCause::kRejected);
  rig.spool->GiveUp(9, GapCause::kRejected);
  CHECK(rig.Gaps() == "2-2 rejected, 4-4 rejected");
  rig.Kill();
  rig.Reopen();
  CHECK(rig.Gaps() == "2-2 rejected, 4-4 rejected");
  CHECK(rig.Kept() == Seqs{1, 3, 5});
  rig.spool->GiveUp(3, GapCause::kRejected);
  CHECK(rig.Gaps() == "2-4 rejected");
  rig.spool->SetDurable({.low = 5, .ranges = {}});
  rig.Reopen();
  CHECK(rig.Gaps().empty());
  CHECK(rig.Kept().empty());
}

TEST_CASE("numbers that were given elsewhere are noted, kept ones among them are not lost") {
  SpoolRig rig;
  rig.Reopen();
  for (int i = 0; i < 3; ++i) REQUIRE(rig.Append().ok());
  REQUIRE(rig.AppendAs(7).ok());
  const auto at = rig.clock.Now();
  rig.spool->NoteGap({{2, 9}, at - 70s, at, GapCause::kCollectorLost});
  CHECK(rig.Gaps() == "4-6 collector_lost, 8-9 collector_lost");
  CHECK(rig.spool->gaps().front().from == at - 50s);
  CHECK(rig.spool->gaps().front().to == at - 30s);
  CHECK(rig.spool->next_seq() == 10);
  rig.files.LosePower();
  rig.Reopen();
  CHECK(rig.Gaps() == "4-6 collector_lost, 8-9 collector_lost");
  CHECK(rig.spool->next_seq() == 10);
  CHECK(rig.Kept() == Seqs{1, 2, 3, 7});
}

TEST_CASE("numbers that nobody accounts for are lost at the next start") {
  SpoolRig rig;
  rig.Reopen();
  REQUIRE(rig.Append().ok());
  REQUIRE(rig.AppendAs(5).ok());
  CHECK(rig.Gaps().empty());  // 2 to 4 are with whoever gave them
  rig.spool->SetDurable({.low = 0, .ranges = {{3, 3}}});
  rig.Reopen();
  CHECK(rig.Gaps() == "2-2 collector_lost, 4-4 collector_lost");
  CHECK(rig.Kept() == Seqs{1, 5});
}

TEST_CASE("a number is not appended twice") {
  SpoolRig rig;
  rig.Reopen();
  for (int i = 0; i < 3; ++i) REQUIRE(rig.Append().ok());
  rig.spool->SetDurable({.low = 1, .ranges = {}});
  rig.spool->GiveUp(2, GapCause::kRejected);
  for (const std::uint64_t seq :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{3}, ~std::uint64_t{0}}) {
    CAPTURE(seq);
    CHECK(rig.AppendAs(seq).code() == absl::StatusCode::kFailedPrecondition);
  }
  CHECK(rig.spool->next_seq() == 4);
}

TEST_CASE("a record larger than a segment is refused") {
  SpoolRig rig;
  rig.options.segment_bytes = 32 << 10;
  rig.Reopen();
  CHECK(rig.Append(32 << 10).code() == absl::StatusCode::kInvalidArgument);
  CHECK(rig.spool->next_seq() == 1);
  CHECK(rig.Append((32 << 10) - 128 - 40).ok());
  CHECK(rig.AllReadable());
}

TEST_CASE("a full disk refuses records, and takes them when there is room again") {
  SpoolRig rig;
  rig.Reopen();
  REQUIRE(rig.Append(5000).ok());
  rig.files.SetCapacity(rig.BytesOnDisk());
  absl::Status status;
  for (int i = 0; i < 200 && status.ok(); ++i) status = rig.Append(5000);
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  const std::uint64_t refused = rig.spool->next_seq() - 1;
  CHECK(rig.Append(9000).code() == absl::StatusCode::kResourceExhausted);
  CHECK(rig.spool->next_seq() == refused + 2);
  rig.spool->NoteGap({{refused + 1, refused + 1}, rig.clock.Now(), rig.clock.Now(), GapCause::kSpoolOverflow});
  rig.files.SetCapacity(10 << 20);
  // What was refused may be tried again, what is a gap not.
  CHECK(rig.AppendAs(refused, 5000).ok());
  CHECK(rig.Append(5000).ok());
  CHECK(rig.AllReadable());
  rig.Kill();
  rig.Reopen();
  CHECK(rig.Kept().size() == refused + 1);
  CHECK(rig.Gaps() == fmt::format("{0}-{0} spool_overflow", refused + 1));
  CHECK(rig.AllReadable());
}

TEST_CASE("what a failed disk left of a record stands before no other one") {
  SpoolRig rig;
  rig.Reopen();
  REQUIRE(rig.Append().ok());
  const auto call = GENERATE(FakeFileSystem::Call::kWrite, FakeFileSystem::Call::kSync);
  rig.files.SetFault([call](FakeFileSystem::Call c, const std::string& path) {
    if (path.ends_with("HEAD")) return absl::OkStatus();
    return c == call || c == FakeFileSystem::Call::kResize ? absl::UnavailableError("EIO") : absl::OkStatus();
  });
  for (int i = 0; i < 3; ++i) CHECK(rig.Append().code() == absl::StatusCode::kUnavailable);
  rig.files.SetFault(nullptr);
  REQUIRE(rig.Append().ok());
  CHECK(rig.Kept() == Seqs{1, 5});
  CHECK(rig.AllReadable());
  CHECK(rig.Segments().size() == 2);
  rig.files.LosePower();
  rig.Reopen();
  CHECK(rig.AllReadable());
  const auto kept = rig.Kept();
  CHECK(kept.front() == 1);
  CHECK(kept.back() == 5);
  CHECK(rig.spool->next_seq() == 6);
}

TEST_CASE("a record that the disk broke is a gap when it is read") {
  SpoolRig rig;
  rig.Reopen();
  for (int i = 0; i < 3; ++i) REQUIRE(rig.Append().ok());
  const std::string path = rig.Path(rig.Segments().front());
  std::string content = rig.files.Content(path);
  const std::size_t at = content.find("batch 2");
  REQUIRE(at != std::string::npos);
  content[at + 6] ^= 1;
  rig.files.SetContent(path, content);
  CHECK(rig.spool->Read(2).status().code() == absl::StatusCode::kDataLoss);
  CHECK(rig.Gaps() == "2-2 collector_lost");
  CHECK(rig.spool->Read(2).status().code() == absl::StatusCode::kNotFound);
  CHECK(rig.Kept() == Seqs{1, 3});
  rig.Kill();
  rig.Reopen();
  CHECK(rig.Gaps() == "2-2 collector_lost");
  CHECK(rig.AllReadable());
}

TEST_CASE("a record that cannot be read is waited for, but not for ever") {
  SpoolRig rig;
  rig.Reopen();
  for (int i = 0; i < 2; ++i) REQUIRE(rig.Append().ok());
  rig.files.SetFault([](FakeFileSystem::Call call, const std::string&) {
    return call == FakeFileSystem::Call::kRead ? absl::UnavailableError("EIO") : absl::OkStatus();
  });
  CHECK(rig.spool->Read(1).status().code() == absl::StatusCode::kUnavailable);
  rig.clock.AdvanceBy(9min);
  CHECK(rig.spool->Read(1).status().code() == absl::StatusCode::kUnavailable);
  CHECK(rig.Kept() == Seqs{1, 2});
  rig.clock.AdvanceBy(1min);
  CHECK(rig.spool->Read(1).status().code() == absl::StatusCode::kDataLoss);
  CHECK(rig.Gaps() == "1-1 collector_lost");
  rig.files.SetFault(nullptr);
  CHECK(rig.spool->Read(2).ok());
}

TEST_CASE("without HEAD the segments tell what they can") {
  SpoolRig rig;
  rig.options.segment_bytes = 16 << 10;
  rig.options.max_bytes = 1 << 20;
  rig.Reopen();
  for (int i = 0; i < 10; ++i) REQUIRE(rig.Append(5000).ok());
  rig.spool->GiveUp(9, GapCause::kRejected);
  rig.spool->SetDurable({.low = 4, .ranges = {}});
  const std::string instance = rig.spool->instance();
  rig.spool = nullptr;
  const bool is_missing = GENERATE(true, false);
  if (is_missing) {
    REQUIRE(rig.files.Remove("/spool/HEAD").ok());
  } else {
    rig.files.SetContent("/spool/HEAD", std::string(8192, 'x'));
  }
  rig.Reopen();
  CHECK(HasLine(rig, "HEAD is broken") == !is_missing);
  CHECK(rig.spool->instance() == instance);
  CHECK(rig.spool->next_seq() == 11);
  CHECK(rig.Kept() == Seqs{4, 5, 6, 7, 8, 10});  // 4 shares its segment; 1 to 3 are not asked for
  CHECK(rig.Gaps() == "9-9 rejected");
  rig.Reopen();
  CHECK(rig.Gaps() == "9-9 rejected");
  CHECK(rig.AllReadable());
}

TEST_CASE("files that are no segments are left alone and named") {
  SpoolRig rig;
  rig.Reopen();
  REQUIRE(rig.Append().ok());
  rig.spool = nullptr;
  const std::string segment = rig.files.Content(rig.Path(rig.Segments().front()));
  const std::vector<std::pair<std::string, std::string>> others = {
      {"notes.txt", "hello"},
      {"1.seg", segment},
      {"0000000000000009.seg", segment},  // a copy under another name
      {"0000000000000012.seg", std::string(500, 'x')},
      {"0000000000000013.seg", ""},
      {"0000000000000014.seg", EncodeSegmentHeader({std::string(32, 'a'), 14, 1, {}})},  // of another spool
  };
  for (const auto& [name, content] : others) rig.files.SetContent(rig.Path(name), content);
  rig.Reopen();
  CHECK(rig.Kept() == Seqs{1});
  CHECK(rig.Gaps().empty());
  REQUIRE(rig.Append().ok());
  CHECK(rig.files.Exists("/spool/0000000000000015.seg"));
  for (const auto& [name, content] : others) {
    CAPTURE(name);
    CHECK(rig.files.Content(rig.Path(name)) == content);
    CHECK(HasLine(rig, name));
  }
}

TEST_CASE("a segment that is gone is a gap of all it held") {
  SpoolRig rig;
  rig.options.segment_bytes = 16 << 10;
  rig.options.max_bytes = 1 << 20;
  rig.Reopen();
  const auto began = rig.clock.Now();
  for (int i = 0; i < 9; ++i) REQUIRE(rig.Append(5000).ok());
  rig.Kill();
  const std::vector<std::string> segments = rig.Segments();
  REQUIRE(segments.size() == 3);
  const auto which = GENERATE(0u, 1u, 2u);
  CAPTURE(which);
  REQUIRE(rig.files.Remove(rig.Path(segments[which])).ok());
  rig.Reopen();
  const std::uint64_t first = 3 * which + 1;
  CHECK(rig.Gaps() == fmt::format("{}-{} collector_lost", first, first + 2));
  CHECK(rig.Kept().size() == 6);
  CHECK(rig.spool->next_seq() == 10);
  if (which == 1) {
    CHECK(rig.spool->gaps().front().from == began + 4 * 30s);
    CHECK(rig.spool->gaps().front().to == began + 6 * 30s);
  }
  CHECK(rig.AllReadable());
}

TEST_CASE("gaps are bounded: neighbours of one cause become one") {
  SpoolRig rig;
  rig.Reopen();
  constexpr std::uint64_t kBatches = 4 * Spool::kMostGaps;
  for (std::uint64_t i = 0; i < kBatches; ++i) REQUIRE(rig.Append().ok());
  model::DurablePosition durable;
  for (std::uint64_t seq = 2; seq <= kBatches / 2; seq += 2) durable.ranges.push_back({seq, seq});
  rig.spool->SetDurable(durable);
  CHECK(rig.spool->durable().ranges.size() < durable.ranges.size());  // those beyond what HEAD holds are not known
  for (std::uint64_t seq = 1; seq < kBatches; seq += 2) rig.spool->GiveUp(seq, GapCause::kRejected);
  CHECK(rig.spool->gaps().size() == Spool::kMostGaps);
  const auto gaps = rig.spool->gaps();
  const auto kept = rig.Kept();
  for (const std::uint64_t seq : kept) {
    for (const model::Gap& gap : gaps) {
      if (gap.seqs.first <= seq && seq <= gap.seqs.last) FAIL("kept and lost: " << seq);
    }
  }
  rig.Kill();
  rig.Reopen();
  CHECK(rig.spool->gaps() == gaps);
  CHECK(rig.Kept() == kept);
}

TEST_CASE("gaps survive the segment that told them") {
  SpoolRig rig;
  rig.options.segment_bytes = 16 << 10;
  rig.options.max_bytes = 1 << 20;
  rig.Reopen();
  for (int i = 0; i < 3; ++i) REQUIRE(rig.Append(4000).ok());
  rig.spool->GiveUp(2, GapCause::kRejected);
  for (int i = 0; i < 6; ++i) REQUIRE(rig.Append(4000).ok());
  const std::string first = rig.Segments().front();
  rig.spool->SetDurable({.low = 1, .ranges = {{3, 8}}});
  CHECK_FALSE(rig.files.Exists(rig.Path(first)));
  CHECK(rig.Gaps() == "2-2 rejected");
  rig.files.LosePower();
  rig.Reopen();
  CHECK(rig.Gaps() == "2-2 rejected");
  CHECK(rig.Kept() == Seqs{9});
}

TEST_CASE("a disk that cannot be used at all is an error of opening") {
  SpoolRig rig;
  const auto call = GENERATE(FakeFileSystem::Call::kMakeDir, FakeFileSystem::Call::kOpen, FakeFileSystem::Call::kWrite,
                             FakeFileSystem::Call::kSync, FakeFileSystem::Call::kList, FakeFileSystem::Call::kLock,
                             FakeFileSystem::Call::kRead);
  const auto code = GENERATE(absl::StatusCode::kUnavailable, absl::StatusCode::kResourceExhausted,
                             absl::StatusCode::kPermissionDenied);
  rig.files.SetFault([&](FakeFileSystem::Call c, const std::string&) {
    return c == call ? absl::Status(code, "no") : absl::OkStatus();
  });
  CHECK(rig.Open().code() == code);
  rig.files.SetFault(nullptr);
  CHECK(rig.Open().ok());
}

}  // namespace
}  // namespace clusterpulse::spool
