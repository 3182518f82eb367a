#include "hub/history/victoria_metrics_reader.h"

#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "tests/common/http/testing/raw_server.h"

namespace clusterpulse::history {
namespace {

using namespace std::chrono_literals;
using Code = absl::StatusCode;

base::SystemTime At(std::chrono::milliseconds ms) { return base::SystemTime(ms); }

RangeQuery Query() {
  RangeQuery query;
  query.metric = "m";
  query.matches = {{"cluster", {"a b"}}};
  query.from = At(1'700'000'000'250ms);
  query.to = query.from + 10min;
  query.timeout = 5s;
  return query;
}

absl::StatusOr<RangeAnswer> Parse(std::string_view text, const RangeQuery& query = Query()) {
  json::Buffer buffer;
  buffer.Assign(text);
  return ParseRangeAnswer(buffer, query);
}

constexpr std::string_view kAnswer =
    R"({"status":"success","isPartial":false,"data":{"resultType":"matrix","result":[)"
    R"({"metric":{"__name__":"m","cluster":"a","node":"n\"1"},"values":[[1700000000.25,"1.5"],[1700000060.25,"-2e+30"]]},)"
    R"({"metric":{},"values":[[1700000000,"NaN"],[1700000060,"+Inf"],[1700000120,"7"]]},)"
    R"({"metric":{"cluster":"b"},"values":[]}]},"stats":{"seriesFetched":"3"}})";

TEST_CASE("an answer becomes series") {
  const auto answer = Parse(kAnswer);
  REQUIRE(answer.ok());
  const RangeAnswer expected{.series = {{.labels = {{"cluster", "a"}, {"node", "n\"1"}},
                                         .points = {{At(1'700'000'000'250ms), 1.5}, {At(1'700'000'060'250ms), -2e30}}},
                                        {.labels = {}, .points = {{At(1'700'000'120'000ms), 7}}},
                                        {.labels = {{"cluster", "b"}}, .points = {}}}};
  CHECK(*answer == expected);
  CHECK(Parse(R"({"status":"success","isPartial":true,"data":{"result":[]}})")->is_partial);
}

TEST_CASE("an answer is bounded, and no answer is none") {
  RangeQuery few = Query();
  few.max_series = 2;
  CHECK(Parse(kAnswer, few).status().code() == Code::kResourceExhausted);
  RangeQuery short_ones = Query();
  short_ones.max_points = 1;
  CHECK(Parse(kAnswer, short_ones).status().code() == Code::kResourceExhausted);
  const auto with_values = [](std::string_view values) {
    return R"({"data":{"result":[{"metric":{},"values":)" + std::string(values) + "}]}}";
  };
  for (const std::string& bad :
       {std::string(), std::string("x"), std::string("[]"), std::string("{}"), std::string(R"({"data":{}})"),
        std::string(R"({"data":{"result":{}}})"), std::string(kAnswer.substr(0, 200)), with_values("[[1]]"),
        with_values(R"([["1","2"]])"), with_values("[[1,2]]"), with_values(R"([[1,"2",3]])"),
        with_values(R"([[-1,"2"]])"), with_values(R"([[1e300,"2"]])"), with_values(R"([[2,"2"],[1,"2"]])")}) {
    CAPTURE(bad);
    CHECK(Parse(bad).status().code() == Code::kDataLoss);
  }
}

struct Asked {
  absl::StatusOr<RangeAnswer> answer;
  std::string request;
};
Asked Ask(const RangeQuery& query, int code, const std::string& body) {
  http::RawServer server([&](http::RawServer::Connection& connection, int) {
    while (!connection.ReadRequest().empty()) connection.Answer(body, code);
  });
  auto reader = VictoriaMetricsReader::Create({.endpoint = server.url() + "/select/3/prometheus", .proxy = {}}, {});
  REQUIRE(reader.ok());
  Asked asked{.answer = (*reader)->Query(query, {})};
  if (!server.requests().empty()) asked.request = server.requests().front();
  return asked;
}

TEST_CASE("a query is one request with everything in its form") {
  const Asked asked = Ask(Query(), 200, std::string(kAnswer));
  REQUIRE(asked.answer.ok());
  CHECK(asked.answer->series.size() == 3);
  CHECK(asked.request.starts_with("POST /select/3/prometheus/api/v1/query_range HTTP/1.1\r\n"));
  CHECK(asked.request.find("Content-Type: application/x-www-form-urlencoded\r\n") != std::string::npos);
  CHECK(
      asked.request.ends_with("\r\n\r\nquery=limitk%281001%2C%20last_over_time%28m%7Bcluster%3D%22a%20b%22%7D%5B60s%5D"
                              "%29%29&start=1700000000.250&end=1700000600.250&step=60s&nocache=1&timeout=4750ms"));
}

TEST_CASE("what matches nothing is not asked") {
  RangeQuery query = Query();
  query.matches.push_back({"node", {}});
  const Asked asked = Ask(query, 500, "");
  REQUIRE(asked.answer.ok());
  CHECK(asked.answer->series.empty());
  CHECK(asked.request.empty());
}

TEST_CASE("errors say what to do") {
  struct Case {
    int http;
    Code code;
  };
  const std::vector<Case> cases = {
      {401, Code::kUnauthenticated},    {403, Code::kPermissionDenied},  {404, Code::kFailedPrecondition},
      {400, Code::kFailedPrecondition}, {408, Code::kDeadlineExceeded},  {413, Code::kResourceExhausted},
      {422, Code::kResourceExhausted},  {429, Code::kUnavailable},       {500, Code::kUnavailable},
      {503, Code::kUnavailable},        {302, Code::kFailedPrecondition}};
  for (const Case& c : cases) {
    CAPTURE(c.http);
    const Asked asked = Ask(Query(), c.http, "sorry\n");
    CHECK(asked.answer.status().code() == c.code);
    CHECK(base::Message(asked.answer.status()) ==
          "the history store answers HTTP " + std::to_string(c.http) + ": sorry?");
  }
  RangeQuery bad = Query();
  bad.metric = "no name";
  CHECK(Ask(bad, 200, "").answer.status().code() == Code::kInvalidArgument);
  auto reader = VictoriaMetricsReader::Create(
      {.endpoint = "http://127.0.0.1:" + std::to_string(http::ClosedPort()), .proxy = {}}, {});
  REQUIRE(reader.ok());
  CHECK((*reader)->Query(Query(), {}).status().code() == Code::kUnavailable);
  std::stop_source stop;
  stop.request_stop();
  CHECK((*reader)->Query(Query(), stop.get_token()).status().code() == Code::kCancelled);
}

}  // namespace
}  // namespace clusterpulse::history
