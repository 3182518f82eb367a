#include "collector/spool/spool.h"

#include <map>

#include <catch2/catch.hpp>

#include "collector/spool/inspect.h"
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

// Numbers and times of the records, and gaps, in short.
std::string Describe(const SpoolRig& rig) {
  return fmt::format("{} | {} | next {}", fmt::join(rig.Kept(), " "), rig.Gaps(), rig.spool->next_seq());
}

TEST_CASE("numbers are confirmed by a hub, or because nobody else can have given them") {
  SpoolRig rig;
  rig.Reopen();
  CHECK(rig.spool->is_confirmed());
  REQUIRE(rig.Append().ok());
  REQUIRE(rig.Append().ok());
  CHECK(rig.spool->confirmed() == 2);
  const bool loses_power = GENERATE(false, true);
  const auto restart = [&] {
    if (loses_power) {
      rig.files.LosePower();
      rig.spool = nullptr;
    } else {
      rig.Kill();
    }
    rig.Reopen();
  };
  restart();
  CHECK_FALSE(rig.spool->is_confirmed());
  CHECK(rig.spool->confirmed() == 2);
  REQUIRE(rig.Append().ok());
  REQUIRE(rig.Append().ok());
  CHECK(rig.spool->confirmed() == 2);
  restart();
  CHECK(rig.spool->confirmed() == 2);
  CHECK(rig.AllReadable());
  REQUIRE(rig.Append().ok());
  rig.spool->Confirm();
  CHECK(rig.spool->confirmed() == 5);
  restart();
  CHECK(rig.spool->confirmed() == 5);
  rig.spool->Confirm();
  REQUIRE(rig.Append().ok());
  restart();
  CHECK(rig.spool->confirmed() == 6);
  SECTION("without HEAD the records tell") {
    REQUIRE(rig.Append().ok());
    rig.Kill();
    REQUIRE(rig.files.Remove(rig.Path("HEAD")).ok());
    rig.Reopen();
    CHECK(rig.spool->confirmed() == 6);
    CHECK(rig.spool->next_seq() == 8);
  }
}

TEST_CASE("numbers that were given before to others become a gap, and what had them gets others") {
  const auto prepare = [](SpoolRig& rig) {
    rig.options.max_bytes = 96 << 10;
    rig.options.segment_bytes = 16 << 10;
    rig.Reopen();
    for (int i = 0; i < 3; ++i) REQUIRE(rig.Append(5000).ok());
    rig.Reopen();
    for (int i = 0; i < 4; ++i) REQUIRE(rig.Append(5000).ok());
    rig.spool->GiveUp(5, GapCause::kRejected);
  };
  const auto renumber = [](SpoolRig& rig) {
    rig.spool->Renumber({{4, 9}, rig.clock.Now() - 1h, rig.clock.Now(), GapCause::kCollectorLost});
  };
  const std::string before = "1 2 3 4 6 7 | 5-5 rejected | next 8";
  const std::string after = "1 2 3 10 12 13 | 4-9 collector_lost, 11-11 rejected | next 14";
  const auto is_readable = [](const SpoolRig& rig) {
    const std::map<std::uint64_t, std::uint64_t> was = {{10, 4}, {12, 6}, {13, 7}};
    for (const Spool::Entry& entry : rig.spool->entries()) {
      const auto payload = rig.spool->Read(entry.seq);
      const auto found = was.find(entry.seq);
      if (!payload.ok() ||
          *payload != SpoolRig::PayloadOf(found == was.end() ? entry.seq : found->second, entry.bytes)) {
        return false;
      }
    }
    return true;
  };
  std::uint64_t changes = 0;
  {
    SpoolRig rig;
    prepare(rig);
    CHECK(Describe(rig) == before);
    const std::uint64_t begin = rig.files.changes();
    renumber(rig);
    rig.spool->Confirm();
    changes = rig.files.changes() - begin;
    CHECK(Describe(rig) == after);
    CHECK(is_readable(rig));
    rig.Reopen();
    CHECK(Describe(rig) == after);
    CHECK(rig.spool->confirmed() == 13);
    CHECK(is_readable(rig));
    const auto looked = Inspect(rig.files, rig.options.dir, 0ms);
    REQUIRE(looked.ok());
    CHECK(looked->is_clean());
    // The record that says so stays as long as it is needed, and no longer.
    REQUIRE(rig.Append(5000).ok());
    rig.spool->SetDurable({.low = 0, .ranges = {{12, 14}}});
    rig.Reopen();
    CHECK(Describe(rig) == "1 2 3 10 | 4-9 collector_lost, 11-11 rejected | next 15");
    REQUIRE(rig.Append(5000).ok());
    rig.spool->SetDurable({.low = 15, .ranges = {}});
    for (int i = 0; i < 4; ++i) REQUIRE(rig.Append(5000).ok());
    rig.spool->SetDurable({.low = 19, .ranges = {}});
    CHECK(rig.Segments().size() == 1);
    rig.Reopen();
    CHECK(Describe(rig) == " |  | next 20");
  }
  SECTION("the process may end in every change of the disk") {
    for (std::uint64_t stop = 1; stop <= changes; ++stop) {
      for (const bool loses_power : {false, true}) {
        for (std::uint64_t seed = 1; seed <= 5; ++seed) {
          CAPTURE(stop, loses_power, seed);
          SpoolRig rig(seed);
          prepare(rig);
          rig.files.StopAfter(stop);
          renumber(rig);
          if (loses_power) {
            rig.files.LosePower();
          } else {
            rig.files.Restart();
          }
          rig.Reopen();
          const std::string found = Describe(rig);
          CHECK((found == before || found == after));
          CHECK(is_readable(rig));
          if (found == before) {
            CHECK(rig.spool->confirmed() == 3);
            renumber(rig);
          }
          CHECK(Describe(rig) == after);
        }
      }
    }
  }
  SECTION("a full disk takes it down when it has room, and nothing before that") {
    SpoolRig rig;
    prepare(rig);
    rig.files.SetFault([](FakeFileSystem::Call call, const std::string& path) {
      const bool writes = call != FakeFileSystem::Call::kRead && call != FakeFileSystem::Call::kOpen;
      return writes && !path.ends_with("HEAD") ? absl::ResourceExhaustedError("full") : absl::OkStatus();
    });
    renumber(rig);
    rig.spool->Confirm();
    CHECK(Describe(rig) == after);
    CHECK(is_readable(rig));
    CHECK(absl::IsResourceExhausted(rig.Append()));
    const bool has_room = GENERATE(false, true);
    if (has_room) {
      rig.files.SetFault(nullptr);
      REQUIRE(rig.AppendAs(14).ok());
      rig.Kill();
      rig.Reopen();
      CHECK(Describe(rig) == "1 2 3 10 12 13 14 | 4-9 collector_lost, 11-11 rejected | next 15");
      CHECK(is_readable(rig));
    } else {
      rig.Kill();
      rig.files.SetFault(nullptr);
      rig.Reopen();
      // A disk that refused the record may have it all the same.
      CHECK((Describe(rig) == before || Describe(rig) == after));
      CHECK(rig.spool->confirmed() == (Describe(rig) == before ? 3 : 13));
    }
  }
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
  rig.spool->Flush();
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
  for (int i = 0; i < 20; ++i) {
    CHECK(rig.spool->Read(1).status().code() == absl::StatusCode::kUnavailable);
    rig.clock.AdvanceBy(30s);
  }
  CHECK(rig.Kept() == Seqs{1, 2});
  CHECK(rig.spool->Read(1).status().code() == absl::StatusCode::kDataLoss);
  CHECK(rig.Gaps() == "1-1 collector_lost");
  rig.files.SetFault(nullptr);
  CHECK(rig.spool->Read(2).ok());
}

TEST_CASE("a record is not given up for a few tries far apart, nor because the machine lacks something") {
  SpoolRig rig;
  rig.Reopen();
  REQUIRE(rig.Append().ok());
  SECTION("hours in between, when nobody asked for it") {
    rig.files.SetFault([](FakeFileSystem::Call call, const std::string&) {
      return call == FakeFileSystem::Call::kRead ? absl::UnavailableError("EIO") : absl::OkStatus();
    });
    for (int i = 0; i < 5; ++i) {
      CHECK(rig.spool->Read(1).status().code() == absl::StatusCode::kUnavailable);
      rig.clock.AdvanceBy(1h);
    }
  }
  SECTION("no descriptor") {
    rig.files.SetFault([](FakeFileSystem::Call call, const std::string&) {
      return call == FakeFileSystem::Call::kOpen ? absl::AbortedError("EMFILE") : absl::OkStatus();
    });
    for (int i = 0; i < 60; ++i) {
      CHECK(rig.spool->Read(1).status().code() == absl::StatusCode::kUnavailable);
      rig.clock.AdvanceBy(30s);
    }
  }
  rig.files.SetFault(nullptr);
  CHECK(rig.spool->Read(1).ok());
}

// Counts what is open at the same time.
class CountingFiles final : public FileSystem {
 public:
  explicit CountingFiles(FileSystem& files) : files_(files) {}
  int most() const { return most_; }

  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, Mode mode) override {
    auto file = files_.Open(path, mode);
    if (!file.ok()) return file.status();
    return std::make_unique<CountedFile>(*std::move(file), *this);
  }
  absl::Status MakeDir(const std::string& dir) override { return files_.MakeDir(dir); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& dir) override { return files_.List(dir); }
  absl::Status Rename(const std::string& from, const std::string& to) override { return files_.Rename(from, to); }
  absl::Status Remove(const std::string& path) override { return files_.Remove(path); }
  absl::Status SyncDir(const std::string& dir) override { return files_.SyncDir(dir); }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override { return files_.Lock(path); }

 private:
  class CountedFile final : public File {
   public:
    CountedFile(std::unique_ptr<File> file, CountingFiles& parent) : file_(std::move(file)), parent_(parent) {
      parent_.most_ = std::max(parent_.most_, ++parent_.open_);
    }
    ~CountedFile() override { --parent_.open_; }
    absl::Status WriteAt(std::uint64_t offset, std::string_view bytes) override {
      return file_->WriteAt(offset, bytes);
    }
    absl::StatusOr<std::size_t> ReadAt(std::uint64_t offset, std::span<char> into) override {
      return file_->ReadAt(offset, into);
    }
    absl::Status Sync() override { return file_->Sync(); }
    absl::Status Resize(std::uint64_t size) override { return file_->Resize(size); }
    absl::StatusOr<std::uint64_t> Size() override { return file_->Size(); }

   private:
    const std::unique_ptr<File> file_;
    CountingFiles& parent_;
  };

  FileSystem& files_;
  int open_ = 0, most_ = 0;
};

TEST_CASE("a spool of many segments is opened with few descriptors") {
  SpoolRig rig;
  rig.options.max_bytes = 4 << 20;
  rig.options.segment_bytes = 16 << 10;
  rig.Reopen();
  for (int i = 0; i < 60; ++i) REQUIRE(rig.Append(10'000).ok());
  rig.spool->GiveUp(7, GapCause::kRejected);
  REQUIRE(rig.Segments().size() >= 59);
  rig.spool = nullptr;
  CountingFiles files(rig.files);
  REQUIRE(Inspect(files, rig.options.dir, 0ms).ok());
  const auto opened = Spool::Open(rig.options, files, rig.clock, rig.random, rig.logger);
  REQUIRE(opened.ok());
  CHECK((*opened)->entries().size() == 59);
  CHECK(files.most() <= 3);
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
  for (std::uint64_t seq = 2; seq <= 3 * kBatches / 4; seq += 2) durable.ranges.push_back({seq, seq});
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
