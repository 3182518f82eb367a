// What a collector lives through besides its hub: a disk that is full or broken, and clocks that are set by an hour,
// its own and the hub's. Data goes on all the while, what is wrong is said, and nothing durable is lost.
#include <filesystem>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "tests/kubesim/fleet.h"
#include "tests/soak/delivery_evidence.h"
#include "tests/soak/delivery_rig.h"
#include "tests/support/small_disk.h"

namespace clusterpulse::testing {
namespace {

using std::chrono::seconds;
using Breach = DeliveryVerdict::Breach;

constexpr const char *kFull = "cluster-1", *kBroken = "cluster-2", *kClock = "cluster-3";
constexpr std::uint64_t kDiskBytes = std::uint64_t{8} << 20;

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// A clock that a test sets: programs with Env() have it, so many seconds off this machine's.
class WrongClock {
 public:
  WrongClock() { Set(0); }
  void Set(std::int64_t offset_seconds) {
    // In place: it is mapped.
    const int fd = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (::pwrite(fd, &offset_seconds, sizeof(offset_seconds), 0) != sizeof(offset_seconds)) std::abort();
    ::close(fd);
  }
  std::map<std::string, std::string> Env() const {
    return {{"LD_PRELOAD", BinDir() + "/wrong_clock.so"}, {"WRONG_CLOCK", file_}};
  }

 private:
  TempDir dir_;
  const std::string file_ = dir_.File("offset");
};

// Changes show, whatever the spool does.
void CheckChangeShown(DeliveryRig& rig, const std::string& cluster, bool ready) {
  CAPTURE(cluster, ready);
  REQUIRE(kubesim::SetNodeReady(rig.Cluster(cluster).store(), "node-2", ready).ok());
  CHECK(Eventually(seconds(15), [&] {
    return rig.Redis({"HGET", "cluster:" + cluster + ":node:node-2", "status"}) == (ready ? "Ready" : "NotReady");
  }));
}

// What became durable while nothing could be recorded is known to nobody here.
DeliveryVerdict Check(DeliveryRig& rig, const std::string& cluster, bool all_recorded) {
  CAPTURE(cluster);
  const DeliveryVerdict verdict = ProveDelivery(rig, cluster);
  INFO(verdict.ToString());
  CHECK(verdict.samples > 0);
  for (const auto& violation : verdict.violations) {
    const bool is_unrecorded = violation.breach == Breach::kUnknown || violation.breach == Breach::kWrongTime;
    CHECK((!all_recorded && is_unrecorded));
  }
  return verdict;
}

TEST_CASE("disks that are full or broken, and clocks that are set by an hour") {
  const auto disk = SmallDisk::Create(kDiskBytes);
  if (disk == nullptr) return;
  TempDir trouble;
  WrongClock collector_clock, hub_clock;
  DeliveryRig::Options options{.hubs = 1, .clusters = 3, .churn = 1, .hub_env = hub_clock.Env()};
  options.collector_env["BUFFER_SIZE"] = "200";
  options.collectors[kFull].spool_dir = disk->File("spool");
  options.collectors[kFull].env = {{"SPOOL_MAX_AGE", "160"}};  // a new segment, which needs room, every 10 s
  options.collectors[kBroken].spool_dir = trouble.File("spool");
  options.collectors[kBroken].env = {{"LD_PRELOAD", BinDir() + "/faulty_disk.so"},
                                     {"FAULTY_DISK_DIR", trouble.File("spool")},
                                     {"FAULTY_DISK_WHILE", trouble.File("broken")}};
  options.collectors[kClock].env = collector_clock.Env();
  const auto rig = DeliveryRig::Start(options);
  if (rig == nullptr) return;
  const auto collector = [&](const char* cluster) { return rig->CollectorOf(cluster); };
  for (const std::string& cluster : rig->clusters()) {
    CAPTURE(cluster);
    CHECK(Eventually(seconds(60), [&] { return rig->Condition(cluster, "CollectorConnected", "status") == "True"; }));
    const bool is_spooled =
        Eventually(seconds(60), [&] { return rig->Metric(rig->CollectorOf(cluster), "spooled_batches") > 0; });
    INFO(rig->Log(rig->CollectorOf(cluster)));
    REQUIRE(is_spooled);
  }

  // Both disks fail; one clock goes forward.
  disk->Fill();
  WriteFile(trouble.File("broken"), "");
  collector_clock.Set(3600);
  for (const char* cluster : {kFull, kBroken}) {
    CAPTURE(cluster);
    CHECK(Eventually(seconds(20), [&] { return rig->Metric(collector(cluster), "memory_only") == 1; }));
    CHECK(rig->Metric(collector(cluster), "spool_errors_total") > 0);
    const HttpAnswer ready = rig->Probe(collector(cluster), "/readyz?verbose");
    CAPTURE(ready.body);
    CHECK(ready.code == 200);
    CHECK(Contains(ready.body, "in memory only"));
    CHECK(Contains(rig->Log(collector(cluster)), "spool"));
  }
  CHECK(rig->Metric(collector(kClock), "memory_only") == 0);
  for (const bool ready : {false, true}) {
    for (const std::string& cluster : rig->clusters()) CheckChangeShown(*rig, cluster, ready);
  }
  // What is made meanwhile becomes durable from memory.
  const double durable = rig->Metric(collector(kFull), "batches_durable_total");
  CHECK(Eventually(seconds(40), [&] { return rig->Metric(collector(kFull), "batches_durable_total") > durable + 2; }));

  // The disks work again, the clock goes back, and further.
  disk->Free();
  std::filesystem::remove(trouble.File("broken"));
  collector_clock.Set(-3600);
  hub_clock.Set(3600);
  for (const char* cluster : {kFull, kBroken}) {
    CAPTURE(cluster);
    CHECK(Eventually(seconds(90), [&] { return rig->Metric(collector(cluster), "memory_only") == 0; }));
    CHECK(rig->Metric(collector(cluster), "batches_lost_total") == 0);
  }
  for (const bool ready : {false, true}) {
    for (const std::string& cluster : rig->clusters()) CheckChangeShown(*rig, cluster, ready);
  }
  hub_clock.Set(-3600);
  for (const std::string& cluster : rig->clusters()) {
    CheckChangeShown(*rig, cluster, false);
    rig->Cluster(cluster).SetChurn(0);
  }
  CHECK(WaitUntilDurable(*rig, rig->clusters(), seconds(60)) == "");
  CHECK(Check(*rig, kFull, false).counts.size() == 1);
  CHECK(Check(*rig, kBroken, false).counts.size() == 1);
  CHECK(Check(*rig, kClock, true).counts.size() == 1);
  for (const std::string& cluster : rig->clusters()) {
    std::string difference;
    CHECK(Eventually(seconds(30), [&] { return (difference = rig->StateDifference(cluster)).empty(); }));
    CAPTURE(cluster, difference);
    CHECK(rig->Condition(cluster, "CollectorConnected", "status") == "True");
    CHECK(rig->Metric(rig->CollectorOf(cluster), "batches_rejected_total") == 0);
  }
  // The numbers of before go on after it, on the disk again.
  rig->Kill(collector(kFull));
  rig->Launch(collector(kFull));
  CHECK(WaitUntilDurable(*rig, {kFull}, seconds(60)) == "");
  CHECK(Check(*rig, kFull, false).counts.size() == 1);
}

}  // namespace
}  // namespace clusterpulse::testing
