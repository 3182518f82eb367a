// The writer against a real VictoriaMetrics.
#include <map>

#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "common/log/logger.h"
#include "hub/history/victoria_metrics_reader.h"
#include "hub/history/victoria_metrics_writer.h"
#include "tests/common/wire/sample_batch.h"
#include "tests/hub/history/batches.h"
#include "tests/support/tcp_proxy.h"
#include "tests/support/victoria_metrics_server.h"

namespace clusterpulse::history {
namespace {

using namespace std::chrono_literals;
using State = Ticket::State;
using testing::Eventually;
using testing::VictoriaMetricsServer;

base::SystemTime Moment(std::chrono::milliseconds after = 0ms) {
  // A real time: VictoriaMetrics ignores what is far from its own clock.
  static const auto start = std::chrono::floor<std::chrono::seconds>(base::SystemClock().Now());
  return start - 10min + 123ms + after;
}

VictoriaMetricsWriter::Options OptionsFor(const VictoriaMetricsServer& server) {
  VictoriaMetricsWriter::Options options;
  options.server.endpoint = server.url();
  options.server.username = server.username();
  options.server.password_file = server.password_file();
  options.server.tls_ca_file = server.ca_file();
  options.server.proxy = {};
  options.linger = 20ms;
  options.retry = {.initial = 50ms, .max = 500ms};
  return options;
}

std::unique_ptr<VictoriaMetricsWriter> StartWriter(VictoriaMetricsWriter::Options options) {
  auto writer = VictoriaMetricsWriter::Create(std::move(options), base::SystemClock(), base::SystemRandom(), {});
  REQUIRE(writer.ok());
  REQUIRE((*writer)->Start().ok());
  return *std::move(writer);
}

bool Reaches(const Ticket& ticket, State state, std::chrono::milliseconds limit = 10s) {
  return Eventually(limit, [&] { return ticket.Get().state == state; });
}

bool IsDurable(const VictoriaMetricsWriter& writer, const Ticket& ticket) {
  const Ticket::Outcome outcome = ticket.Get();
  const model::DurableMark mark = writer.Durable();
  return outcome.state == State::kAccepted && outcome.continuity == mark.continuity && outcome.at <= mark.until &&
         base::SystemClock().Steady() >= outcome.at + writer.DurableAfter();
}

TEST_CASE("every series arrives with the time of its collection, and copies become one") {
  const auto server = VictoriaMetricsServer::Start();
  if (server == nullptr) return;
  const auto writer = StartWriter(OptionsFor(*server));
  model::Batch batch = wire::FullBatch();
  batch.collected_at = Moment();
  batch.cluster = "a \"quoted\\\" name\nof two lines";
  std::map<std::string, double> values;
  for (int copy = 0; copy < 3; ++copy) {
    const auto ticket = writer->Write(batch);
    REQUIRE(Reaches(*ticket, State::kAccepted));
    server->Flush();  // so that the copies are in different parts of its storage
  }
  const auto all = server->Export("{__name__=~\"clusterpulse_.*\"}");
  CHECK(all.size() == 33 + kSamplesOfNode);
  for (const auto& series : all) {
    const std::string name = series.labels.at("__name__");
    CAPTURE(name);
    CHECK(series.labels.at("cluster") == batch.cluster);
    REQUIRE(series.samples.size() == 1);
    const auto age = series.labels.contains("source") ? batch.sources.front().age : std::chrono::milliseconds(0);
    CHECK(series.samples[0].first == StampOf(batch) - age.count());
    if (!series.labels.contains("node") || series.labels.at("node") == "worker-1") {
      values[name] = series.samples[0].second;
    }
  }
  CHECK(values.at("clusterpulse_node_cpu_usage_percent") == 43.33);
  CHECK(values.at("clusterpulse_node_memory_capacity_bytes") == 68719476736);
  CHECK(values.at("clusterpulse_custom_resource_ready") == 7.5);
  CHECK(writer->Stop(5s));
}

TEST_CASE("what was accepted becomes durable while the server lives") {
  const auto server = VictoriaMetricsServer::Start();
  if (server == nullptr) return;
  const auto writer = StartWriter(OptionsFor(*server));
  const auto ticket = writer->Write(NodeBatch("c", 5, Moment()));
  REQUIRE(Reaches(*ticket, State::kAccepted));
  CHECK_FALSE(IsDurable(*writer, *ticket));
  CHECK(Eventually(30s, [&] { return IsDurable(*writer, *ticket); }));
  // It is on disk now.
  server->Kill9();
  REQUIRE(server->Restart());
  CHECK(server->CountSamples("{cluster=\"c\"}") == 5 * kSamplesOfNode);
}

TEST_CASE("a server killed soon after it answered has lost samples, and their tickets are void") {
  const auto server = VictoriaMetricsServer::Start();
  if (server == nullptr) return;
  const auto writer = StartWriter(OptionsFor(*server));
  const auto first = writer->Write(NodeBatch("c", 5, Moment()));
  REQUIRE(Reaches(*first, State::kAccepted));
  server->Kill9();
  REQUIRE(server->Restart());
  server->Flush();
  CHECK(server->CountSamples("{cluster=\"c\"}") < 5 * kSamplesOfNode);
  CHECK(Eventually(10s, [&] { return writer->Durable().continuity != first->Get().continuity; }));
  CHECK_FALSE(IsDurable(*writer, *first));
  // Asked for again, it is there, and stays.
  const auto second = writer->Write(NodeBatch("c", 5, Moment()));
  REQUIRE(Reaches(*second, State::kAccepted));
  CHECK(Eventually(30s, [&] { return IsDurable(*writer, *second); }));
  CHECK_FALSE(IsDurable(*writer, *first));
  server->Kill9();
  REQUIRE(server->Restart());
  CHECK(server->CountSamples("{cluster=\"c\"}") == 5 * kSamplesOfNode);
}

model::Batch CountsBatch(const std::string& cluster, base::SystemTime at) {
  model::Batch batch = SmallBatch(cluster, at);
  batch.snapshot.counts.emplace();
  return batch;
}

TEST_CASE("what another process had sent is found, and what a crash took is not") {
  const auto server = VictoriaMetricsServer::Start();
  if (server == nullptr) return;
  auto options = OptionsFor(*server);
  options.durable_after = 4s;
  auto before = StartWriter(options);
  for (int i = 0; i < 3; ++i) {
    REQUIRE(Reaches(*before->Write(CountsBatch("a \"b\"", Moment(i * 30s))), State::kAccepted));
  }
  before.reset();
  SECTION("the hub alone was killed") {
    const auto writer = StartWriter(options);
    const auto found = writer->Find({"a \"b\"", Moment() - 30s, Moment(60s), 3});
    const auto more = writer->Find({"a \"b\"", Moment(), Moment(90s), 3});
    const auto other = writer->Find({"a", Moment() - 30s, Moment(60s), 1});
    CHECK(Reaches(*found, State::kAccepted, 30s));
    CHECK(Eventually(30s, [&] { return IsDurable(*writer, *found); }));
    CHECK(Reaches(*more, State::kDropped, 30s));
    CHECK(Reaches(*other, State::kDropped, 30s));
  }
  SECTION("both were") {
    server->Kill9();
    REQUIRE(server->Restart());
    const auto writer = StartWriter(options);
    CHECK(Reaches(*writer->Find({"a \"b\"", Moment() - 30s, Moment(60s), 3}), State::kDropped, 30s));
  }
}

TEST_CASE("samples older than the server's retention are refused, for it takes and forgets them") {
  const auto server = VictoriaMetricsServer::Start({.flags = {"-retentionPeriod=2d"}});
  if (server == nullptr) return;
  const auto writer = StartWriter(OptionsFor(*server));
  const auto old = writer->Write(SmallBatch("c", Moment() - 49h));
  const auto young = writer->Write(SmallBatch("c", Moment() - 47h));
  CHECK(Reaches(*old, State::kRefused));
  CHECK(Reaches(*young, State::kAccepted));
  server->Flush();
  CHECK(server->CountSamples("{cluster=\"c\"}") == 1);
}

TEST_CASE("while the server is away nothing blocks, and nothing is lost") {
  const auto server = VictoriaMetricsServer::Start();
  if (server == nullptr) return;
  const bool is_frozen = GENERATE(false, true);
  CAPTURE(is_frozen);
  auto options = OptionsFor(*server);
  options.request_timeout = 1s;
  options.look_timeout = 1s;
  const auto writer = StartWriter(options);
  REQUIRE(Reaches(*writer->Write(SmallBatch("c", Moment())), State::kAccepted));

  is_frozen ? server->Freeze() : server->Kill9();
  std::vector<std::shared_ptr<const Ticket>> tickets;
  std::chrono::nanoseconds longest{0};
  const auto begin = base::SystemClock().Steady();
  // Away for 5 s.
  Eventually(5s, [&] {
    const auto before = base::SystemClock().Steady();
    tickets.push_back(writer->Write(NodeBatch("c", 1, Moment(std::chrono::milliseconds(1 + tickets.size())))));
    longest = std::max(longest, base::SystemClock().Steady() - before);
    return false;
  });
  CHECK(base::SystemClock().Steady() - begin < 7s);
  CHECK(longest < 250ms);
  CHECK_FALSE(writer->Status().ok());
  CHECK_FALSE(writer->HasRoom());
  CHECK(tickets.back()->Get().state == State::kWaiting);

  if (is_frozen) {
    server->Resume();
  } else {
    REQUIRE(server->Restart());
  }
  for (const auto& ticket : tickets) REQUIRE(Reaches(*ticket, State::kAccepted));
  CHECK(Eventually(5s, [&] { return writer->HasRoom(); }));
  server->Flush();
  const auto series = server->Export("clusterpulse_node_pods_total{cluster=\"c\"}");
  REQUIRE(series.size() == 1);
  CHECK(series[0].samples.size() == tickets.size());
}

TEST_CASE("the reader answers what was written") {
  const auto server = VictoriaMetricsServer::Start();
  if (server == nullptr) return;
  const auto writer = StartWriter(OptionsFor(*server));
  // Names that would be something else in a query, and 20 rounds of two nodes each.
  const std::vector<std::string> clusters = {"plain", "a\"} or up{x=\"", "back\\slash|.*", "two\nlines"};
  std::vector<std::shared_ptr<const Ticket>> tickets;
  const base::SystemTime start = Moment();
  for (int round = 0; round < 20; ++round) {
    for (const std::string& cluster : clusters) {
      model::Batch batch = NodeBatch(cluster, 2, start + round * 15s);
      (*batch.snapshot.nodes)[0].pods.total = round;
      (*batch.snapshot.nodes)[1].pods.total = 100 + round;
      tickets.push_back(writer->Write(batch));
    }
  }
  for (const auto& ticket : tickets) REQUIRE(Reaches(*ticket, State::kAccepted));
  server->Flush();

  VmOptions options;
  options.endpoint = server->url();
  options.proxy = {};
  const auto made = VictoriaMetricsReader::Create(options, {});
  REQUIRE(made.ok());
  VictoriaMetricsReader& reader = **made;
  RangeQuery query;
  query.metric = "clusterpulse_node_pods_total";
  query.from = start + 45s;
  query.to = start + 4 * 60s + 45s;
  const auto points = [&](const Series& series) {
    std::vector<double> values;
    for (std::size_t i = 0; i < series.points.size(); ++i) {
      CHECK(series.points[i].at == query.from + i * query.step);
      values.push_back(series.points[i].value);
    }
    return values;
  };
  // Until what was flushed shows.
  REQUIRE(Eventually(10s, [&] {
    const auto answer = reader.Query(query, {});
    return answer.ok() && answer->series.size() == 2 * clusters.size();
  }));

  for (const std::string& cluster : clusters) {
    CAPTURE(cluster);
    query.matches = {{"cluster", {cluster}}, {"node", {"worker-0.example.com"}}};
    const auto last = reader.Query(query, {});
    REQUIRE(last.ok());
    REQUIRE(last->series.size() == 1);
    CHECK(last->series[0].labels.at("cluster") == cluster);
    CHECK(points(last->series[0]) == std::vector<double>{3, 7, 11, 15, 19});
  }
  query.matches = {{"cluster", clusters}, {"node", {"worker-1.example.com", "none", ""}}};
  query.across = Across::kSum;
  query.over_time = OverTime::kMax;
  const auto sum = reader.Query(query, {});
  REQUIRE(sum.ok());
  REQUIRE(sum->series.size() == 1);
  CHECK(sum->series[0].labels.empty());
  CHECK(points(sum->series[0]) == std::vector<double>{412, 428, 444, 460, 476});

  query.matches = {{"cluster", {clusters[1], clusters[2]}}};
  query.across = Across::kAvg;
  query.over_time = OverTime::kAvg;
  query.by = {"cluster"};
  const auto average = reader.Query(query, {});
  REQUIRE(average.ok());
  REQUIRE(average->series.size() == 2);
  CHECK(points(average->series[0]) == std::vector<double>{51.5, 55.5, 59.5, 63.5, 67.5});

  query.max_series = 1;
  CHECK(reader.Query(query, {}).status().code() == absl::StatusCode::kResourceExhausted);
  query.max_series = 1000;
  query.matches = {{"cluster", {".*"}}};
  CHECK(reader.Query(query, {})->series.empty());
}

TEST_CASE("authentication and TLS") {
  const auto server = VictoriaMetricsServer::Start({.auth = true, .tls = true});
  if (server == nullptr) return;
  SECTION("with both in order samples arrive and become durable") {
    auto options = OptionsFor(*server);
    options.durable_after = 1s;
    const auto writer = StartWriter(options);
    const auto ticket = writer->Write(SmallBatch("c", Moment()));
    REQUIRE(Reaches(*ticket, State::kAccepted));
    CHECK(Eventually(30s, [&] { return IsDurable(*writer, *ticket); }));
  }
  SECTION("a wrong password is said, and a new one taken from its file") {
    const testing::TempDir dir;
    testing::WriteFile(dir.File("password"), "wrong");
    auto options = OptionsFor(*server);
    options.server.password_file = dir.File("password");
    options.slow_retry = {.initial = 50ms, .max = 200ms};
    const auto writer = StartWriter(options);
    const auto ticket = writer->Write(SmallBatch("c", Moment()));
    CHECK(Eventually(10s, [&] { return writer->Status().code() == absl::StatusCode::kFailedPrecondition; }));
    CHECK(base::Message(writer->Status()).starts_with("HTTP 401"));
    CHECK(ticket->Get().state == State::kWaiting);
    testing::WriteFile(dir.File("password"), server->password());
    REQUIRE(Reaches(*ticket, State::kAccepted));
    CHECK(writer->Status().ok());
  }
  SECTION("a certificate of others is not trusted") {
    auto options = OptionsFor(*server);
    options.server.tls_ca_file = server->other_ca_file();
    const auto writer = StartWriter(options);
    const auto ticket = writer->Write(SmallBatch("c", Moment()));
    CHECK(Eventually(10s, [&] { return writer->Status().code() == absl::StatusCode::kFailedPrecondition; }));
    CHECK(ticket->Get().state == State::kWaiting);
  }
  server->Flush();
}

}  // namespace
}  // namespace clusterpulse::history
