#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "collector/link/outbox.h"
#include "collector/spool/testing/fake_file_system.h"
#include "common/base/testing/manual_clock.h"
#include "tests/collector/link/sample.h"

namespace clusterpulse::link {

// An outbox on a spool whose disk is in memory, over the lives of several processes, and a hub that the test plays.
struct SpoolRig {
  static constexpr Peer kOurs{.parts = true, .credits = {5, 4 << 20}};  // two of history at a time

  base::SeededRandom random;
  base::ManualClock clock;
  spool::FakeFileSystem files{random};
  spool::Spool::Options spool_options{.dir = "/spool"};
  Outbox::Options options;
  telemetry::Registry registry;
  std::vector<std::string> lines;  // of the log
  log::Logger log{log::Logger::Options{.level = log::Level::kInfo,
                                       .format = log::Format::kText,
                                       .sink = [this](std::string_view line) { lines.emplace_back(line); },
                                       .clock = &clock}};
  std::unique_ptr<Outbox> outbox;
  int made = 0;

  explicit SpoolRig(std::uint64_t seed = 1) : random(seed) {
    options.open_spool = [this] { return spool::Spool::Open(spool_options, files, clock, random, log); };
  }

  void Start() { outbox = std::make_unique<Outbox>(options, fmt::format("memory-{}", made), clock, log, &registry); }
  // As kill -9.
  void Kill() {
    files.StopAfter(1);
    (void)files.SyncDir("/elsewhere");  // the last change there is
    outbox.reset();
    files.Restart();
  }
  // Another process, some time later.
  void Restart(std::chrono::seconds after = std::chrono::seconds(5)) {
    Kill();
    clock.AdvanceBy(after);
    Start();
  }
  // What is on it can still be read.
  void BreakDisk(absl::Status why = absl::ResourceExhaustedError("disk full")) {
    using Call = spool::FakeFileSystem::Call;
    files.SetFault([why](Call call, const std::string&) {
      return call == Call::kRead || call == Call::kOpen ? absl::OkStatus() : why;
    });
  }
  // There is no room for anything but what HEAD, which has its own, takes.
  void FillDisk() {
    using Call = spool::FakeFileSystem::Call;
    files.SetFault([](Call call, const std::string& path) {
      const bool has_room = call == Call::kRead || call == Call::kOpen || path.ends_with("HEAD");
      return has_room ? absl::OkStatus() : absl::ResourceExhaustedError("disk full");
    });
  }
  void RepairDisk() { files.SetFault(nullptr); }
  // What is on the disk, and the disk as it was.
  std::map<std::string, std::string> Contents() {
    std::map<std::string, std::string> contents;
    for (const std::string& path : Files()) contents[path] = files.Content(path);
    return contents;
  }
  void Revert(const std::map<std::string, std::string>& before) {
    for (const std::string& path : Files()) {
      const auto was = before.find(path);
      if (was == before.end()) {
        REQUIRE(files.Remove(path).ok());
      } else {
        files.SetContent(path, was->second);
      }
    }
  }
  std::vector<std::string> Files() {
    const auto names = files.List(spool_options.dir);
    REQUIRE(names.ok());
    std::vector<std::string> paths;
    for (const std::string& name : *names) paths.push_back(spool_options.dir + "/" + name);
    return paths;
  }

  std::uint64_t Add(model::Batch batch, bool full = false) {
    clock.AdvanceBy(std::chrono::seconds(30));
    batch.collected_at = clock.Now();
    return outbox->Add(std::move(batch), full);
  }
  std::uint64_t AddNodes(bool full = false, std::size_t padding = 0) {
    ++made;
    return Add(NodeBatch(fmt::format("b{}", made), 1, padding), full);
  }
  std::uint64_t AddSource(const std::string& name) {
    model::Batch batch = NodeBatch(fmt::format("b{}", ++made));
    batch.snapshot = {};
    batch.sources = {SampleSource(name, 3)};
    return Add(std::move(batch));
  }

  model::Registration Describe() {
    model::Registration registration;
    outbox->Describe(registration);
    return registration;
  }
  // A new stream, to a hub that has that durable.
  model::Registration Connect(const model::DurablePosition& durable = {}, std::uint64_t last_seq = 0) {
    outbox->Disconnected();
    model::Registration registration = Describe();
    outbox->Welcomed(last_seq);
    outbox->Durable(durable);
    outbox->SetPeer(kOurs);
    return registration;
  }
  // What goes now.
  std::vector<model::Batch> Take(std::size_t most = 100) {
    std::vector<model::Batch> batches;
    while (batches.size() < most) {
      const auto message = outbox->Next();
      if (!message.has_value()) break;
      batches.push_back(ReadBatch(*message));
    }
    return batches;
  }
  static std::string Text(const model::Batch& batch) {
    std::string text = (batch.history_only ? "h" : "") + std::to_string(batch.seq);
    if (batch.parts > 0) text += fmt::format(".{}/{}", batch.part, batch.parts);
    return text;
  }
  // The same in short: "3" live, "h3" history, "3.0/2" a part.
  std::vector<std::string> Send(std::size_t most = 100) {
    std::vector<std::string> sent;
    for (const model::Batch& batch : Take(most)) sent.push_back(Text(batch));
    return sent;
  }
  // All that goes when the hub applies each at once, and makes nothing durable.
  std::vector<model::Batch> Drain() {
    std::vector<model::Batch> batches;
    while (true) {
      std::vector<model::Batch> some = Take();
      if (some.empty()) return batches;
      for (model::Batch& batch : some) {
        outbox->Applied({{batch.seq, batch.seq}});
        batches.push_back(std::move(batch));
      }
    }
  }
  void Applied(std::uint64_t first, std::uint64_t last) { outbox->Applied({{first, last}}); }
  // "1-3 collector_lost, 7-7 rejected"
  std::string Gaps() const {
    std::string text;
    for (const model::Gap& gap : outbox->gaps()) {
      text += fmt::format("{}{}-{} {}", text.empty() ? "" : ", ", gap.seqs.first, gap.seqs.last,
                          model::ToString(gap.cause));
    }
    return text;
  }
  double Gauge(const std::string& name) {
    registry.Render();
    return registry.Gauges(name, "").With({}).Value();
  }
  bool Logged(const std::string& text) const {
    for (const std::string& line : lines) {
      if (line.find(text) != std::string::npos) return true;
    }
    return false;
  }
};

}  // namespace clusterpulse::link
