#include "common/metricsource/projection.h"

#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "common/json/value.h"

namespace clusterpulse::metricsource {
namespace {

struct FieldText {
  std::string path;
  std::string type = "string";
  std::optional<std::string> default_text{};
};

std::optional<Projection> TryCompile(const std::vector<FieldText>& fields, bool is_secret, Diagnostics& diagnostics) {
  std::vector<ProjectedField> compiled;
  for (const FieldText& field : fields) {
    auto path = Path::Compile(field.path, "path", diagnostics);
    REQUIRE(path.has_value());
    compiled.push_back({fmt::format("f{}", compiled.size()), *std::move(path), ParseFieldType(field.type).value(),
                        field.default_text});
  }
  return Projection::Compile(std::move(compiled), is_secret, "spec.fields", diagnostics);
}

// Kind and text form of a value.
std::string Show(Value value) {
  std::string text;
  AppendText(text, value);
  switch (value.kind()) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return text;
    case Kind::kInt:
      return text;
    case Kind::kDouble:
      return "d:" + text;
    case Kind::kText:
      return "'" + text + "'";
  }
  return "";
}

// A projection with all it needs to read objects.
class Reader {
 public:
  explicit Reader(const std::vector<FieldText>& fields, bool is_secret = false) {
    Diagnostics diagnostics;
    projection_ = TryCompile(fields, is_secret, diagnostics);
    REQUIRE(projection_.has_value());
    projector_.emplace(*projection_);
  }

  absl::Status TryRead(std::string_view json) {
    arena_.Reset();
    values_.assign(projection_->size(), Value::Text("left from before"));
    return parser_.Parse(json, [&](json::Cursor object) { return projector_->Read(object, arena_, values_, meta_); });
  }
  std::vector<std::string> Read(std::string_view json) {
    const absl::Status status = TryRead(json);
    CAPTURE(status.message(), json);
    CHECK(status.ok());
    std::vector<std::string> out;
    for (const Value value : values_) out.push_back(Show(value));
    return out;
  }
  const RowMeta& meta() const { return meta_; }
  FieldCounts counts(std::size_t field) const { return projector_->counts()[field]; }

 private:
  std::optional<Projection> projection_;
  std::optional<Projector> projector_;
  json::Parser parser_;
  TextArena arena_;
  std::vector<Value> values_;
  RowMeta meta_;
};

using Texts = std::vector<std::string>;

std::string ReadOne(const FieldText& field, std::string_view json) { return Reader({field}).Read(json)[0]; }

constexpr std::string_view kQueue = R"({
  "apiVersion": "mq.example.org/v1", "kind": "Queue",
  "metadata": {"name": "orders", "namespace": "shop", "labels": {"tier": "gold", "shop.io/owner": "t1"},
    "annotations": {"note": "a \"b\"",
      "kubectl.kubernetes.io/last-applied-configuration": "{\"secret\":1}"}},
  "spec": {"replicas": 3, "ratio": 2.50, "paused": false, "disk": "1.5Gi", "cpu": "250m", "empty": null,
    "hosts": ["a.example.org", "b.example.org", "c.example.org"],
    "routes": [{"name": "in", "ports": [80, 443]}, {"name": null, "ports": []}, {"ports": [8080]}, "odd", null],
    "grid": [[1, 2], [3], []],
    "class": "caf\u00e9 \u2028", "big": 9007199254740993, "since": "2031-05-06T10:20:30Z"},
  "status": {}
})";

TEST_CASE("one field of one object") {
  struct Case {
    std::string path, type, result;
  };
  const auto c = GENERATE(values<Case>({
      {".kind", "string", "'Queue'"},
      {"kind", "string", "'Queue'"},
      {".spec.replicas", "integer", "3"},
      {".spec.replicas", "float", "d:3"},
      {".spec.replicas", "string", "'3'"},
      {".spec.replicas", "quantity", "3"},
      {".spec.replicas", "boolean", "true"},
      {".spec.replicas", "timestamp", "null"},
      {".spec.replicas", "arrayLength", "null"},
      {".spec.replicas.x", "string", "null"},
      {".spec.replicas[0]", "string", "null"},
      {".spec.ratio", "float", "d:2.5"},
      {".spec.ratio", "integer", "2"},
      {".spec.ratio", "quantity", "d:2.5"},
      {".spec.ratio", "string", "'2.5'"},
      {".spec.paused", "boolean", "false"},
      {".spec.paused", "string", "'false'"},
      {".spec.paused", "integer", "null"},
      {".spec.disk", "quantity", "1610612736"},
      {".spec.cpu", "quantity", "d:0.25"},
      {".spec.disk", "integer", "null"},
      {".spec.empty", "string", "null"},
      {".spec.empty.x", "string", "null"},
      {".spec.big", "integer", "9007199254740993"},
      {".spec.big", "quantity", "9007199254740993"},
      {".spec.since", "timestamp", "'2031-05-06T10:20:30Z'"},
      {".spec.class", "string", "'caf\xc3\xa9 \xe2\x80\xa8'"},
      {".metadata.labels['shop.io/owner']", "string", "'t1'"},
      {".metadata.labels.shop\\.io/owner", "string", "'t1'"},
      {".metadata.labels", "arrayLength", "2"},
      {".metadata.annotations", "arrayLength", "1"},
      {".metadata.annotations.note", "string", "'a \"b\"'"},
      {".metadata.annotations", "string", R"('{"note":"a \"b\""}')"},
      {".spec.hosts", "arrayLength", "3"},
      {".spec.hosts[*]", "arrayLength", "3"},
      {".spec.hosts", "string", R"('["a.example.org","b.example.org","c.example.org"]')"},
      {".spec.hosts[*]", "string", R"('["a.example.org","b.example.org","c.example.org"]')"},
      {".spec.hosts", "integer", "null"},
      {".spec.hosts[0]", "string", "'a.example.org'"},
      {".spec.hosts[2]", "string", "'c.example.org'"},
      {".spec.hosts[3]", "string", "null"},
      {".spec.hosts[-1]", "string", "'c.example.org'"},
      {".spec.hosts[-3]", "string", "'a.example.org'"},
      {".spec.hosts[-4]", "string", "null"},
      {".spec.hosts.0", "string", "null"},
      {".spec.hosts['0']", "string", "null"},
      {".spec[0]", "string", "null"},
      {".spec[*]", "string", "null"},
      {".spec[*]", "arrayLength", "null"},
      {".spec.routes[0].ports[-1]", "integer", "443"},
      {".spec.routes[-3].ports[0]", "integer", "8080"},
      {".spec.routes[*].name", "string", R"('["in"]')"},
      {".spec.routes[*].name", "arrayLength", "1"},
      {".spec.routes[*].ports", "string", "'[[80,443],[],[8080]]'"},
      {".spec.routes[*].ports", "arrayLength", "3"},
      {".spec.routes[*].ports[*]", "string", "'[80,443,8080]'"},
      {".spec.routes[*].ports[*]", "arrayLength", "3"},
      {".spec.routes[*].ports[0]", "string", "'[80,8080]'"},
      {".spec.routes[*].ports[-1]", "string", "'[443,8080]'"},
      {".spec.routes[*]", "arrayLength", "4"},
      {".spec.routes[*].none", "string", "'[]'"},
      {".spec.routes[*].none", "arrayLength", "0"},
      {".spec.grid[*][*]", "string", "'[1,2,3]'"},
      {".spec.grid[0][*]", "string", "'[1,2]'"},
      {".spec.grid[2][*]", "string", "'[]'"},
      {".spec.grid[-1][*]", "arrayLength", "0"},
      {".spec.grid[3][*]", "string", "null"},
      {".spec.none[*]", "arrayLength", "null"},
      {".status", "string", "'{}'"},
      {".status", "arrayLength", "0"},
      {".status.x.y", "string", "null"},
      {".", "arrayLength", "5"},
      {".spec.routes[0]", "string", R"('{"name":"in","ports":[80,443]}')"},
      {".metadata", "string",
       R"('{"name":"orders","namespace":"shop","labels":{"tier":"gold","shop.io/owner":"t1"},)"
       R"("annotations":{"note":"a \"b\""}}')"},
  }));
  CAPTURE(c.path, c.type);
  CHECK(ReadOne({c.path, c.type}, kQueue) == c.result);
}

TEST_CASE("the whole object is compact and without its last-applied copy") {
  const std::string whole = ReadOne({"."}, kQueue);
  const auto json = json::Value::Parse(std::string_view(whole).substr(1, whole.size() - 2));
  REQUIRE(json.ok());
  auto expected = json::Value::Parse(kQueue);
  REQUIRE(expected.ok());
  expected->Mutable("metadata").Mutable("annotations").Erase(kLastAppliedAnnotation);
  CHECK(json->Dump() == expected->Dump());
}

TEST_CASE("who a row is") {
  Reader reader({{".spec.x"}});
  reader.Read(R"({"metadata":{"labels":{"a":"b"},"name":"n1","namespace":"ns1"}})");
  CHECK(reader.meta().ns == "ns1");
  CHECK(reader.meta().name == "n1");
  CHECK(reader.meta().labels == R"({"a":"b"})");
  reader.Read(R"({"metadata":{"name":"n2","labels":null,"namespace":7}})");
  CHECK(reader.meta().ns.empty());
  CHECK(reader.meta().name == "n2");
  CHECK(reader.meta().labels.empty());
  reader.Read("{}");
  CHECK(reader.meta().name.empty());
}

TEST_CASE("who a row is, where fields want the same members, or all") {
  Reader reader(
      {{".metadata.name"}, {".metadata.labels.a"}, {".metadata.labels"}, {"."}, {".metadata", "arrayLength"}});
  const auto values = reader.Read(R"({"metadata":{"name":"n\u0031","namespace":"s","labels":{"a":"b", "c":"d"}}})");
  CHECK(reader.meta().ns == "s");
  CHECK(reader.meta().name == "n1");
  CHECK(reader.meta().labels == R"({"a":"b", "c":"d"})");
  // Within JSON a text stays as it is written.
  CHECK(values == Texts{"'n1'", "'b'", R"('{"a":"b","c":"d"}')",
                        R"('{"metadata":{"name":"n1","namespace":"s","labels":{"a":"b","c":"d"}}}')", "3"});
}

TEST_CASE("fields share prefixes, types and elements in every order") {
  Reader reader({{".a", "arrayLength"},
                 {".a"},
                 {".a[0]"},
                 {".a[-1]", "integer"},
                 {".a[*]"},
                 {".a[0].b", "integer"},
                 {".a[-3].b"},
                 {".a[*].b", "arrayLength"},
                 {".a[0]", "arrayLength"},
                 {".a[-3]"},
                 {".c.d"},
                 {".c"},
                 {".c.d", "integer"}});
  const Texts expected = {"3",
                          R"('[{"b":5},2,7]')",
                          R"('{"b":5}')",
                          "7",
                          R"('[{"b":5},2,7]')",
                          "5",
                          "'5'",
                          "1",
                          "1",
                          R"('{"b":5}')",
                          "'9'",
                          R"('{"d":"9"}')",
                          "9"};
  CHECK(reader.Read(R"({"a":[{"b":5},2,7],"c":{"d":"9"}})") == expected);
  CHECK(reader.Read(R"({"c":{"d":"9"},"x":[1],"a":[{"b":5},2,7]})") == expected);
  // A list of one: the first is the last.
  const auto one = reader.Read(R"({"a":["s\u0031"]})");
  CHECK(one[2] == "'s1'");
  CHECK(one[3] == "null");
  CHECK(one[4] == R"('["s1"]')");
  // A scalar, then nothing, where lists were.
  CHECK(reader.Read(R"({"a":4,"c":4})") ==
        Texts{"null", "'4'", "null", "null", "null", "null", "null", "null", "null", "null", "null", "'4'", "null"});
  CHECK(reader.Read("{}") == Texts(13, "null"));
}

TEST_CASE("of two members of one name the last counts, whole") {
  Reader reader({{".a.b"}, {".a.c"}, {".l[*].x"}, {".l[*].x", "arrayLength"}, {".m[*]"}, {".a", "arrayLength"}});
  CHECK(reader.Read(R"({"a":{"b":"1","c":"2"},"a":{"b":"3"}})") == Texts{"'3'", "null", "null", "null", "null", "1"});
  CHECK(reader.Read(R"({"a":{"b":"1","b":"2","\u0062":"4"},"a":{"b":"1","c":"2","b":null}})") ==
        Texts{"null", "'2'", "null", "null", "null", "2"});
  CHECK(reader.Read(R"({"l":[{"x":1,"x":2},{"x":3,"y":0,"x":[4]}],"m":[1],"m":[2,3]})") ==
        Texts{"null", "null", "'[2,[4]]'", "2", "'[2,3]'", "null"});
  CHECK(reader.Read(R"({"l":[{"x":1}],"l":7,"m":[1],"m":null})") ==
        Texts{"null", "null", "null", "null", "null", "null"});
  reader.Read(R"({"metadata":{"name":"a","namespace":"b","labels":{"l":"1"}},"metadata":{"name":"c"}})");
  CHECK(reader.meta().name == "c");
  CHECK(reader.meta().ns.empty());
  CHECK(reader.meta().labels.empty());
}

TEST_CASE("missing, null and failed are told apart, and all have the default") {
  Reader reader({{".v", "integer", "7"}, {".v", "integer"}, {".v"}, {".w[*]", "arrayLength", "0"}});
  CHECK(reader.Read(R"({"v":5,"w":[1]})") == Texts{"5", "5", "'5'", "1"});
  CHECK(reader.Read(R"({"v":null,"w":null})") == Texts{"7", "null", "null", "0"});
  CHECK(reader.Read(R"({"v":"x","w":5})") == Texts{"7", "null", "'x'", "0"});
  CHECK(reader.Read(R"({})") == Texts{"7", "null", "null", "0"});
  CHECK(reader.counts(0) == FieldCounts{.matched = 1, .missing = 1, .null = 1, .failed = 1});
  CHECK(reader.counts(2) == FieldCounts{.matched = 2, .missing = 1, .null = 1, .failed = 0});
  CHECK(reader.counts(3) == FieldCounts{.matched = 1, .missing = 3, .null = 0, .failed = 0});
}

TEST_CASE("keys and values with escapes, and keys beyond ASCII") {
  Reader reader({{"['a\"b'].c"}, {".größe"}, {".t"}, {".t", "arrayLength"}, {".n", "integer"}});
  CHECK(reader.Read(R"({"a\"b":{"\u0063":"x\ny"},"gr\u00f6\u00dfe":"1","t":"\ud83d\ude00","n":"\u0031\u0032"})") ==
        Texts{"'x\ny'", "'1'", "'\xf0\x9f\x98\x80'", "null", "12"});
  // Half a character is no text.
  CHECK(reader.Read(R"({"t":"\ud83d"})")[2] == "null");
  CHECK(reader.counts(2).failed == 1);
}

TEST_CASE("Secrets keep what is theirs") {
  constexpr std::string_view kSecret =
      R"({"type":"Opaque","d\u0061ta":{"p":"c2VjcmV0"},"metadata":{"name":"s","annotations":{"x":"y",)"
      R"("kubectl.kubernetes.io\/last-applied-configuration":"c2VjcmV0"}},"stringData":{"p":"secret"}})";
  Reader reader({{"."}, {".", "arrayLength"}, {".metadata"}, {".metadata.annotations"}, {".type"}}, true);
  CHECK(reader.Read(kSecret) == Texts{R"('{"type":"Opaque","metadata":{"name":"s","annotations":{"x":"y"}}}')", "2",
                                      R"('{"name":"s","annotations":{"x":"y"}}')", R"('{"x":"y"}')", "'Opaque'"});
}

TEST_CASE("what cannot be is refused when it is compiled") {
  Diagnostics diagnostics;
  const auto made = TryCompile({{".a"},
                                {".a[*]", "integer"},
                                {".b", "integer", "x"},
                                {".metadata.annotations['kubectl.kubernetes.io/last-applied-configuration']"},
                                {".c[*]", "timestamp"},
                                {".d", "arrayLength", "many"},
                                {".e[*]", "string", "none"},
                                {".f", "quantity", "1gi"},
                                {".g", "string", "\xff"}},
                               false, diagnostics);
  CHECK_FALSE(made.has_value());
  Texts paths;
  for (const Diagnostic& item : diagnostics.items()) paths.push_back(item.path);
  CHECK(paths == Texts{"spec.fields[1].type", "spec.fields[2].default", "spec.fields[3].path", "spec.fields[4].type",
                       "spec.fields[5].default", "spec.fields[7].default", "spec.fields[8].default"});
}

TEST_CASE("a row's text is bounded") {
  const std::string half(TextArena::kMaxBytes / 2, 'x');
  Reader reader({{".a"}, {".a"}, {".a"}, {".l[*]"}, {".b", "string", "short"}});
  const auto values = reader.Read(R"({"a":")" + half + R"(","b":"b","l":[")" + half + R"(",")" + half + R"("]})");
  CHECK(values[0].size() == half.size() + 2);
  CHECK(values[1].size() == half.size() + 2);
  CHECK(values[2] == "null");
  CHECK(values[3] == "null");
  CHECK(values[4] == "'short'");
  CHECK(reader.counts(2).failed == 1);
  CHECK(reader.counts(3).failed == 1);
}

TEST_CASE("any nesting is read") {
  constexpr std::size_t kDepth = 200'000;
  const std::string deep = std::string(kDepth, '[') + "1" + std::string(kDepth, ']');
  Reader reader({{".a"}, {".a[0][0][-1][0]"}, {".a[*][*][*]", "arrayLength"}, {".b"}});
  const auto values = reader.Read(R"({"a":)" + deep + R"(,"b":1})");
  CHECK(values[0] == "'" + deep + "'");
  CHECK(values[1] == "'" + deep.substr(4, deep.size() - 8) + "'");
  CHECK(values[2] == "1");
  CHECK(values[3] == "'1'");
}

TEST_CASE("broken JSON is refused and leaves the reader as good as new") {
  Reader reader({{".a.b"}, {".a", "arrayLength"}, {".c[*]"}, {".c[-1]"}});
  for (const std::string_view broken : {R"({"a":{"b":1)", R"({"a" 1})", R"({"c":[1,2)", R"({"c":[1 2]})", ""}) {
    CAPTURE(broken);
    const absl::Status status = reader.TryRead(broken);
    CHECK(absl::IsDataLoss(status));
  }
  CHECK(reader.Read(R"({"a":{"b":"x"},"c":[1,2]})") == Texts{"'x'", "1", "'[1,2]'", "'2'"});
  CHECK(reader.counts(0) == FieldCounts{.matched = 1});
}

TEST_CASE("what is no object has no fields") {
  Reader reader({{".a"}, {"."}});
  CHECK(reader.Read("[1]") == Texts{"null", "'[1]'"});
}

// What a path leads to in a tree: the slow and obvious way.
void Follow(const json::Value& value, const Path& path, std::size_t at, std::vector<const json::Value*>& out,
            bool& is_list) {
  if (at == path.segments().size()) {
    out.push_back(&value);
    return;
  }
  const Path::Segment& segment = path.segments()[at];
  switch (segment.type) {
    case Path::Segment::Type::kKey:
      if (const json::Value* member = value.Find(segment.key)) Follow(*member, path, at + 1, out, is_list);
      return;
    case Path::Segment::Type::kIndex: {
      if (!value.IsArray()) return;
      const auto size = static_cast<std::int64_t>(value.items().size());
      const std::int64_t index = segment.index < 0 ? segment.index + size : segment.index;
      if (index < 0 || index >= size) return;
      Follow(value.items()[static_cast<std::size_t>(index)], path, at + 1, out, is_list);
      return;
    }
    case Path::Segment::Type::kAll:
      if (!value.IsArray()) return;
      is_list = true;
      for (const json::Value& item : value.items()) Follow(item, path, at + 1, out, is_list);
      return;
  }
}

std::string Expected(const json::Value& object, const FieldText& field) {
  Diagnostics diagnostics;
  const auto path = Path::Compile(field.path, "p", diagnostics);
  std::vector<const json::Value*> found;
  bool is_list = false;
  Follow(object, *path, 0, found, is_list);
  if (path->fans_out()) {
    if (!is_list) return "null";
    json::Value::Array list;
    for (const json::Value* value : found) {
      if (!value->IsNull()) list.push_back(*value);
    }
    return field.type == "arrayLength" ? std::to_string(list.size()) : "'" + json::Value(list).Dump() + "'";
  }
  if (found.empty() || found[0]->IsNull()) return "null";
  const json::Value& value = *found[0];
  const bool is_container = value.IsArray() || value.IsObject();
  if (field.type == "arrayLength") {
    return is_container ? std::to_string(value.items().size() + value.members().size()) : "null";
  }
  return "'" + (value.IsString() ? std::string(value.StringOr()) : value.Dump()) + "'";
}

class Maker {
 public:
  explicit Maker(unsigned seed) : random_(seed) {}

  int Below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  json::Value Value(int depth) {
    switch (Below(depth > 0 ? 7 : 4)) {
      case 0:
        return nullptr;
      case 1:
        return Below(2) == 0;
      case 2:
        return Below(100);
      case 3:
        return std::string(1, static_cast<char>('p' + Below(3)));
      case 4: {
        json::Value::Array list;
        for (int i = Below(4); i > 0; --i) list.push_back(Value(depth - 1));
        return list;
      }
      default: {
        json::Value::Object object;
        for (int i = Below(4); i > 0; --i) object[std::string(1, static_cast<char>('a' + Below(3)))] = Value(depth - 1);
        return object;
      }
    }
  }
  std::string Path() {
    std::string path;
    for (int i = 1 + Below(4); i > 0; --i) {
      switch (Below(6)) {
        case 0:
          path += fmt::format("[{}]", Below(5) - 2);
          break;
        case 1:
          path += "[*]";
          break;
        default:
          path += fmt::format(".{}", static_cast<char>('a' + Below(3)));
      }
    }
    return path;
  }

 private:
  std::mt19937 random_;
};

TEST_CASE("one pass finds what following each path alone finds") {
  for (unsigned seed = 1; seed <= 1500; ++seed) {
    Maker make(seed);
    std::vector<FieldText> fields;
    for (int i = 1 + make.Below(8); i > 0; --i)
      fields.push_back({make.Path(), make.Below(3) == 0 ? "arrayLength" : "string"});
    Reader reader(fields);
    for (int i = 0; i < 4; ++i) {
      json::Value::Object object;
      for (const char* key : {"a", "b", "c"}) object[key] = make.Value(4);
      const std::string text = json::Value(object).Dump();
      const auto values = reader.Read(text);
      for (std::size_t f = 0; f < fields.size(); ++f) {
        CAPTURE(seed, text, fields[f].path, fields[f].type);
        REQUIRE(values[f] == Expected(json::Value(object), fields[f]));
      }
    }
  }
}

}  // namespace
}  // namespace clusterpulse::metricsource
