// The writer's rules, against a server that answers as the test says.
#include "hub/history/victoria_metrics_writer.h"

#include <algorithm>
#include <atomic>
#include <set>

#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "common/base/testing/manual_clock.h"
#include "hub/history/sample_search.h"
#include "tests/common/wire/sample_batch.h"
#include "tests/hub/history/batches.h"
#include "tests/hub/history/fake_vm.h"
#include "tests/support/process.h"

namespace clusterpulse::history {
namespace {

using namespace std::chrono_literals;
using State = Ticket::State;
using testing::Eventually;

const base::SystemTime kMoment(std::chrono::milliseconds(1'700'000'000'123));

// A fake server and a writer to it, with short waits. Without a start to show, so that nothing waits for a look.
struct Rig {
  FakeVm vm;
  telemetry::Registry registry;
  VictoriaMetricsWriter::Options options;
  std::unique_ptr<VictoriaMetricsWriter> writer;
  base::Mutex mu;
  std::vector<std::string> log_lines ABSL_GUARDED_BY(mu);

  Rig() {
    options.server.proxy = {};
    options.linger = 5ms;
    options.durable_after = 200ms;
    options.search_patience = 200ms;
    options.retry = {.initial = 5ms, .max = 20ms};
    options.slow_retry = {.initial = 5ms, .max = 20ms};
    options.registry = &registry;
  }
  ~Rig() { writer.reset(); }

  void Create(const base::Clock& clock = base::SystemClock()) {
    options.server.endpoint = vm.url();
    log::Logger::Options log;
    log.sink = [this](std::string_view line) {
      base::MutexLock lock(mu);
      log_lines.emplace_back(line);
    };
    auto made = VictoriaMetricsWriter::Create(options, clock, base::SystemRandom(), log::Logger(std::move(log)));
    REQUIRE(made.ok());
    writer = *std::move(made);
  }
  void Start(const base::Clock& clock = base::SystemClock()) {
    Create(clock);
    REQUIRE(writer->Start().ok());
  }

  std::size_t LinesWith(std::string_view text) {
    base::MutexLock lock(mu);
    return static_cast<std::size_t>(std::count_if(log_lines.begin(), log_lines.end(), [&](const std::string& line) {
      return line.find(text) != std::string::npos;
    }));
  }
  // A metric as it is served; 0 when it is not there.
  double Metric(const std::string& series) {
    const std::string text = registry.Render();
    const std::size_t at = text.find("\n" + series + " ");
    return at == std::string::npos ? 0 : std::atof(text.c_str() + at + series.size() + 2);
  }
};

bool Reaches(const Ticket& ticket, State state) {
  return Eventually(10s, [&] { return ticket.Get().state == state; });
}

std::string LineOf(const std::string& cluster, int namespaces = 1) {
  return "clusterpulse_cluster_namespaces_total{cluster=\"" + cluster + "\"} " + std::to_string(namespaces) +
         " 1700000000123";
}

TEST_CASE("batches of several clusters go together, compressed, each with its own time") {
  Rig rig;
  rig.Create();
  std::vector<std::shared_ptr<const Ticket>> tickets;
  for (int i = 0; i < 20; ++i) {
    tickets.push_back(rig.writer->Write(SmallBatch("c" + std::to_string(i), kMoment + std::chrono::seconds(i), i)));
  }
  CHECK(tickets[0]->Get().state == State::kWaiting);
  REQUIRE(rig.writer->Start().ok());
  for (const auto& ticket : tickets) REQUIRE(Reaches(*ticket, State::kAccepted));
  const auto imports = rig.vm.imports();
  REQUIRE(imports.size() == 1);
  CHECK(imports[0].target == "/api/v1/import/prometheus");
  CHECK(imports[0].is_gzip);
  const auto taken = rig.vm.taken();
  REQUIRE(taken.size() == 20);
  CHECK(taken[0] == LineOf("c0", 0));
  CHECK(taken[19] == "clusterpulse_cluster_namespaces_total{cluster=\"c19\"} 19 1700000019123");
  CHECK(rig.Metric("clusterpulse_hub_history_samples_written_total") == 20);
  CHECK(rig.Metric("clusterpulse_hub_history_up") == 1);
  CHECK(Eventually(5s, [&] { return rig.Metric("clusterpulse_hub_history_queue_bytes") == 0; }));
  CHECK(rig.Metric("clusterpulse_hub_history_requests_total{result=\"ok\"}") == 1);
}

TEST_CASE("a body ends where it is large enough, and a large batch is one ticket of many pieces") {
  Rig rig;
  rig.options.body_bytes = 300 << 10;
  rig.options.senders = 1;
  rig.Create();
  const auto small = rig.writer->Write(SmallBatch("small", kMoment));
  const auto large = rig.writer->Write(NodeBatch("large", 500, kMoment));  // about 1 MiB of text
  REQUIRE(rig.writer->Start().ok());
  REQUIRE(Reaches(*large, State::kAccepted));
  CHECK(small->Get().state == State::kAccepted);
  const auto imports = rig.vm.imports();
  CHECK(imports.size() >= 3);
  for (const auto& import : imports) CHECK(import.lines.size() <= rig.options.body_bytes);
  const auto taken = rig.vm.taken();
  CHECK(taken.size() == 1 + 500 * kSamplesOfNode);
  CHECK(std::set<std::string>(taken.begin(), taken.end()).size() == taken.size());
}

TEST_CASE("what passes is tried again until it is taken, identical") {
  struct Case {
    std::string name;
    FakeVm::Reply reply;
  };
  const std::vector<Case> cases = {
      {"408", {.code = 408}},
      {"429", {.code = 429}},
      {"500", {.code = 500}},
      {"503", {.code = 503}},
      {"a broken connection", {.reset = true}},
      {"no answer", {.hang = true}},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      Rig rig;
      rig.options.request_timeout = 100ms;
      std::atomic<int> left = 3;
      rig.vm.SetScript([&](const FakeVm::Import&) { return left-- > 0 ? c.reply : FakeVm::Reply(); });
      rig.Start();
      const auto ticket = rig.writer->Write(SmallBatch("c", kMoment));
      REQUIRE(Reaches(*ticket, State::kAccepted));
      const auto imports = rig.vm.imports();
      REQUIRE(imports.size() == 4);
      for (const auto& import : imports) CHECK(import.lines == LineOf("c") + "\n");
      CHECK(rig.vm.taken().size() == 1);
      CHECK(rig.Metric("clusterpulse_hub_history_retries_total") == 3);
      CHECK(rig.writer->Status().ok());
      // Too short to be anybody's business.
      CHECK(rig.LinesWith("samples cannot be written") == 0);
    }
  }
}

TEST_CASE("while it fails there is no room for what was dropped before") {
  Rig rig;
  std::atomic<bool> fails = true;
  rig.vm.SetScript([&](const FakeVm::Import&) { return FakeVm::Reply{.code = fails ? 503 : 204, .body = "busy\nx"}; });
  rig.Start();
  CHECK(rig.writer->HasRoom());
  const auto ticket = rig.writer->Write(SmallBatch("c", kMoment));
  CHECK(Eventually(5s, [&] { return !rig.writer->HasRoom(); }));
  CHECK(rig.writer->Status() == absl::UnavailableError("HTTP 503: busy"));
  CHECK(rig.Metric("clusterpulse_hub_history_up") == 0);
  fails = false;
  REQUIRE(Reaches(*ticket, State::kAccepted));
  CHECK(rig.writer->HasRoom());
}

TEST_CASE("the server says when to come again") {
  Rig rig;
  std::atomic<int> calls = 0;
  base::SteadyTime first, second;
  rig.vm.SetScript([&](const FakeVm::Import&) -> FakeVm::Reply {
    (++calls == 1 ? first : second) = base::SystemClock().Steady();
    return calls == 1 ? FakeVm::Reply{.code = 429, .headers = "Retry-After: 1\r\n"} : FakeVm::Reply();
  });
  rig.Start();
  REQUIRE(Reaches(*rig.writer->Write(SmallBatch("c", kMoment)), State::kAccepted));
  REQUIRE(calls == 2);
  CHECK(second - first >= 1s);
}

TEST_CASE("what somebody must set right is said once, and waited for") {
  const int code = GENERATE(301, 401, 403, 404, 405);
  CAPTURE(code);
  Rig rig;
  std::atomic<bool> is_right = false;
  rig.vm.SetScript(
      [&](const FakeVm::Import&) { return FakeVm::Reply{.code = is_right ? 204 : code, .body = "go away"}; });
  rig.Start();
  const auto ticket = rig.writer->Write(SmallBatch("c", kMoment));
  CHECK(Eventually(5s, [&] { return rig.vm.imports().size() >= 3; }));
  CHECK(rig.writer->Status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(base::Message(rig.writer->Status()) == "HTTP " + std::to_string(code) + ": go away");
  CHECK(ticket->Get().state == State::kWaiting);
  CHECK_FALSE(rig.writer->HasRoom());
  is_right = true;
  REQUIRE(Reaches(*ticket, State::kAccepted));
  CHECK(rig.LinesWith("check its address and what it is accessed with") == 1);
  CHECK(rig.LinesWith("takes samples again") == 1);
}

TEST_CASE("only the batch that a server can never take is refused") {
  const int code = GENERATE(400, 413, 422);
  CAPTURE(code);
  Rig rig;
  rig.vm.SetScript([&](const FakeVm::Import& import) {
    return import.lines.find("bad") != std::string::npos ? FakeVm::Reply{.code = code, .body = "no\nreally"}
                                                         : FakeVm::Reply();
  });
  rig.Create();
  std::map<std::string, std::shared_ptr<const Ticket>> tickets;
  for (int i = 0; i < 50; ++i) {
    const std::string cluster = (i == 17 || i == 41 ? "bad" : "good") + std::to_string(i);
    tickets[cluster] = rig.writer->Write(SmallBatch(cluster, kMoment));
  }
  REQUIRE(rig.writer->Start().ok());
  for (const auto& [cluster, ticket] : tickets) {
    CAPTURE(cluster);
    const bool is_bad = cluster.starts_with("bad");
    REQUIRE(Reaches(*ticket, is_bad ? State::kRefused : State::kAccepted));
    CHECK(ticket->Get().why == (is_bad ? "HTTP " + std::to_string(code) + ": no" : ""));
  }
  CHECK(rig.vm.taken().size() == 48);
  // Two searches by halves in 50, and a look whether nothing at all would be refused too.
  CHECK(rig.vm.imports().size() <= 30);
  CHECK(rig.Metric("clusterpulse_hub_history_samples_refused_total{kind=\"server\"}") == 2);
  CHECK(rig.LinesWith("refuses the samples of a batch") == 1);
  CHECK(rig.writer->HasRoom());
}

TEST_CASE("a server that failed and then refuses a batch works") {
  Rig rig;
  std::atomic<int> posts = 0;
  rig.vm.SetScript([&](const FakeVm::Import& import) {
    if (posts++ == 0) return FakeVm::Reply{.code = 503, .body = "busy"};
    return FakeVm::Reply{.code = import.lines.empty() ? 204 : 400, .body = "no"};
  });
  rig.Start();
  const auto ticket = rig.writer->Write(SmallBatch("c", kMoment));
  REQUIRE(Reaches(*ticket, State::kRefused));
  CHECK(rig.writer->Status().ok());
  CHECK(rig.writer->HasRoom());
  CHECK(rig.Metric("clusterpulse_hub_history_up") == 1);
}

TEST_CASE("a server that refuses everything refuses no batch") {
  Rig rig;
  std::atomic<bool> is_right = false;
  rig.vm.SetScript(
      [&](const FakeVm::Import&) { return FakeVm::Reply{.code = is_right ? 204 : 400, .body = "no such tenant"}; });
  rig.Create();
  std::vector<std::shared_ptr<const Ticket>> tickets;
  for (int i = 0; i < 4; ++i) tickets.push_back(rig.writer->Write(SmallBatch("c" + std::to_string(i), kMoment)));
  REQUIRE(rig.writer->Start().ok());
  CHECK(Eventually(5s, [&] { return rig.writer->Status().code() == absl::StatusCode::kFailedPrecondition; }));
  for (const auto& ticket : tickets) CHECK(ticket->Get().state == State::kWaiting);
  is_right = true;
  for (const auto& ticket : tickets) REQUIRE(Reaches(*ticket, State::kAccepted));
  CHECK(rig.Metric("clusterpulse_hub_history_samples_refused_total{kind=\"server\"}") == 0);
}

TEST_CASE("one refused piece refuses its whole batch") {
  Rig rig;
  rig.vm.SetScript([&](const FakeVm::Import& import) {
    return import.lines.find("worker-499.") != std::string::npos ? FakeVm::Reply{.code = 413} : FakeVm::Reply();
  });
  rig.Start();
  const auto ticket = rig.writer->Write(NodeBatch("large", 500, kMoment));
  REQUIRE(Reaches(*ticket, State::kRefused));
  CHECK(ticket->Get().why == "HTTP 413");
}

TEST_CASE("a full queue drops at once, and says when there is room again") {
  Rig rig;
  rig.options.queue_bytes = 4096;
  rig.Create();
  std::vector<std::shared_ptr<const Ticket>> tickets;
  for (int i = 0; i < 40; ++i) tickets.push_back(rig.writer->Write(SmallBatch("c" + std::to_string(i), kMoment)));
  const auto dropped = std::count_if(tickets.begin(), tickets.end(),
                                     [](const auto& ticket) { return ticket->Get().state == State::kDropped; });
  CHECK(dropped > 20);
  CHECK(dropped < 36);
  CHECK_FALSE(rig.writer->HasRoom());
  CHECK(rig.Metric("clusterpulse_hub_history_samples_dropped_total{reason=\"full\"}") == dropped);
  CHECK(rig.Metric("clusterpulse_hub_history_queue_bytes") <= 4096);
  REQUIRE(rig.writer->Start().ok());
  REQUIRE(Reaches(*tickets[0], State::kAccepted));
  CHECK(Eventually(5s, [&] { return rig.writer->HasRoom(); }));
  CHECK(Reaches(*rig.writer->Write(SmallBatch("again", kMoment)), State::kAccepted));
}

TEST_CASE("batches without samples, and with none that can be stored") {
  Rig rig;
  rig.Create();
  model::Batch empty;
  empty.cluster = "c";
  const auto nothing = rig.writer->Write(empty);
  CHECK(nothing->Get().state == State::kAccepted);
  CHECK(nothing->Get().at <= rig.writer->Durable().until);
  CHECK(nothing->Get().continuity == rig.writer->Durable().continuity);

  const auto late = rig.writer->Write(SmallBatch("c", base::SystemClock().Now() + 48h));
  CHECK(late->Get().state == State::kRefused);
  CHECK(late->Get().why == "none of its 1 samples can be stored: time of clusterpulse_cluster_namespaces_total");
  model::Batch nameless = SmallBatch("\xff", kMoment);
  CHECK(rig.writer->Write(nameless)->Get().state == State::kRefused);
  rig.writer->Write(nameless);
  CHECK(rig.Metric("clusterpulse_hub_history_samples_refused_total{kind=\"label\"}") == 2);
  CHECK(rig.Metric("clusterpulse_hub_history_samples_refused_total{kind=\"time\"}") == 1);
  CHECK(rig.LinesWith("\"kind\":\"label\"") == 1);
  CHECK(rig.LinesWith("\"kind\":\"time\"") == 1);

  // What can be stored is, and the batch is accepted.
  REQUIRE(rig.writer->Start().ok());
  model::Batch mixed = wire::FullBatch();
  mixed.sources[0].aggregations["bad"] = std::numeric_limits<double>::infinity();
  REQUIRE(Reaches(*rig.writer->Write(mixed), State::kAccepted));
  CHECK(rig.Metric("clusterpulse_hub_history_samples_refused_total{kind=\"value\"}") == 1);
  CHECK(rig.vm.taken().size() == 33 + kSamplesOfNode);
}

TEST_CASE("a stop sends what is queued, and takes nothing new") {
  Rig rig;
  rig.options.linger = 60s;
  rig.Start();
  const auto ticket = rig.writer->Write(SmallBatch("c", kMoment));
  CHECK_FALSE(rig.writer->Stop(0ms));  // only asks
  CHECK(rig.writer->Stop(5s));
  CHECK(ticket->Get().state == State::kAccepted);
  CHECK(rig.writer->Write(SmallBatch("c", kMoment))->Get().state == State::kDropped);
  CHECK_FALSE(rig.writer->HasRoom());
  CHECK(rig.writer->Stop(5s));
}

TEST_CASE("a stop waits for nobody who does not answer") {
  Rig rig;
  rig.options.senders = 1;
  const bool hangs = GENERATE(true, false);
  CAPTURE(hangs);
  std::atomic<int> calls = 0;
  rig.vm.SetScript([&](const FakeVm::Import&) {
    ++calls;
    return hangs ? FakeVm::Reply{.hang = true} : FakeVm::Reply{.code = 503};
  });
  rig.options.retry = {.initial = 60s, .max = 60s};
  rig.Start();
  const auto sent = rig.writer->Write(SmallBatch("c", kMoment));
  REQUIRE(Eventually(5s, [&] { return calls > 0; }));
  const auto queued = rig.writer->Write(SmallBatch("d", kMoment));
  const auto begin = base::SystemClock().Steady();
  CHECK(rig.writer->Stop(1s));
  CHECK(base::SystemClock().Steady() - begin < 3s);
  CHECK(sent->Get().state == State::kDropped);
  CHECK(queued->Get().state == State::kDropped);
  CHECK(rig.Metric("clusterpulse_hub_history_samples_dropped_total{reason=\"stopped\"}") == 2);
}

TEST_CASE("a writer that never started drops what it has when it stops") {
  Rig rig;
  rig.Create();
  const auto ticket = rig.writer->Write(SmallBatch("c", kMoment));
  CHECK(rig.writer->Stop(1s));
  CHECK(ticket->Get().state == State::kDropped);
}

TEST_CASE("a server that shows no start is judged by time, which is said once") {
  Rig rig;
  rig.Start();
  const auto ticket = rig.writer->Write(SmallBatch("c", kMoment));
  REQUIRE(Reaches(*ticket, State::kAccepted));
  CHECK(rig.writer->Durable().until == base::SteadyTime::max());
  CHECK(rig.writer->Durable().continuity == ticket->Get().continuity);
  REQUIRE(Reaches(*rig.writer->Write(SmallBatch("d", kMoment)), State::kAccepted));
  CHECK(rig.LinesWith("durable by their age alone") == 1);
  CHECK(rig.Metric("clusterpulse_hub_history_durable_by_time") == 1);
}

TEST_CASE("a server is looked at before it is sent to, and until everything is durable") {
  Rig rig;
  rig.vm.SetStart(100);
  rig.Start();
  const auto ticket = rig.writer->Write(SmallBatch("c", kMoment));
  REQUIRE(Reaches(*ticket, State::kAccepted));
  CHECK(rig.vm.order().front() == "look");
  const auto outcome = ticket->Get();
  CHECK(Eventually(5s, [&] { return rig.writer->Durable().until >= outcome.at; }));
  CHECK(rig.writer->Durable().continuity == outcome.continuity);
  CHECK(base::SystemClock().Steady() >= outcome.at + rig.options.durable_after);

  // Started anew: what is sent from then on is of the new process.
  rig.vm.SetStart(200);
  const auto second = rig.writer->Write(SmallBatch("d", kMoment));
  REQUIRE(Reaches(*second, State::kAccepted));
  CHECK(Eventually(5s, [&] { return rig.writer->Durable().continuity != outcome.continuity; }));
}

TEST_CASE("after a failure a look comes first, so that what is sent then is not in doubt") {
  Rig rig;
  rig.vm.SetStart(100);
  std::atomic<bool> fails = false;
  rig.vm.SetScript([&](const FakeVm::Import&) -> FakeVm::Reply {
    if (!fails.exchange(false)) return {};
    rig.vm.SetStart(200);  // it is another one from now on
    return {.reset = true};
  });
  rig.options.durable_after = 60s;  // no look by the way
  rig.Start();
  const auto first = rig.writer->Write(SmallBatch("c", kMoment));
  REQUIRE(Reaches(*first, State::kAccepted));
  fails = true;
  const auto second = rig.writer->Write(SmallBatch("d", kMoment));
  REQUIRE(Reaches(*second, State::kAccepted));
  CHECK(first->Get().continuity != rig.writer->Durable().continuity);
  CHECK(second->Get().continuity == rig.writer->Durable().continuity);
}

TEST_CASE("a failure that lasts is said once, and its end too") {
  Rig rig;
  base::ManualClock clock;
  rig.options.linger = 0ms;
  std::atomic<bool> fails = true;
  rig.vm.SetScript([&](const FakeVm::Import&) { return FakeVm::Reply{.code = fails ? 500 : 204}; });
  rig.Start(clock);
  const auto ticket = rig.writer->Write(SmallBatch("c", clock.Now()));
  REQUIRE(Eventually(5s, [&] { return rig.vm.imports().size() >= 2; }));
  CHECK(rig.LinesWith("samples cannot be written") == 0);
  clock.AdvanceBy(10s);
  CHECK(Eventually(5s, [&] { return rig.LinesWith("samples cannot be written") == 1; }));
  CHECK(rig.Metric("clusterpulse_hub_history_lag_seconds") == 10);
  fails = false;
  REQUIRE(Reaches(*ticket, State::kAccepted));
  CHECK(rig.LinesWith("samples cannot be written") == 1);
  CHECK(rig.LinesWith("takes samples again") == 1);
}

const std::string kTwoTimes = R"({"metric":{},"values":[1,1],"timestamps":[1700000000123,1700000030123]})";

TEST_CASE("samples of before are found, and durable as if they had just been taken") {
  Rig rig;
  rig.vm.SetStart(100);
  rig.vm.SetExport([](const std::string&) { return FakeVm::Reply{.code = 200, .body = kTwoTimes}; });
  rig.Start();
  const auto found = rig.writer->Find({"c", kMoment - 30s, kMoment + 30s, 2});
  REQUIRE(Reaches(*found, State::kAccepted));
  REQUIRE(rig.vm.searches().size() == 1);
  CHECK(rig.vm.searches()[0] == SearchTarget({"c", kMoment - 30s, kMoment + 30s, 2}));
  const Ticket::Outcome outcome = found->Get();
  CHECK(Eventually(5s, [&] {
    const model::DurableMark mark = rig.writer->Durable();
    return mark.continuity == outcome.continuity && mark.until >= outcome.at;
  }));
  rig.vm.SetStart(200);
  const auto again = rig.writer->Find({"c", kMoment, kMoment + 30s, 1});
  REQUIRE(Reaches(*again, State::kAccepted));
  CHECK(again->Get().continuity != outcome.continuity);
}

TEST_CASE("samples that are not there are lost, but not before they could show") {
  Rig rig;
  const bool tells_start = GENERATE(false, true);
  if (tells_start) rig.vm.SetStart(100);
  rig.vm.SetExport([](const std::string&) { return FakeVm::Reply{.code = 200, .body = kTwoTimes}; });
  rig.Start();
  const auto begin = base::SystemClock().Steady();
  const auto lost = rig.writer->Find({"c", kMoment - 30s, kMoment + 60s, 3});
  REQUIRE(Reaches(*lost, State::kDropped));
  CHECK(base::SystemClock().Steady() - begin >= rig.options.search_patience);
  CHECK(rig.vm.searches().size() >= 2);
}

TEST_CASE("what is looked for may still be in the queue") {
  Rig rig;
  rig.vm.SetStart(100);
  std::atomic<bool> is_away = true;
  rig.vm.SetScript([&](const FakeVm::Import&) { return FakeVm::Reply{.code = is_away ? 503 : 204}; });
  rig.vm.SetExport([](const std::string&) { return FakeVm::Reply{.code = 200, .body = kTwoTimes}; });
  rig.Start();
  const auto written = rig.writer->Write(SmallBatch("c", kMoment));
  REQUIRE(Eventually(5s, [&] { return rig.vm.imports().size() >= 3; }));
  const auto found = rig.writer->Find({"c", kMoment - 30s, kMoment + 30s, 2});
  const int looks = rig.vm.looks();
  REQUIRE(Eventually(5s, [&] { return rig.vm.looks() >= looks + 3; }));
  CHECK(rig.vm.searches().empty());
  is_away = false;
  REQUIRE(Reaches(*found, State::kAccepted));
  CHECK(written->Get().state == State::kAccepted);
}

TEST_CASE("a server that does not answer searches now is asked again, one that never does not") {
  Rig rig;
  rig.vm.SetStart(100);
  std::atomic<int> answers = 0;
  const bool never = GENERATE(false, true);
  CAPTURE(never);
  rig.vm.SetExport([&](const std::string&) -> FakeVm::Reply {
    if (never) return {.code = 400, .body = "unsupported path"};
    if (answers++ < 2) return {.code = 503};
    return {.code = 200, .body = kTwoTimes};
  });
  rig.Start();
  const auto found = rig.writer->Find({"c", kMoment - 30s, kMoment + 30s, 2});
  REQUIRE(Reaches(*found, never ? State::kDropped : State::kAccepted));
  CHECK(rig.vm.searches().size() == (never ? 1 : 3));
  CHECK(rig.LinesWith("VM_QUERY_ENDPOINT") == (never ? 1 : 0));
}

TEST_CASE("searches may go to another address") {
  Rig rig;
  FakeVm select;
  select.SetExport([](const std::string&) { return FakeVm::Reply{.code = 200, .body = kTwoTimes}; });
  rig.options.query_endpoint = select.url() + "/select/0/prometheus";
  rig.vm.SetStart(100);
  rig.Start();
  REQUIRE(Reaches(*rig.writer->Find({"c", kMoment - 30s, kMoment + 30s, 2}), State::kAccepted));
  CHECK(rig.vm.searches().empty());
  REQUIRE(select.searches().size() == 1);
  CHECK(select.searches()[0].starts_with("/select/0/prometheus/api/v1/export?"));
  CHECK(select.looks() == 0);
}

TEST_CASE("what is older than the server keeps is refused, though it takes it") {
  Rig rig;
  const base::SystemTime now = base::SystemClock().Now();
  SECTION("as the server tells") {
    rig.vm.SetStart(100);
    rig.vm.SetRetention("2d");
  }
  SECTION("as is set") { rig.options.retention = 48h; }
  rig.Start();
  const auto old = rig.writer->Write(SmallBatch("c", now - 49h));
  const auto young = rig.writer->Write(SmallBatch("c", now - 47h));
  REQUIRE(Reaches(*old, State::kRefused));
  CHECK(old->Get().why == "older than the 2.0 days for which the history store keeps samples");
  REQUIRE(Reaches(*young, State::kAccepted));
  CHECK(rig.Metric("clusterpulse_hub_history_samples_refused_total{kind=\"retention\"}") == 1);
  CHECK(rig.Metric("clusterpulse_hub_history_samples_written_total") == 1);
  CHECK(rig.Metric("clusterpulse_hub_history_retention_seconds") == 2 * 86400);
  CHECK(rig.LinesWith("came too late") == 1);
  CHECK(rig.LinesWith("set VM_RETENTION") == 0);
}

TEST_CASE("a server that does not tell for how long it keeps samples is said once") {
  Rig rig;
  rig.vm.SetStart(100);
  rig.Start();
  REQUIRE(Reaches(*rig.writer->Write(SmallBatch("c", kMoment)), State::kAccepted));
  REQUIRE(Reaches(*rig.writer->Write(SmallBatch("d", kMoment)), State::kAccepted));
  CHECK(Eventually(5s, [&] { return rig.LinesWith("set VM_RETENTION") == 1; }));
  CHECK(rig.Metric("clusterpulse_hub_history_retention_seconds") == 0);
}

TEST_CASE("nothing waits for a server that is away") {
  Rig rig;
  rig.options.queue_bytes = 1 << 20;
  base::ManualClock clock;  // stands still: ages and waits do not matter
  rig.options.server.endpoint = "http://127.0.0.1:" + std::to_string(http::ClosedPort());
  auto writer = VictoriaMetricsWriter::Create(rig.options, clock, base::SystemRandom(), {});
  REQUIRE(writer.ok());
  REQUIRE((*writer)->Start().ok());
  const auto begin = base::SystemClock().Steady();
  for (int i = 0; i < 1000; ++i) (*writer)->Write(SmallBatch("c", kMoment));
  CHECK(base::SystemClock().Steady() - begin < 5s);
}

}  // namespace
}  // namespace clusterpulse::history
