// A spool's directory with anything in it: a segment is read within its bounds, a spool opens on it, accounts for every
// number, gives back what it keeps as it was written or not at all, and goes on; and Inspect finds words for it.
//
// The input is a list of steps that make the directory, each a byte that chooses it and what it needs. Some of them put
// right what a checksum would stop: records, lists of gaps and heads with any content.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "collector/spool/head.h"
#include "collector/spool/inspect.h"
#include "collector/spool/segment.h"
#include "collector/spool/spool.h"
#include "collector/spool/testing/fake_file_system.h"
#include "common/base/testing/manual_clock.h"
#include "common/model/seq_set.h"
#include "tests/fuzz/input.h"

namespace {

using namespace clusterpulse;
using namespace clusterpulse::spool;

using fuzz::Input;
using fuzz::Require;

constexpr std::size_t kMostBytes = 64 << 10;  // of a file, so that a run is short

std::uint64_t Number(Input& in) {
  // Small ones mostly, and any.
  const std::uint8_t first = in.Byte();
  if (first < 250) return first % 16;
  std::uint64_t number = 0;
  for (int i = 0; i < 8; ++i) number = number << 8 | in.Byte();
  return number;
}

base::SystemTime Time(Input& in) {
  return base::SystemTime(base::SystemTime::duration(static_cast<std::int64_t>(Number(in))));
}

class Disk {
 public:
  Disk() {
    auto spool = Open();
    Require(spool != nullptr);
    instance_ = spool->instance();
    for (int i = 0; i < 3; ++i) Require(spool->Append(spool->next_seq(), clock_.Now(), "payload").ok());
    spool->GiveUp(2, model::GapCause::kRejected);
    spool->SetDurable({.low = 1, .ranges = {}});
  }

  void Do(Input& in) {
    const std::string path = Path(in.Byte());
    std::string content = files_.Exists(path) ? files_.Content(path) : "";
    const std::size_t at =
        content.empty() ? 0 : (in.Byte() | static_cast<std::size_t>(in.Byte()) << 8) % content.size();
    switch (in.Byte() % 8) {
      case 0:
        if (!content.empty()) content[at] = static_cast<char>(content[at] ^ (1 << in.Byte() % 8));
        break;
      case 1:
        content.resize(at);
        break;
      case 2:
        content.insert(at, in.Bytes(in.Byte()));
        break;
      case 3: {
        const std::string from = Path(in.Byte());
        content = files_.Exists(from) ? files_.Content(from) : "";
        break;
      }
      case 4: {
        // Right behind whatever there is, so that it is found.
        content.resize((content.size() + 7) / 8 * 8);
        const Record record{static_cast<RecordKind>(in.Byte() % 4), Number(in), Time(in), content.size(), 0};
        content += EncodeRecord(instance_, record, in.Bytes(in.Byte()));
        break;
      }
      case 5:
        content = EncodeSegmentHeader({instance_, Number(in), Number(in), Time(in)}) + content;
        break;
      case 6: {
        const auto file = HeadFile::Open(files_, "/d");
        Head head{instance_, Number(in), Time(in), Number(in), {.low = Number(in), .ranges = {}}};
        for (int i = in.Byte() % 4; i > 0; --i) head.durable.ranges.push_back({Number(in), Number(in)});
        Require(file.ok() && (*file)->Write(head, true).ok());
        return;
      }
      case 7:
        if (files_.Exists(path)) Require(files_.Remove(path).ok());
        return;
    }
    if (content.size() <= kMostBytes) files_.SetContent(path, content);
  }

  void Check() {
    CheckSegments();
    const auto before = Inspect(files_, "/d");
    Require(before.ok());
    Require(!ToText(*before).empty() && !ToJson(*before).empty());
    std::vector<Spool::Entry> kept;
    std::vector<model::Gap> gaps;
    std::uint64_t next = 0;
    {
      const auto spool = Open();
      Require(spool != nullptr);
      CheckSpool(*spool);
      for (const Spool::Entry& entry : spool->entries()) {
        const auto payload = spool->Read(entry.seq);
        if (payload.ok()) {
          Require(payload->size() == entry.bytes);
        } else {
          Require(absl::IsDataLoss(payload.status()));
        }
      }
      CheckSpool(*spool);
      const absl::Status appended = spool->Append(spool->next_seq(), clock_.Now(), "more");
      Require(appended.ok() || (absl::IsFailedPrecondition(appended) && spool->next_seq() == std::uint64_t{1} << 63));
      spool->Expire();  // by a clock that stands, all that is too old is gone now
      kept = spool->entries();
      gaps = spool->gaps();
      next = spool->next_seq();
    }
    // What it made of it stays.
    const auto again = Open();
    Require(again != nullptr);
    CheckSpool(*again);
    Require(again->next_seq() == next && again->entries() == kept && again->gaps() == gaps);
    again->SetDurable({.low = next - 1, .ranges = {}});
    Require(again->entries().empty() && again->gaps().empty());
  }

 private:
  static std::string Path(std::uint8_t which) {
    if (which % 4 == 3) return "/d/HEAD";
    return "/d/" + SegmentName(1 + which % 4);
  }

  std::unique_ptr<Spool> Open() {
    auto spool = Spool::Open({.dir = "/d", .segment_bytes = 16 << 10}, files_, clock_, random_, {});
    return spool.ok() ? *std::move(spool) : nullptr;
  }

  void CheckSegments() {
    for (std::uint64_t index = 1; index <= 3; ++index) {
      const auto file = files_.Open("/d/" + SegmentName(index), FileSystem::Mode::kRead);
      if (!file.ok()) continue;
      const auto all = ReadSegment(**file, instance_, Verify::kAll),
                 some = ReadSegment(**file, instance_, Verify::kLast);
      Require(all.ok() && some.ok() && all->header == some->header);
      Require(all->records.size() + all->broken.size() == some->records.size() + some->broken.size());
      std::uint64_t end = kRecordsBegin;
      for (const Record& record : all->records) {
        Require(record.offset >= end && record.offset % 8 == 0);
        end = record.offset + kRecordHeaderBytes + record.length;
        Require(end <= all->size);
        const std::string& instance = all->header ? all->header->instance : instance_;
        Require(ReadRecord(**file, instance, record).ok());
      }
      for (const Damage& damage : all->damage) {
        Require(damage.offset <= all->size || damage.offset < kRecordsBegin);
      }
    }
  }

  // Every number is in one place.
  static void CheckSpool(const Spool& spool) {
    const std::vector<Spool::Entry> kept = spool.entries();
    const model::SeqSet durable(spool.durable());
    std::uint64_t above = 0;
    for (const model::Gap& gap : spool.gaps()) {
      Require(gap.seqs.first > above && gap.seqs.first <= gap.seqs.last && gap.seqs.last < spool.next_seq());
      Require(!durable.Contains(gap.seqs.first) && !durable.Contains(gap.seqs.last));
      above = gap.seqs.last;
    }
    above = 0;
    for (const Spool::Entry& entry : kept) {
      Require(entry.seq > above && entry.seq < spool.next_seq() && !durable.Contains(entry.seq));
      for (const model::Gap& gap : spool.gaps()) Require(entry.seq < gap.seqs.first || entry.seq > gap.seqs.last);
      above = entry.seq;
    }
  }

  base::SeededRandom random_{1};
  FakeFileSystem files_{random_};
  base::ManualClock clock_;
  std::string instance_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return 0;
  Input in(std::string_view(reinterpret_cast<const char*>(data), size));
  Disk disk;
  while (!in.empty()) disk.Do(in);
  disk.Check();
  return 0;
}
