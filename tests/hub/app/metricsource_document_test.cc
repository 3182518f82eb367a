// Runs the examples of docs/metricsource.md. A block is an example when a comment before it says so:
//
//   <!-- source NAME -->   a MetricSource; without a `check` it must compile without a warning
//   <!-- check NAME -->    what `metricsource check` says of it
//   <!-- objects NAME -->  a list of objects of its kind
//   <!-- try NAME -->      what `metricsource try` shows on a cluster that has them; times and bytes do not count
//   <!-- object NAME -->   an object, for the table of paths behind it
//
// A table is one when its header is one of those below.
#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include <catch2/catch.hpp>

#include "common/metricsource/convert.h"
#include "common/metricsource/expression.h"
#include "common/metricsource/functions.h"
#include "hub/app/source_file.h"
#include "hub/app/yaml.h"
#include "tests/hub/app/command_fixture.h"
#include "tests/hub/app/source_rig.h"

namespace clusterpulse::app {
namespace {

using metricsource::Diagnostics;
using metricsource::Source;
using Row = std::vector<std::string>;

constexpr std::string_view kNow = "2031-02-03T04:05:06Z";

std::string Trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(' ');
  return first == std::string_view::npos ? "" : std::string(text.substr(first, text.find_last_not_of(' ') - first + 1));
}

// The cells of a line of a table, without backquotes; \| is a bar.
Row Cells(const std::string& line) {
  Row cells;
  std::string cell;
  for (std::size_t i = 1; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size() && line[i + 1] == '|') {
      cell += line[++i];
    } else if (line[i] == '|') {
      cell = Trimmed(cell);
      if (cell.size() > 1 && cell.front() == '`' && cell.back() == '`') cell = cell.substr(1, cell.size() - 2);
      cells.push_back(std::move(cell));
      cell.clear();
    } else {
      cell += line[i];
    }
  }
  return cells;
}

struct Document {
  std::map<std::string, std::string> blocks;       // "source queues"
  std::map<std::string, std::vector<Row>> tables;  // by header; those with the same one together

  const std::string& Block(const std::string& name) const {
    CAPTURE(name);
    REQUIRE(blocks.contains(name));
    return blocks.at(name);
  }
  const std::vector<Row>& Table(const std::string& header) const {
    CAPTURE(header);
    REQUIRE(tables.contains(header));
    return tables.at(header);
  }
};

Document Read() {
  Document out;
  std::ifstream file(std::string(CLUSTERPULSE_SOURCE_DIR) + "/docs/metricsource.md");
  REQUIRE(file);
  std::string line, marker;
  std::vector<Row>* table = nullptr;
  while (std::getline(file, line)) {
    if (line.starts_with("<!-- ")) {
      marker = line.substr(5, line.find(" -->") - 5);
    } else if (line.starts_with("```")) {
      std::string text;
      while (std::getline(file, line) && line != "```") text += line + "\n";
      if (!marker.empty()) CHECK(out.blocks.emplace(marker, text).second);
      marker.clear();
    } else if (!line.starts_with("|")) {
      table = nullptr;
    } else if (table == nullptr) {
      table = &out.tables[line];
      std::getline(file, line);  // |---|
    } else {
      table->push_back(Cells(line));
    }
  }
  return out;
}

json::Value ParseJson(const std::string& text) {
  auto value = json::Value::Parse(text);
  CAPTURE(text, value.status());
  REQUIRE(value.ok());
  return *std::move(value);
}

std::string JsonOf(metricsource::Value value) {
  std::string text;
  metricsource::AppendText(text, value);
  return value.IsNull() ? "null" : value.IsText() ? json::Value(text).Dump() : text;
}

// One field "x" of a source on pods, and what else the spec has.
std::shared_ptr<const Source> OneField(const std::string& path, const std::string& type,
                                       const std::optional<std::string>& fallback, const json::Value& aggregations) {
  json::Value field;
  field.Mutable("name") = "x";
  field.Mutable("path") = path;
  field.Mutable("type") = type;
  if (fallback) field.Mutable("default") = *fallback;
  json::Value spec;
  spec.Mutable("source") = ParseJson(R"({"apiVersion":"v1","kind":"Pod"})");
  spec.Mutable("fields") = json::Value::Array{std::move(field)};
  spec.Mutable("aggregations") = aggregations;
  Diagnostics diagnostics;
  auto source = metricsource::Compile("hub", "doc", metricsource::ReadSpec(spec, diagnostics), diagnostics);
  CAPTURE(path, type, diagnostics.Summary());
  REQUIRE(source != nullptr);
  return source;
}

// What it gives of the objects: rows, aggregations.
struct Given {
  std::vector<std::string> values;
  json::Value aggregations;
};
Given RunOn(const Source& source, const std::vector<json::Value>& objects) {
  kube::FakeKubeApi api;
  json::Value::Array pods;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    json::Value pod = objects[i];
    pod.Mutable("metadata").Mutable("namespace") = "a";
    if (pod["metadata"]["name"].IsNull()) pod.Mutable("metadata").Mutable("name") = fmt::format("p{:03}", i);
    pods.push_back(std::move(pod));
  }
  ServeObjects(api, source, pods);
  const auto run = RunAt(api, source, *metricsource::ParseTimestamp(kNow));
  Given out;
  for (std::size_t i = 0; i < run.rows.size(); ++i) out.values.push_back(JsonOf(run.rows.At(i, 0)));
  out.aggregations = AggregationsOf(source, run);
  return out;
}

json::Value ObjectWith(json::Value x) {
  json::Value object;
  object.Mutable("spec").Mutable("x") = std::move(x);
  return object;
}

TEST_CASE("the sources of docs/metricsource.md are what check says") {
  const Document document = Read();
  int sources = 0;
  for (const auto& [marker, text] : document.blocks) {
    if (!marker.starts_with("source ")) continue;
    ++sources;
    DYNAMIC_SECTION(marker) {
      const std::string name = marker.substr(7);
      const Folder folder;
      CommandFixture f;
      const int code = f.Execute({"metricsource", "check", folder.Write(name + ".yaml", text)});
      const auto expected = document.blocks.find("check " + name);
      if (expected == document.blocks.end()) {
        CHECK(code == 0);
        CHECK(f.err.str() == "");
        return;
      }
      CHECK(code == 1);
      CHECK(folder.Local(f.err.str()) == expected->second);
    }
  }
  CHECK(sources >= 3);
}

TEST_CASE("what docs/metricsource.md shows of try is what it shows") {
  const Document document = Read();
  int shown = 0;
  for (const auto& [marker, text] : document.blocks) {
    if (!marker.starts_with("try ")) continue;
    ++shown;
    const std::string name = marker.substr(4);
    const Folder folder;
    const std::string file = folder.Write(name + ".yaml", document.Block("source " + name));
    const auto checked = CheckSourceFile(file, "clusterpulse");
    REQUIRE(checked.ok());
    REQUIRE(checked->front().source != nullptr);
    const auto objects = YamlToJson(document.Block("objects " + name));
    REQUIRE(objects.ok());
    CommandFixture f;
    ServeObjects(f.kube, *checked->front().source, objects->front());
    CHECK(f.Execute({"metricsource", "try", file}) == 0);
    CHECK(f.err.str() == "");
    CHECK(WithoutCosts(f.out.str()) == WithoutCosts(text));
  }
  CHECK(shown == 1);
}

TEST_CASE("the paths of docs/metricsource.md lead where it says") {
  const Document document = Read();
  const auto object = YamlToJson(document.Block("object paths"));
  REQUIRE(object.ok());
  for (const Row& row : document.Table("| path | type | default | value |")) {
    CAPTURE(row);
    REQUIRE(row.size() == 4);
    const auto source = OneField(row[0], row[1], row[2] == "-" ? std::nullopt : std::optional(row[2]), {});
    CHECK(RunOn(*source, {object->front()}).values == std::vector<std::string>{row[3]});
  }
}

TEST_CASE("the types of docs/metricsource.md are what it says") {
  const Document document = Read();
  std::set<std::string> types;
  for (const Row& row : document.Table("| type | the object has | the field is |")) {
    CAPTURE(row);
    REQUIRE(row.size() == 3);
    types.insert(row[0]);
    const auto source = OneField(".spec.x", row[0], std::nullopt, {});
    CHECK(RunOn(*source, {ObjectWith(ParseJson(row[1]))}).values == std::vector<std::string>{row[2]});
  }
  CHECK(types.size() == metricsource::FieldTypeNames().size());
}

// Columns and values out of `a=3, b="x"`.
struct Fields {
  explicit Fields(std::string_view text) {
    while (!text.empty()) {
      const std::size_t equals = text.find('=');
      REQUIRE(equals != std::string_view::npos);
      std::size_t end = equals + 1;
      for (bool quoted = false; end < text.size() && (quoted || text[end] != ','); ++end) quoted ^= text[end] == '"';
      Add(Trimmed(text.substr(0, equals)), ParseJson(Trimmed(text.substr(equals + 1, end - equals - 1))));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }
  void Add(std::string name, const json::Value& value) {
    using metricsource::Kind;
    if (value.IsString()) {
      texts.push_back(std::make_unique<std::string>(value.StringOr()));
      columns.push_back({std::move(name), Kind::kText, false});
      row.push_back(metricsource::Value::Text(*texts.back()));
    } else if (value.IsInt()) {
      columns.push_back({std::move(name), Kind::kInt, false});
      row.push_back(metricsource::Value::Int(value.IntOr()));
    } else if (value.IsNumber()) {
      columns.push_back({std::move(name), Kind::kDouble, false});
      row.push_back(metricsource::Value::Double(value.DoubleOr()));
    } else if (value.IsBool()) {
      columns.push_back({std::move(name), Kind::kBool, false});
      row.push_back(metricsource::Value::Bool(value.BoolOr()));
    } else {
      columns.push_back({std::move(name), metricsource::kAnyKind, false});
      row.push_back(metricsource::Value::Null());
    }
  }
  std::vector<metricsource::Column> columns;
  std::vector<metricsource::Value> row;
  std::vector<std::unique_ptr<std::string>> texts;
};

TEST_CASE("the expressions of docs/metricsource.md give what it says, all functions among them") {
  const Document document = Read();
  std::set<std::string> unseen;
  for (const std::string_view name : metricsource::FunctionNames()) unseen.emplace(name);
  for (const Row& row : document.Table("| expression | fields | result |")) {
    CAPTURE(row);
    REQUIRE(row.size() == 3);
    Fields fields(row[1]);
    Diagnostics diagnostics;
    const auto expression = metricsource::Expression::Compile(row[0], fields.columns, "", diagnostics);
    CAPTURE(diagnostics.Summary());
    REQUIRE(expression);
    CHECK(diagnostics.items().empty());
    metricsource::TextArena arena;
    metricsource::EvaluationContext context(arena, *metricsource::ParseTimestamp(kNow));
    context.BeginRow();
    CHECK(JsonOf(expression->Evaluate(fields.row, context)) == row[2]);
    std::erase_if(unseen, [&](const std::string& name) { return row[0].find(name + "(") != std::string::npos; });
  }
  CHECK(unseen == std::set<std::string>());
}

TEST_CASE("the errors of docs/metricsource.md are what an author gets") {
  const Document document = Read();
  for (const Row& row : document.Table("| expression | fields | error |")) {
    CAPTURE(row);
    REQUIRE(row.size() == 3);
    const Fields fields(row[1]);
    Diagnostics diagnostics;
    CHECK_FALSE(metricsource::Expression::Compile(row[0], fields.columns, "", diagnostics));
    REQUIRE_FALSE(diagnostics.items().empty());
    CHECK(diagnostics.items().front().ToString() == ":" + row[2]);
  }
}

TEST_CASE("the aggregations of docs/metricsource.md give what it says") {
  const Document document = Read();
  std::set<std::string> functions;
  for (const Row& row : document.Table("| function | of | result |")) {
    CAPTURE(row);
    REQUIRE(row.size() == 3);
    std::string function = row[0];
    json::Value aggregation;
    if (const auto blank = function.find(' '); blank != std::string::npos) {
      aggregation.Mutable("percentile") = std::stoi(function.substr(blank + 1));
      function.resize(blank);
    }
    functions.insert(function);
    aggregation.Mutable("name") = "result";
    aggregation.Mutable("function") = function;
    if (function != "count") aggregation.Mutable("field") = "x";
    std::vector<json::Value> objects;
    const json::Value values = ParseJson("[" + row[1] + "]");
    for (const json::Value& value : values.items()) objects.push_back(ObjectWith(value));
    const auto source = OneField(".spec.x", "integer", std::nullopt, json::Value::Array{aggregation});
    CHECK(RunOn(*source, objects).aggregations["result"].Dump() == row[2]);
  }
  CHECK(functions.size() == metricsource::AggregationFunctionNames().size());
}

TEST_CASE("the filters of docs/metricsource.md let through what it says") {
  const Document document = Read();
  std::set<std::string> operators;
  for (const Row& row : document.Table("| type | value | operator | filter value | passes |")) {
    CAPTURE(row);
    REQUIRE(row.size() == 5);
    operators.insert(row[2]);
    json::Value aggregation = ParseJson(R"({"name":"passed","function":"count","filter":{"field":"x"}})");
    aggregation.Mutable("filter").Mutable("operator") = row[2];
    aggregation.Mutable("filter").Mutable("value") = row[3];
    const auto source = OneField(".spec.x", row[0], std::nullopt, json::Value::Array{aggregation});
    const Given given = RunOn(*source, {ObjectWith(ParseJson(row[1]))});
    CHECK(given.aggregations["passed"].IntOr(-1) == (row[4] == "yes" ? 1 : 0));
    CHECK((row[4] == "yes" || row[4] == "no"));
  }
  CHECK(operators.size() == metricsource::FilterOperatorNames().size());
}

TEST_CASE("docs/metricsource.md knows every word for a failure") {
  const Document document = Read();
  std::set<std::string> words;
  for (const Row& row : document.Table("| State of a cluster | Means | What helps |")) words.insert(row[0]);
  for (int code = 1; code <= 16; ++code) {
    const std::string word(metricsource::FailureWord(absl::Status(static_cast<absl::StatusCode>(code), "x")));
    CAPTURE(code, word);
    if (word != "Failed") CHECK(words.contains(word));
  }
}

}  // namespace
}  // namespace clusterpulse::app
