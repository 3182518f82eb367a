// The spool's append of 64 KB batches against the bare disk: pwrite and fdatasync of as many bytes in files of the same
// size that grow in the same steps. Both in turn, so that whatever else the disk does hits both.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "collector/spool/posix_file_system.h"
#include "collector/spool/segment.h"
#include "collector/spool/spool.h"
#include "tests/bench/bench_row.h"
#include "tests/support/process.h"

namespace clusterpulse::spool {
namespace {

constexpr std::size_t kBatch = 64 << 10;
constexpr std::uint64_t kSegment = 16 << 20, kGrowth = 256 << 10;
constexpr int kTurn = 8;            // appends of one side, then of the other
constexpr std::uint64_t kLag = 32;  // the hub has durable what is so far behind

[[noreturn]] void Fail(const std::string& text) {
  std::fprintf(stderr, "spool_bench: %s\n", text.c_str());
  std::exit(1);
}

// What the spool does to the disk for its records, and nothing else.
class RawFiles {
 public:
  explicit RawFiles(std::string dir) : dir_(std::move(dir)) {}
  ~RawFiles() {
    if (fd_ >= 0) close(fd_);
  }
  void Append(const std::string& record) {
    if (fd_ < 0 || end_ + record.size() > kSegment) Begin();
    if (end_ + record.size() > size_) {
      if (fallocate(fd_, 0, static_cast<off_t>(size_), kGrowth) != 0) Fail("fallocate");
      size_ += kGrowth;
    }
    if (pwrite(fd_, record.data(), record.size(), static_cast<off_t>(end_)) != static_cast<ssize_t>(record.size())) {
      Fail("pwrite");
    }
    if (fdatasync(fd_) != 0) Fail("fdatasync");
    end_ += record.size();
  }

 private:
  void Begin() {
    if (fd_ >= 0) close(fd_);
    if (count_ > 1) unlink(Path(count_ - 1).c_str());
    fd_ = open(Path(++count_).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd_ < 0) Fail("open");
    end_ = size_ = 0;
  }
  std::string Path(int count) const { return fmt::format("{}/{}", dir_, count); }

  const std::string dir_;
  int fd_ = -1, count_ = 0;
  std::uint64_t end_ = 0, size_ = 0;
};

int Run(int rounds, int turns) {
  testing::TempDir dir;
  auto spool =
      Spool::Open({.dir = dir.File("spool")}, PosixFileSystem(), base::SystemClock(), base::SystemRandom(), {});
  if (!spool.ok()) Fail(spool.status().ToString());
  std::string payload(kBatch, '\0');
  for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<char>(i * 2654435761u >> 13);
  if (!PosixFileSystem().MakeDir(dir.File("raw")).ok()) Fail("mkdir");
  RawFiles raw(dir.File("raw"));
  const std::string record(RecordBytes(kBatch), 'x');

  using Clock = std::chrono::steady_clock;
  std::vector<double> ratios, ours_us, raw_us;
  std::printf("%6s %12s %12s %14s %7s\n", "round", "ours /s", "raw /s", "ours us/append", "ratio");
  for (int round = 0; round < rounds; ++round) {
    Clock::duration ours{}, bare{};
    for (int turn = 0; turn < turns; ++turn) {
      const auto began = Clock::now();
      for (int i = 0; i < kTurn; ++i) {
        const std::uint64_t seq = (*spool)->next_seq();
        if (!(*spool)->Append(seq, base::SystemClock().Now(), payload).ok()) Fail("append");
      }
      const std::uint64_t next = (*spool)->next_seq();
      if (next > kLag) (*spool)->SetDurable({.low = next - kLag, .ranges = {}});
      const auto between = Clock::now();
      for (int i = 0; i < kTurn; ++i) raw.Append(record);
      ours += between - began;
      bare += Clock::now() - between;
    }
    const double count = turns * kTurn;
    const auto us = [&](Clock::duration d) { return std::chrono::duration<double, std::micro>(d).count() / count; };
    ours_us.push_back(us(ours));
    raw_us.push_back(us(bare));
    ratios.push_back(us(bare) / us(ours));
    std::printf("%6d %12.0f %12.0f %14.0f %7.2f\n", round + 1, 1e6 / us(ours), 1e6 / us(bare), us(ours), ratios.back());
  }

  // What was measured is what was promised: all is there after a restart.
  const std::vector<Spool::Entry> kept = (*spool)->entries();
  if (kept.size() != std::min<std::uint64_t>(kLag - 1, (*spool)->next_seq() - 1)) Fail("not all is kept");
  spool->reset();
  spool = Spool::Open({.dir = dir.File("spool")}, PosixFileSystem(), base::SystemClock(), base::SystemRandom(), {});
  if (!spool.ok() || (*spool)->entries() != kept || !(*spool)->gaps().empty()) Fail("not all is there again");
  for (const Spool::Entry& entry : kept) {
    const auto read = (*spool)->Read(entry.seq);
    if (!read.ok() || *read != payload) Fail("not what was written");
  }
  bench::PrintRow("spool: append + fdatasync of 64 KB batches / bare pwrite + fdatasync",
                  fmt::format("{:.2f} ({:.0f} us / {:.0f} us)", bench::Median(ratios), bench::Median(ours_us),
                              bench::Median(raw_us)),
                  ">= 0.7", "0.9");
  return 0;
}

// How long a spool that is full takes to open.
void OpenFull(std::uint64_t bytes, std::size_t batch) {
  testing::TempDir dir;
  const auto open = [&] {
    auto spool = Spool::Open({.dir = dir.path(), .max_bytes = 2 * bytes}, PosixFileSystem(), base::SystemClock(),
                             base::SystemRandom(), {});
    if (!spool.ok()) Fail(spool.status().ToString());
    return *std::move(spool);
  };
  {
    // Through the format itself: half a million syncs would take long.
    const std::string instance = open()->instance(), payload(batch, 'x');
    std::uint64_t seq = 0;
    for (std::uint64_t index = 1; index <= bytes / kSegment; ++index) {
      std::string content = EncodeSegmentHeader({instance, index, seq + 1, base::SystemClock().Now()});
      while (content.size() + RecordBytes(batch) <= kSegment) {
        content +=
            EncodeRecord(instance, {RecordKind::kBatch, ++seq, base::SystemClock().Now(), content.size(), 0}, payload);
      }
      testing::WriteFile(dir.File(SegmentName(index)), content);
    }
  }
  const auto began = std::chrono::steady_clock::now();
  const auto spool = open();
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
  if (!spool->gaps().empty() || spool->entries().empty()) Fail("not all is there");
  bench::PrintRow(
      fmt::format("spool: opening {} MiB of {} batches of {} bytes", bytes >> 20, spool->entries().size(), batch),
      fmt::format("{:.0f} ms", took.count()), "report", "-");
}

}  // namespace
}  // namespace clusterpulse::spool

int main(int argc, char** argv) {
  // Any flag: the short run that only shows that it works.
  (void)argv;
  const bool is_short = argc > 1;
  const int code = is_short ? clusterpulse::spool::Run(1, 4) : clusterpulse::spool::Run(9, 40);
  if (!is_short) {
    clusterpulse::spool::OpenFull(256 << 20, 64 << 10);
    clusterpulse::spool::OpenFull(256 << 20, 1 << 10);
  }
  return code;
}
