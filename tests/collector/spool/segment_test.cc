#include "collector/spool/segment.h"

#include <chrono>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "collector/spool/testing/fake_file_system.h"

namespace clusterpulse::spool {
namespace {

using namespace std::chrono_literals;

const std::string kInstance = "00112233445566778899aabbccddeeff";
constexpr base::SystemTime kBegan{1933135628s};

struct Disk {
  base::SeededRandom random{1};
  FakeFileSystem files{random};

  Segment Read(const std::string& content, Verify verify = Verify::kAll, const std::string& instance = kInstance) {
    files.SetContent("/x", content);
    const auto file = files.Open("/x", FileSystem::Mode::kRead);
    REQUIRE(file.ok());
    auto segment = ReadSegment(**file, instance, verify);
    REQUIRE(segment.ok());
    return *std::move(segment);
  }
};

// Appends the record to the file's content.
void Add(std::string& content, std::uint64_t seq, std::string_view payload, RecordKind kind = RecordKind::kBatch) {
  content += EncodeRecord(kInstance, {kind, seq, kBegan + std::chrono::seconds(seq), content.size(), 0}, payload);
}
std::string Begin() { return EncodeSegmentHeader({kInstance, 3, 5, kBegan}); }

std::string Seqs(const std::vector<Record>& records) {
  std::string text;
  for (const Record& record : records) text += fmt::format("{} ", record.seq);
  return text;
}

TEST_CASE("names of segments count up, and nothing else is one") {
  CHECK(SegmentName(7) == "0000000000000007.seg");
  CHECK(ParseSegmentName("0000000000000007.seg") == 7u);
  CHECK(ParseSegmentName(SegmentName(9999999999999999u)) == 9999999999999999u);
  for (const char* name : {"", ".seg", "7.seg", "0000000000000007", "0000000000000007.tmp", "000000000000000x.seg",
                           "+000000000000007.seg", "00000000000000007.seg", "0000000000000007.seg "}) {
    CAPTURE(name);
    CHECK_FALSE(ParseSegmentName(name));
  }
}

TEST_CASE("what was written is read") {
  Disk disk;
  std::string content = Begin();
  Add(content, 5, "five");
  Add(content, 6, "");
  Add(content, 7, std::string(100'000, 'x'));
  Add(content, 7, "gaps", RecordKind::kGaps);
  Add(content, 8, "later kinds are skipped", static_cast<RecordKind>(9));
  Add(content, 9, "12345678");
  const std::uint64_t end = content.size();
  content.append(5000, '\0');
  const auto verify = GENERATE(Verify::kLast, Verify::kAll);
  const Segment segment = disk.Read(content, verify);
  CHECK(segment.header == SegmentHeader{kInstance, 3, 5, kBegan});
  CHECK(Seqs(segment.records) == "5 6 7 7 8 9 ");
  CHECK(segment.records[0] == Record{RecordKind::kBatch, 5, kBegan + 5s, 128, 4});
  CHECK(segment.records[3].kind == RecordKind::kGaps);
  CHECK(segment.broken.empty());
  CHECK(segment.damage.empty());
  CHECK(segment.end == end);
  CHECK(segment.size == content.size());
  CHECK_FALSE(segment.has_tail);
  const auto file = disk.files.Open("/x", FileSystem::Mode::kRead);
  REQUIRE(file.ok());
  CHECK(*ReadRecord(**file, kInstance, segment.records[0]) == "five");
  CHECK(ReadRecord(**file, kInstance, segment.records[1])->empty());
  CHECK(ReadRecord(**file, kInstance, segment.records[2])->size() == 100'000);
  Record wrong = segment.records[0];
  wrong.seq = 6;
  CHECK(ReadRecord(**file, kInstance, wrong).status().code() == absl::StatusCode::kDataLoss);
  CHECK(ReadRecord(**file, std::string(32, '1'), segment.records[0]).status().code() == absl::StatusCode::kDataLoss);
  CHECK(ReadSegmentHeader(**file) == segment.header);
}

TEST_CASE("only the last payload is verified when asked for the last") {
  Disk disk;
  std::string content = Begin();
  Add(content, 5, "five");
  Add(content, 6, "six ");
  content[content.find("five")] ^= 1;
  CHECK(Seqs(disk.Read(content, Verify::kLast).records) == "5 6 ");
  const Segment all = disk.Read(content, Verify::kAll);
  CHECK(Seqs(all.records) == "6 ");
  CHECK(Seqs(all.broken) == "5 ");
  CHECK(all.damage == std::vector<Damage>{{128, 48, "the content of record 5 is not what was written"}});
  content[content.find("five ") == std::string::npos ? content.find("six ") : 0] ^= 1;
  const Segment last = disk.Read(content, Verify::kLast);
  CHECK(Seqs(last.records) == "5 ");
  CHECK(Seqs(last.broken) == "6 ");
  CHECK(last.end == content.size());
}

TEST_CASE("a payload of markers, records and segments is only a payload") {
  Disk disk;
  std::string inner = Begin();
  for (std::uint64_t seq = 100; seq < 120; ++seq) Add(inner, seq, "inner");
  std::string marker = inner.substr(128, 8);
  std::string markers;
  for (int i = 0; i < 9000; ++i) markers += marker;
  std::string content = Begin();
  Add(content, 5, "five");
  const std::uint64_t broken = content.size();
  Add(content, 6, inner + markers);
  Add(content, 7, "seven");
  CHECK(Seqs(disk.Read(content).records) == "5 6 7 ");
  // Whatever of its header breaks, what is inside is not taken for records.
  for (std::uint64_t at = broken; at < broken + kRecordHeaderBytes; ++at) {
    std::string bad = content;
    bad[at] ^= 16;
    const Segment segment = disk.Read(bad);
    CAPTURE(at);
    CHECK(Seqs(segment.records) == "5 7 ");
    REQUIRE(segment.damage.size() == 1);
    CHECK(segment.damage[0].offset == broken);
    CHECK(segment.damage[0].bytes == RecordBytes(inner.size() + markers.size()));
  }
}

TEST_CASE("a segment with no header left is read for a known instance, and for no other") {
  Disk disk;
  std::string content = Begin();
  Add(content, 5, "five");
  content[70] ^= 1;
  CHECK(disk.Read(content).header);
  CHECK(disk.Read(content).damage == std::vector<Damage>{{64, 64, "the copy of the header is broken"}});
  content[0] ^= 1;
  const Segment segment = disk.Read(content);
  CHECK_FALSE(segment.header);
  CHECK(Seqs(segment.records) == "5 ");
  CHECK(segment.damage.size() == 2);
  CHECK(disk.Read(content, Verify::kAll, std::string(32, '1')).records.empty());
  CHECK(disk.Read(content, Verify::kAll, "").records.empty());
}

TEST_CASE("what is behind the last record tells a torn record from a tipped bit") {
  Disk disk;
  std::string content = Begin();
  Add(content, 5, "five");
  const std::uint64_t end = content.size();
  std::string whole = content;
  Add(whole, 6, "six, which is torn");
  SECTION("a record without its end") {
    std::string torn = whole.substr(0, end + 30);
    torn.append(3000, '\0');
    const Segment segment = disk.Read(torn);
    CHECK(Seqs(segment.records) == "5 ");
    CHECK(segment.end == end);
    CHECK(segment.has_tail);
    CHECK(segment.damage.size() == 1);
  }
  SECTION("a record whose file ends too early is known by its header") {
    const Segment segment = disk.Read(whole.substr(0, end + 50));
    CHECK(Seqs(segment.records) == "5 ");
    CHECK(Seqs(segment.broken) == "6 ");
    CHECK(segment.damage == std::vector<Damage>{{end, 50, "the file ends within record 6"}});
  }
  SECTION("a bit") {
    std::string tipped = content;
    tipped.append(3000, '\0');
    tipped[end + 20] = 4;
    const Segment segment = disk.Read(tipped);
    CHECK(segment.end == end);
    CHECK_FALSE(segment.has_tail);
    CHECK(segment.damage == std::vector<Damage>{{end + 20, 1, "this is neither a record nor zeros"}});
  }
}

TEST_CASE("zeros in the middle do not hide what is behind them") {
  Disk disk;
  std::string content = Begin();
  Add(content, 5, "five");
  const std::size_t begin = content.size();
  Add(content, 6, std::string(200'000, 'x'));
  const std::size_t end = content.size();
  Add(content, 7, "seven");
  std::fill(content.begin() + static_cast<std::ptrdiff_t>(begin), content.begin() + static_cast<std::ptrdiff_t>(end),
            '\0');
  CHECK(Seqs(disk.Read(content).records) == "5 7 ");
}

TEST_CASE("sectors that cannot be read cost what is in them") {
  Disk disk;
  std::string content = Begin();
  for (std::uint64_t seq = 5; seq < 10; ++seq) Add(content, seq, std::string(20'000, static_cast<char>('a' + seq)));
  disk.files.SetContent("/x", content);

  // Reads that touch one stretch fail.
  class BadFile final : public File {
   public:
    BadFile(std::unique_ptr<File> file, std::uint64_t first, std::uint64_t last)
        : file_(std::move(file)), first_(first), last_(last) {}
    absl::Status WriteAt(std::uint64_t offset, std::string_view bytes) override {
      return file_->WriteAt(offset, bytes);
    }
    absl::StatusOr<std::size_t> ReadAt(std::uint64_t offset, std::span<char> into) override {
      if (offset <= last_ && offset + into.size() > first_) return absl::UnavailableError("EIO");
      return file_->ReadAt(offset, into);
    }
    absl::Status Sync() override { return file_->Sync(); }
    absl::Status Resize(std::uint64_t size) override { return file_->Resize(size); }
    absl::StatusOr<std::uint64_t> Size() override { return file_->Size(); }

   private:
    const std::unique_ptr<File> file_;
    const std::uint64_t first_, last_;
  };
  // Within the payload of record 6, and over the header of record 7.
  const auto [first, last, kept] = GENERATE(table<std::uint64_t, std::uint64_t, std::string>(
      {{24'576, 28'671, "5 7 8 9 "}, {40'960 - 4096, 40'960 + 4095, "5 8 9 "}, {0, 4095, ""}}));
  auto file = disk.files.Open("/x", FileSystem::Mode::kRead);
  REQUIRE(file.ok());
  BadFile bad(*std::move(file), first, last);
  const auto segment = ReadSegment(bad, kInstance, Verify::kAll);
  REQUIRE(segment.ok());
  CAPTURE(first);
  if (first > 0) {
    CHECK(Seqs(segment->records) == kept);
  } else {
    CHECK(Seqs(segment->records) == "6 7 8 9 ");
  }
  CHECK_FALSE(segment->damage.empty());
}

TEST_CASE("a file longer than any segment is refused") {
  Disk disk;
  auto file = disk.files.Open("/x", FileSystem::Mode::kCreate);
  REQUIRE(file.ok());
  REQUIRE((*file)->Resize(kMostSegmentBytes + 1).ok());
  CHECK(ReadSegment(**file, kInstance, Verify::kAll).status().code() == absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace clusterpulse::spool
