#include "common/metricsource/table.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

namespace clusterpulse::metricsource {
namespace {

std::vector<Column> Columns() {
  return {{"state", Kind::kText},
          {"depth", Kind::kInt},
          {"ratio", Kind::kDouble},
          {"size", kNumbers},
          {"on<", Kind::kBool}};
}

std::string Values(const Table& table, std::size_t row) {
  std::string out;
  table.AppendValues(row, out);
  return out;
}

std::string Record(const Table& table, std::size_t row) {
  std::string out;
  table.AppendRecord(row, out);
  return out;
}

TEST_CASE("rows come back as they went in") {
  Table table(Columns());
  {
    const std::string text = "up & \"running\"";  // gone when it is read
    const std::vector<Value> row = {Value::Text(text), Value::Int(9007199254740993), Value::Double(0.5), Value::Int(7),
                                    Value::Bool(true)};
    const std::string labels = R"({"b":"2","a":"1"})";
    table.Append({.ns = std::string("shop"), .name = std::string("orders"), .labels = labels}, row);
  }
  const std::vector<Value> nulls(5, Value::Null());
  table.Append({.ns = "", .name = "node\t1", .labels = "{}"}, nulls);
  const std::vector<Value> other = {Value::Text(""), Value::Int(-1), Value::Double(1e21), Value::Double(2.5),
                                    Value::Bool(false)};
  table.Append({.ns = "shop", .name = "carts", .labels = ""}, other);
  REQUIRE(table.size() == 3);
  CHECK(Values(table, 0) ==
        R"({"state":"up \u0026 \"running\"","depth":9007199254740993,"ratio":0.5,"size":7,"on\u003c":true})");
  CHECK(Values(table, 1) == R"({"state":null,"depth":null,"ratio":null,"size":null,"on\u003c":null})");
  CHECK(Values(table, 2) == R"({"state":"","depth":-1,"ratio":1e+21,"size":2.5,"on\u003c":false})");
  CHECK(Record(table, 0) ==
        R"({"_id":"shop/orders","_namespace":"shop","_name":"orders","_labels":{"a":"1","b":"2"},"values":)" +
            Values(table, 0) + "}");
  CHECK(Record(table, 1) == R"({"_id":"node\t1","_name":"node\t1","values":)" + Values(table, 1) + "}");
  CHECK(table.Labels(0) == model::Labels{{"a", "1"}, {"b", "2"}});
  CHECK(table.Labels(1).empty());
  CHECK(table.meta(2).ns == "shop");
  CHECK(table.meta(2).name == "carts");
  std::vector<Value> row(5);
  table.ReadRow(0, row);
  CHECK(row[0].AsText() == "up & \"running\"");
  CHECK(row[1].AsInt() == 9007199254740993);
  CHECK(SameValue(table.At(2, 3), Value::Double(2.5)));
}

TEST_CASE("a table without columns has rows") {
  Table table({});
  table.Append({.name = "n"}, {});
  CHECK(Values(table, 0) == "{}");
  CHECK(table.size() == 1);
}

TEST_CASE("label sets have one form") {
  Table table({});
  for (const std::string_view labels :
       {R"({"a":"1","b":"2"})", R"({ "b" : "2", "\u0061":"0", "a":"1", "n":5})", R"({"a":"1","b":"2"})"}) {
    table.Append({.name = "n", .labels = labels}, {});
  }
  CHECK(table.meta(0).labels == R"({"a":"1","b":"2"})");
  CHECK(table.meta(1).labels.data() == table.meta(0).labels.data());
  CHECK(table.meta(2).labels.data() == table.meta(0).labels.data());
  // What is no object of texts is none.
  for (const std::string_view labels : {"{\"a\":", "[]", "{\"a\":1}"}) {
    table.Append({.name = "n", .labels = labels}, {});
    CHECK(table.meta(table.size() - 1).labels.empty());
  }
}

TEST_CASE("rows are read from JSON") {
  struct Case {
    std::string json, values;
  };
  const auto c = GENERATE(values<Case>({
      {R"({"state":"up","depth":3,"ratio":0.5,"size":7,"on<":true})",
       R"({"state":"up","depth":3,"ratio":0.5,"size":7,"on\u003c":true})"},
      {R"({"on<":true,"other":[1,{}],"size":7.5,"state":"up"})",
       R"({"state":"up","depth":null,"ratio":null,"size":7.5,"on\u003c":true})"},
      {R"({"depth":3.0,"ratio":3,"size":3.0})", R"({"state":null,"depth":3,"ratio":3,"size":3,"on\u003c":null})"},
      {R"({"depth":-0,"ratio":-0})", R"({"state":null,"depth":0,"ratio":-0,"size":null,"on\u003c":null})"},
      {R"({"depth":3.5,"ratio":"3","size":true,"state":5,"on<":1})",
       R"({"state":null,"depth":null,"ratio":null,"size":null,"on\u003c":null})"},
      {R"({"depth":1e300,"ratio":1e400,"size":9223372036854775807})",
       R"({"state":null,"depth":null,"ratio":null,"size":9223372036854775807,"on\u003c":null})"},
      {R"({"state":[ 1, "a b" ],"depth":[],"depth":2,"ratio":{}})",
       R"({"state":"[1,\"a b\"]","depth":2,"ratio":null,"size":null,"on\u003c":null})"},
      {R"({"st\u0061te":"\u00e9"})",
       "{\"state\":\"\xc3\xa9\",\"depth\":null,\"ratio\":null,\"size\":null,\"on\\u003c\":null}"},
      {R"({})", R"({"state":null,"depth":null,"ratio":null,"size":null,"on\u003c":null})"},
      {"", R"({"state":null,"depth":null,"ratio":null,"size":null,"on\u003c":null})"},
  }));
  CAPTURE(c.json);
  Table table(Columns());
  json::Parser parser;
  REQUIRE(table.AppendJson(parser, {.ns = "s", .name = "n"}, c.json).ok());
  REQUIRE(table.size() == 1);
  CHECK(Values(table, 0) == c.values);
  // A column holds only kinds that it can have: expressions rely on it.
  for (std::size_t i = 0; i < table.columns().size(); ++i) {
    CHECK(KindSet(table.At(0, i).kind()).IsOnly(table.columns()[i].kinds));
  }
}

TEST_CASE("what is no row adds none") {
  Table table(Columns());
  json::Parser parser;
  for (const std::string_view json : {"[]", "{\"state\":\"a\"", "{\"state\" 1}", "null", " "}) {
    CAPTURE(json);
    CHECK(absl::IsDataLoss(table.AppendJson(parser, {.name = "n"}, json)));
    CHECK(table.size() == 0);
  }
}

TEST_CASE("rows written are rows read") {
  Table table(Columns());
  for (int i = 0; i < 50; ++i) {
    const std::string state = fmt::format("s{}", i % 7);
    const std::vector<Value> row = {i % 5 == 0 ? Value::Null() : Value::Text(state), Value::Int(i * 1'000'000'007LL),
                                    Value::Double(i / 7.0), i % 2 == 0 ? Value::Int(i) : Value::Double(i + 0.25),
                                    Value::Bool(i % 3 == 0)};
    table.Append({.ns = "a", .name = fmt::format("n{}", i), .labels = R"({"k":"v"})"}, row);
  }
  Table copy(Columns());
  json::Parser parser;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::string name(table.meta(i).name);
    REQUIRE(copy.AppendJson(parser, {.ns = "a", .name = name, .labels = table.meta(i).labels}, Values(table, i)).ok());
    REQUIRE(Record(copy, i) == Record(table, i));
    for (std::size_t c = 0; c < table.columns().size(); ++c) {
      REQUIRE(copy.At(i, c).kind() == table.At(i, c).kind());
      REQUIRE(SameValue(copy.At(i, c), table.At(i, c)));
    }
  }
}

TEST_CASE("a large source is small in memory") {
  constexpr int kRows = 50'000;
  Table table({{"phase", Kind::kText},
               {"node", Kind::kText},
               {"ip", Kind::kText},
               {"cpu", kNumbers},
               {"memory", kNumbers},
               {"share", Kind::kDouble}});
  for (int i = 0; i < kRows; ++i) {
    const std::string node = fmt::format("worker-{:03}.harbour.example.com", i % 400);
    const std::string ip = fmt::format("10.128.{}.{}", i / 250, i % 250);
    const std::vector<Value> row = {Value::Text("Running"), Value::Text(node),
                                    Value::Text(ip),        i % 2 == 0 ? Value::Double(0.25) : Value::Int(1),
                                    Value::Int(i),          Value::Double(i / 3.0)};
    table.Append({.ns = fmt::format("team-{}", i % 300),
                  .name = fmt::format("workload-{:05}-7c9d5b8f6d-2xkqz", i),
                  .labels = fmt::format(R"({{"app":"workload-{}","pod-template-hash":"7c9d5b8f6d"}})", i % 5000)},
                 row);
  }
  CHECK(table.MemoryBytes() < std::size_t{14} << 20);
}

TEST_CASE("what the rows take written is known, however little they take here") {
  Table table({{"text", Kind::kText}, {"a\"b", kNumbers}, {"is", Kind::kBool}});
  std::size_t written = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string text = fmt::format("{}\n\"{}", std::string(2000, 'x'), i % 3);
    const std::vector<Value> row = {i % 5 == 0 ? Value::Null() : Value::Text(text),
                                    i % 2 == 0 ? Value::Int(i * -1'000'000'007LL) : Value::Double(i / 7.0),
                                    Value::Bool(i % 3 == 0)};
    table.Append({.ns = "team", .name = fmt::format("n{}", i), .labels = R"({"k":"v"})"}, row);
    written += Record(table, static_cast<std::size_t>(i)).size();
  }
  CHECK(table.MemoryBytes() < std::size_t{1} << 20);
  CHECK(static_cast<double>(table.WrittenBytes()) == Approx(static_cast<double>(written)).epsilon(0.03));
  CHECK_FALSE(table.IsFull());
}

}  // namespace
}  // namespace clusterpulse::metricsource
