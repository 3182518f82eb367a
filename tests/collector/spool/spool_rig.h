#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "collector/spool/segment.h"
#include "collector/spool/spool.h"
#include "collector/spool/testing/fake_file_system.h"
#include "common/base/random.h"
#include "common/base/testing/manual_clock.h"

namespace clusterpulse::spool {

// A spool on a disk in memory.
struct SpoolRig {
  explicit SpoolRig(std::uint64_t seed = 1) : random(seed) { options.dir = "/spool"; }

  absl::Status Open() {
    spool = nullptr;
    auto opened = Spool::Open(options, files, clock, random, logger);
    if (opened.ok()) spool = *std::move(opened);
    return opened.status();
  }
  // As a process that ends, and another that starts.
  void Reopen() { REQUIRE(Open().ok()); }
  // As kill -9: what its destructor does comes to nothing.
  void Kill() {
    files.Restart();
    spool = nullptr;
  }
  // The next number, with a content of that many bytes that can be checked.
  absl::Status Append(std::size_t bytes = 24) { return AppendAs(spool->next_seq(), bytes); }
  absl::Status AppendAs(std::uint64_t seq, std::size_t bytes = 24) {
    clock.AdvanceBy(std::chrono::seconds(30));
    return spool->Append(seq, clock.Now(), PayloadOf(seq, bytes));
  }
  static std::string PayloadOf(std::uint64_t seq, std::size_t bytes) {
    std::string payload = fmt::format("batch {} ", seq);
    while (payload.size() < bytes) payload.push_back(static_cast<char>('a' + (seq + payload.size()) % 26));
    payload.resize(bytes);
    return payload;
  }
  std::vector<std::uint64_t> Kept() const {
    std::vector<std::uint64_t> seqs;
    for (const Spool::Entry& entry : spool->entries()) seqs.push_back(entry.seq);
    return seqs;
  }
  // "1-3 collector_lost, 7-7 rejected"
  std::string Gaps() const {
    std::string text;
    for (const model::Gap& gap : spool->gaps()) {
      text += fmt::format("{}{}-{} {}", text.empty() ? "" : ", ", gap.seqs.first, gap.seqs.last,
                          model::ToString(gap.cause));
    }
    return text;
  }
  // Whether all that is kept can be read, and is what was written.
  bool AllReadable() const {
    for (const Spool::Entry& entry : spool->entries()) {
      const auto payload = spool->Read(entry.seq);
      if (!payload.ok() || *payload != PayloadOf(entry.seq, entry.bytes)) return false;
    }
    return true;
  }
  std::vector<std::string> Segments() {
    std::vector<std::string> names;
    const auto all = files.List(options.dir);
    REQUIRE(all.ok());
    for (const std::string& name : *all) {
      if (ParseSegmentName(name)) names.push_back(name);
    }
    return names;
  }
  std::string Path(const std::string& name) const { return options.dir + "/" + name; }
  std::uint64_t BytesOnDisk() const { return files.TotalBytes(); }

  Spool::Options options;
  base::SeededRandom random;
  FakeFileSystem files{random};
  base::ManualClock clock;
  std::vector<std::string> lines;
  log::Logger logger{log::Logger::Options{.format = log::Format::kText,
                                          .sink = [this](std::string_view line) { lines.emplace_back(line); },
                                          .clock = &clock}};
  std::unique_ptr<Spool> spool;
};

}  // namespace clusterpulse::spool
