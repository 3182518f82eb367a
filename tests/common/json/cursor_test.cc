#include "common/json/cursor.h"

#include <map>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace clusterpulse::json {
namespace {

using Code = absl::StatusCode;

// Reads everything and writes it down; what a projection that looks at every value would do.
absl::Status Walk(Cursor value, std::string& out) {
  switch (value.type()) {
    case Type::kObject:
      out += '{';
      RETURN_IF_ERROR(value.ForEachMember([&](std::string_view key, Cursor member) {
        out.append(key).append("=");
        return Walk(member, out);
      }));
      out += '}';
      return absl::OkStatus();
    case Type::kArray:
      out += '[';
      RETURN_IF_ERROR(value.ForEachElement([&](Cursor element) {
        RETURN_IF_ERROR(Walk(element, out));
        out += ',';
        return absl::OkStatus();
      }));
      out += ']';
      return absl::OkStatus();
    case Type::kString: {
      std::string_view text;
      if (value.Get(text)) out.append("'").append(text).append("'");
      return absl::OkStatus();
    }
    case Type::kNumber: {
      double number = 0;
      if (value.Get(number)) out += fmt::format("{}", number);
      return absl::OkStatus();
    }
    case Type::kBool: {
      bool flag = false;
      if (value.Get(flag)) out += flag ? 'T' : 'F';
      return absl::OkStatus();
    }
    case Type::kNull:
      out += '~';
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Walked(std::string_view text) {
  Parser parser;
  std::string out;
  const absl::Status status = parser.Parse(text, [&](Cursor root) { return Walk(root, out); });
  if (!status.ok()) return status;
  return out;
}

constexpr std::string_view kDocument =
    R"({"a":{"b":[1,-2.5,"x",true,false,null,{"c":"d\u0041\n\"e"}],"k\"ey\u00e9":"v"},"z":[],"o":{},"e":"é😀"})";

TEST_CASE("a document is walked in order, with escaped keys and values") {
  const auto walked = Walked(kDocument);
  REQUIRE(walked.ok());
  CHECK(*walked == "{a={b=[1,-2.5,'x',T,F,~,{c='dA\n\"e'},]k\"eyé='v'}z=[]o={}e='é😀'}");
}

TEST_CASE("a value of another type leaves the target alone and the walk goes on") {
  Parser parser;
  int members = 0;
  const absl::Status status = parser.Parse(
      R"({"s": "text", "n": 5, "d": 1.5, "b": true, "x": null, "a": [1, [2]], "o": {"p": {"q": 1}}, "big": 9223372036854775808,
          "e": 1e3, "inf": 1e999, "i33": 4294967296, "last": "end"})",
      [&](Cursor root) {
        return root.ForEachMember([&](std::string_view key, Cursor value) {
          ++members;
          CAPTURE(std::string(key));
          std::string text = "kept";
          std::string_view view = "kept";
          std::int64_t wide = -7;
          std::int32_t narrow = -7;
          double number = -7;
          bool flag = true;
          if (key == "s" || key == "last") {
            CHECK_FALSE(value.Get(wide));
            CHECK_FALSE(value.Get(number));
            CHECK_FALSE(value.Get(flag));
            CHECK(wide == -7);
            CHECK(value.Get(view));
          } else if (key == "n") {
            CHECK_FALSE(value.Get(text));
            CHECK_FALSE(value.Get(flag));
            CHECK(value.Get(narrow));
            CHECK(narrow == 5);
          } else if (key == "d") {
            CHECK_FALSE(value.Get(wide));
            CHECK(value.Get(number));
            CHECK(number == 1.5);
          } else if (key == "i33") {
            CHECK_FALSE(value.Get(narrow));
            CHECK(narrow == -7);
          } else if (key == "e") {
            CHECK_FALSE(value.Get(wide));
          } else if (key == "inf") {
            CHECK_FALSE(value.Get(number));
            CHECK(number == -7);
          } else if (key == "b") {
            CHECK_FALSE(value.Get(wide));
            CHECK_FALSE(value.Get(view));
          } else {
            CHECK_FALSE(value.Get(text));
            CHECK_FALSE(value.Get(view));
            CHECK_FALSE(value.Get(wide));
            CHECK_FALSE(value.Get(flag));
            CHECK(text == "kept");
            CHECK(view == "kept");
          }
        });
      });
  CHECK(status.ok());
  CHECK(members == 12);
}

TEST_CASE("containers of another type, and null, visit nothing") {
  Parser parser;
  int seen = 0;
  const absl::Status status =
      parser.Parse(R"({"a": null, "b": 5, "c": "x", "d": {"k": 1}, "e": [1], "f": true, "last": 1})", [&](Cursor root) {
        return root.ForEachMember([&](std::string_view key, Cursor value) -> absl::Status {
          ++seen;
          if (key == "d") return value.ForEachElement([](Cursor) { FAIL("not an array"); });
          if (key == "e") return value.ForEachMember([](std::string_view, Cursor) { FAIL("not an object"); });
          RETURN_IF_ERROR(value.ForEachMember([](std::string_view, Cursor) { FAIL("nothing there"); }));
          return absl::OkStatus();
        });
      });
  CHECK(status.ok());
  CHECK(seen == 7);
}

TEST_CASE("what is not read is skipped, also half-read values") {
  Parser parser;
  std::vector<std::string> keys;
  std::int64_t last = 0;
  const absl::Status status = parser.Parse(
      R"({"skip": {"deep": [[[{"x": "}]"}]]]}, "half": [1, 2, {"y": 3}], "quoted": "\"}{", "last": 42})",
      [&](Cursor root) {
        return root.ForEachMember([&](std::string_view key, Cursor value) {
          keys.emplace_back(key);
          if (key == "half") {
            // An error of the visitor leaves the array in the middle; swallowed, the walk goes on behind it.
            CHECK(value.ForEachElement([](Cursor) { return absl::AbortedError("enough"); }).code() == Code::kAborted);
          }
          if (key == "last") value.Get(last);
        });
      });
  CHECK(status.ok());
  CHECK(keys == std::vector<std::string>{"skip", "half", "quoted", "last"});
  CHECK(last == 42);
}

TEST_CASE("an error of the visitor ends the walk with it") {
  Parser parser;
  int seen = 0;
  const absl::Status status = parser.Parse(R"([1,2,3])", [&](Cursor root) {
    return root.ForEachElement([&](Cursor) { return ++seen == 2 ? absl::NotFoundError("stop") : absl::OkStatus(); });
  });
  CHECK(status.code() == Code::kNotFound);
  CHECK(seen == 2);
}

TEST_CASE("raw bytes are passed on unread") {
  Parser parser;
  std::map<std::string, std::string> raw;
  const absl::Status status =
      parser.Parse(R"({"o": {"a" : [1, 2]}, "s":"x\"y", "n":-1.50, "t":true, "z":null})", [&](Cursor root) {
        return root.ForEachMember([&](std::string_view key, Cursor value) -> absl::Status {
          ASSIGN_OR_RETURN(const std::string_view bytes, value.Raw());
          raw[std::string(key)] = bytes;
          return absl::OkStatus();
        });
      });
  CHECK(status.ok());
  CHECK(raw == std::map<std::string, std::string>{
                   {"o", R"({"a" : [1, 2]})"}, {"s", R"("x\"y")"}, {"n", "-1.50"}, {"t", "true"}, {"z", "null"}});
}

TEST_CASE("every truncation is data loss, read or skipped") {
  const std::string text(kDocument);
  for (std::size_t n = 0; n < text.size(); ++n) {
    CAPTURE(text.substr(0, n));
    CHECK(Walked(text.substr(0, n)).status().code() == Code::kDataLoss);
    Parser parser;
    CHECK(parser
              .Parse(std::string_view(text).substr(0, n),
                     [](Cursor root) { return root.ForEachMember([](std::string_view, Cursor) {}); })
              .code() == Code::kDataLoss);
  }
}

TEST_CASE("broken structure is data loss") {
  for (const std::string text : {"",
                                 " ",
                                 "\n",
                                 "{\"a\" 1}",
                                 "{\"a\":1 \"b\":2}",
                                 "{\"a\":1,}",
                                 "{,}",
                                 "{a:1}",
                                 "{1:2}",
                                 "[1 2]",
                                 "[1,,2]",
                                 "[1}",
                                 "{\"a\":[1}]",
                                 "{\"a\":\"\xff\"}",
                                 "{\"a\":\"line\nbreak\"}",
                                 "{\"a\":\"open}",
                                 "}",
                                 "]",
                                 "5",
                                 "\"text\"",
                                 "null"}) {
    CAPTURE(text);
    CHECK(Walked(text).status().code() == Code::kDataLoss);
  }
}

TEST_CASE("an escape that is none makes the value unreadable, not the object") {
  Parser parser;
  std::string bad = "kept", good;
  const absl::Status status = parser.Parse(R"({"a": "\x", "b": "\ud800", "c": "fine"})", [&](Cursor root) {
    return root.ForEachMember([&](std::string_view key, Cursor value) {
      if (key == "a") CHECK_FALSE(value.Get(bad));
      if (key == "c") value.Get(good);
    });
  });
  CHECK(status.ok());
  CHECK(bad == "kept");
  CHECK(good == "fine");
}

TEST_CASE("nesting of any depth is skipped or passed on without a stack") {
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  Parser parser;
  std::int64_t last = 0;
  std::size_t raw_size = 0;
  const absl::Status status = parser.Parse("{\"a\":" + deep + ",\"b\":" + deep + ",\"c\":7}", [&](Cursor root) {
    return root.ForEachMember([&](std::string_view key, Cursor value) -> absl::Status {
      if (key == "b") {
        ASSIGN_OR_RETURN(const std::string_view raw, value.Raw());
        raw_size = raw.size();
      }
      if (key == "c") value.Get(last);
      return absl::OkStatus();
    });
  });
  CHECK(status.ok());
  CHECK(raw_size == deep.size());
  CHECK(last == 7);
  CHECK(parser.Parse(deep.substr(0, 100000), [](Cursor root) { return root.ForEachElement([](Cursor) {}); }).code() ==
        Code::kDataLoss);
  CHECK(Walked(std::string(500, '[') + std::string(500, ']')).ok());
}

TEST_CASE("a parser is reused after errors and for larger documents") {
  Parser parser;
  Buffer buffer;
  for (int i = 0; i < 5; ++i) {
    buffer.Assign("[");
    for (int k = 0; k < i * 2000; ++k) buffer.Append("12345,");
    buffer.Append("1]");
    int seen = 0;
    CHECK(parser.Parse(buffer, [&](Cursor root) { return root.ForEachElement([&](Cursor) { ++seen; }); }).ok());
    CHECK(seen == i * 2000 + 1);
    CHECK_FALSE(
        parser.Parse("{\"a\":", [](Cursor root) { return root.ForEachMember([](std::string_view, Cursor) {}); }).ok());
  }
  CHECK(parser.Parse(Buffer(), [](Cursor) { return absl::OkStatus(); }).code() == Code::kDataLoss);
}

}  // namespace
}  // namespace clusterpulse::json
