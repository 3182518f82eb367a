#include "tests/soak/delivery_evidence.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

#include "collector/spool/posix_file_system.h"
#include "collector/spool/segment.h"
#include "common/base/status.h"
#include "common/wire/batch_codec.h"
#include "hub/history/series.h"
#include "hub/store/collector_documents.h"

namespace clusterpulse::testing {
namespace {

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

std::string SeriesText(const std::map<std::string, std::string>& labels) {
  std::string text = labels.contains("__name__") ? labels.at("__name__") : "";
  for (const auto& [label, value] : labels) {
    if (label != "__name__") text += fmt::format(" {}={}", label, value);
  }
  return text;
}

// The samples of one batch, as series of the record.
class RecordSink final : public history::SampleSink {
 public:
  RecordSink(DeliveryRecord& record, DeliveryRecord::Batch& batch) : record_(record), batch_(batch) {}

  void Labels(std::string_view cluster, std::string_view key, std::string_view value) override {
    labels_ = {{"cluster", std::string(cluster)}};
    if (!key.empty() && !value.empty()) labels_.emplace(key, value);
  }
  void Earlier(std::chrono::milliseconds) override {}  // of sources, which these fleets have not
  void Sample(const history::MetricName& name, history::Number value) override {
    labels_["__name__"] = name.text();
    batch_.samples.emplace_back(record_.SeriesId(SeriesText(labels_)), value.real());
  }
  void Ambiguous(std::string_view) override {}  // never written

 private:
  DeliveryRecord& record_;
  DeliveryRecord::Batch& batch_;
  std::map<std::string, std::string> labels_;
};

// Calls `visit` with each whole record of a batch in a file of segments.
template <typename Visit>
void ForEachRecord(const std::string& path, Visit&& visit) {
  spool::FileSystem& files = spool::PosixFileSystem();
  const auto file = files.Open(path, spool::FileSystem::Mode::kRead);
  if (!file.ok()) Fail(path + ": " + base::Message(file.status()));
  const auto segment = spool::ReadSegment(**file, "", spool::Verify::kAll);
  if (!segment.ok()) Fail(path + ": " + base::Message(segment.status()));
  if (!segment->header) return;
  for (const spool::Record& record : segment->records) {
    if (record.kind != spool::RecordKind::kBatch) continue;
    visit(segment->header->instance, record, [&] {
      auto payload = spool::ReadRecord(**file, segment->header->instance, record);
      if (!payload.ok()) Fail(path + ": " + base::Message(payload.status()));
      return *std::move(payload);
    });
  }
}

std::vector<std::string> SegmentsIn(const std::string& dir) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    if (entry.path().extension() == ".seg") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

void AddProduced(DeliveryRecord& record, const std::string& instance, std::uint64_t seq, const std::string& payload) {
  wire::v1::MetricsBatch message;
  if (!message.ParseFromString(payload)) Fail(fmt::format("record {} of {} is no batch", seq, instance));
  message.set_cluster_name(record.cluster);
  message.set_seq(seq);
  const auto batch = wire::Decode(message);
  if (!batch.ok()) Fail(fmt::format("record {} of {}: {}", seq, instance, base::Message(batch.status())));
  DeliveryRecord::Batch& produced = record.produced[instance][seq];
  produced = {.stamp_ms = history::StampOf(*batch), .samples = {}};
  RecordSink sink(record, produced);
  history::ForEachSample(*batch, sink);
}

}  // namespace

model::DurablePosition StoredPosition(const DeliveryRig& rig, const std::string& cluster, std::string& instance) {
  const std::string key = "cluster:" + cluster + ":writer";
  instance = rig.Redis({"HGET", key, "instance"});
  return store::documents::ReadDurable(rig.Redis({"HGET", key, "durable"}));
}

std::uint64_t NewestSpooled(DeliveryRig& rig, const std::string& cluster, std::string& instance) {
  std::uint64_t newest = 0;
  for (const std::string& path : SegmentsIn(rig.SpoolDir(cluster))) {
    ForEachRecord(path, [&](const std::string& of, const spool::Record& record, const auto&) {
      if (of != instance) newest = 0;
      instance = of;
      newest = std::max(newest, record.seq);
    });
  }
  return newest;
}

DeliveryRecord GatherEvidence(DeliveryRig& rig, const std::string& cluster) {
  DeliveryRecord record;
  record.cluster = cluster;
  // What is durable by now is stored by the time the history is read.
  record.durable = StoredPosition(rig, cluster, record.instance);
  const store::GapLedger ledger = rig.Ledger(cluster);
  for (const store::KnownGap& gap : ledger.gaps()) {
    if (gap.seqs.first != 0) record.gaps.push_back({gap.instance, gap.seqs, std::string(model::ToString(gap.cause))});
  }
  for (const auto& series : rig.History(cluster)) {
    auto& samples = record.stored[record.SeriesId(SeriesText(series.labels))];
    for (const auto& [stamp, value] : series.samples) samples.push_back({stamp, value});
  }
  for (const std::string& path : rig.recorder().Segments(cluster)) {
    ForEachRecord(path, [&](const std::string& instance, const spool::Record& batch, const auto& payload) {
      AddProduced(record, instance, batch.seq, payload());
    });
  }
  for (const std::string& path : SegmentsIn(rig.SpoolDir(cluster))) {
    ForEachRecord(path, [&](const std::string& instance, const spool::Record& batch, const auto&) {
      record.in_spool[instance].insert(batch.seq);
    });
  }
  return record;
}

std::string WaitUntilDurable(DeliveryRig& rig, const std::vector<std::string>& clusters, std::chrono::seconds limit) {
  struct Newest {
    std::string cluster, instance;
    std::uint64_t seq = 0;
  };
  std::vector<Newest> waiting;
  for (const std::string& cluster : clusters) {
    Newest newest{.cluster = cluster};
    newest.seq = NewestSpooled(rig, cluster, newest.instance);
    waiting.push_back(std::move(newest));
  }
  Eventually(limit, [&] {
    std::erase_if(waiting, [&](const Newest& newest) {
      std::string instance;
      const model::DurablePosition position = StoredPosition(rig, newest.cluster, instance);
      return instance == newest.instance && position.low >= newest.seq;
    });
    return waiting.empty();
  });
  std::string words;
  for (const Newest& newest : waiting) {
    std::string instance;
    const model::DurablePosition position = StoredPosition(rig, newest.cluster, instance);
    words += fmt::format("{}: {} of {} is not durable; durable is {} of {}. ", newest.cluster, newest.seq,
                         newest.instance, store::documents::OfDurable(position), instance);
  }
  return words;
}

DeliveryVerdict ProveDelivery(DeliveryRig& rig, const std::string& cluster) {
  rig.Signal(rig.CollectorOf(cluster), SIGSTOP);
  const DeliveryRecord record = GatherEvidence(rig, cluster);
  rig.Signal(rig.CollectorOf(cluster), SIGCONT);
  return CheckDelivery(record);
}

}  // namespace clusterpulse::testing
