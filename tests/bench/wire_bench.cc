// A batch of 50 nodes with 20 labels each, from the bytes of the stream to the model: CPU time of DecodeFromCollector
// divided by what protobuf needs to parse the same bytes on an arena and do nothing with them. Both run in turns; the
// median of the rounds counts. Allocations are printed with it.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <google/protobuf/arena.h>

#include "clusterpulse/collector/v1/collector.pb.h"
#include "common/wire/messages.h"
#include "tests/bench/bench_row.h"
#include "tests/common/wire/sample_batch.h"
#include "tests/support/counted_allocations.h"

namespace clusterpulse::wire {
namespace {

constexpr int kNodes = 50, kLabels = 20;
constexpr double kMust = 1.0, kAim = 0.7;

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "wire_bench: %s\n", what);
  std::exit(1);
}

model::Batch MakeBatch() {
  model::Batch batch = FullBatch();
  model::Node node = batch.snapshot.nodes->front();
  batch.snapshot.nodes->clear();
  for (int i = 0; i < kNodes; ++i) {
    node.name = fmt::format("worker-{:03}.harbour.example.com", i);
    model::LabelsBuilder labels;
    for (int l = 0; l < kLabels; ++l) {
      labels.Add(fmt::format("topology.example.com/label-{:02}", l), fmt::format("value-{}-{}", i, l));
    }
    node.labels = labels.Build();
    batch.snapshot.nodes->push_back(node);
  }
  return batch;
}

struct Cost {
  double microseconds = 0, allocations = 0;  // a batch
};

template <typename Work>
Cost Measure(int batches, Work work) {
  const std::size_t allocations = testing::Allocations();
  timespec from{}, to{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
  for (int i = 0; i < batches; ++i) work();
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
  return {(static_cast<double>(to.tv_sec - from.tv_sec) * 1e6 + static_cast<double>(to.tv_nsec - from.tv_nsec) / 1e3) /
              batches,
          static_cast<double>(testing::Allocations() - allocations) / batches};
}

void DecodeOnce(const std::string& bytes) {
  const auto decoded = DecodeFromCollector(bytes);
  if (!decoded.ok() || !std::holds_alternative<model::Batch>(*decoded)) Fail("the batch cannot be decoded");
}

void ParseOnce(const std::string& bytes) {
  google::protobuf::Arena arena;
  auto* message = google::protobuf::Arena::CreateMessage<collector::v1::ConnectRequest>(&arena);
  if (!message->ParseFromString(bytes) || message->metrics().node_metrics_size() != kNodes) Fail("no message");
}

int Run(bool smoke) {
  const model::Batch batch = MakeBatch();
  const std::string bytes = Encode(batch);
  const auto decoded = DecodeFromCollector(bytes);
  if (!decoded.ok() || std::get<model::Batch>(*decoded) != batch) Fail("the batch does not come back as it went");

  std::vector<double> ours, peer;
  Cost decode, parse;
  for (int round = 0; round < (smoke ? 5 : 41); ++round) {
    decode = Measure(smoke ? 2 : 50, [&] { DecodeOnce(bytes); });
    parse = Measure(smoke ? 2 : 50, [&] { ParseOnce(bytes); });
    ours.push_back(decode.microseconds);
    peer.push_back(parse.microseconds);
  }
  const double ratio = bench::Median(ours) / bench::Median(peer);
  bench::PrintRow("wire_decode",
                  fmt::format("{} nodes, {} labels, {} bytes: {:.0f} us, {:.0f} allocations / parsed by protobuf alone "
                              "{:.0f} us, {:.0f} allocations = ratio {:.2f}",
                              kNodes, kLabels, bytes.size(), bench::Median(ours), decode.allocations,
                              bench::Median(peer), parse.allocations, ratio),
                  fmt::format("<= {:.2f}", kMust), fmt::format("{:.2f}", kAim));
  return smoke || ratio <= kMust ? 0 : 1;
}

}  // namespace
}  // namespace clusterpulse::wire

int main(int argc, char** argv) { return clusterpulse::wire::Run(argc > 1 && std::string_view(argv[1]) == "--smoke"); }
