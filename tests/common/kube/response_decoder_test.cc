#include "common/kube/response_decoder.h"

#include <vector>

#include <catch2/catch.hpp>

#include "common/base/status.h"

namespace clusterpulse::kube {
namespace {

using Code = absl::StatusCode;

std::string Name(json::Cursor object) {
  std::string name;
  const absl::Status status = object.ForEachMember([&](std::string_view key, json::Cursor value) -> absl::Status {
    if (key != "metadata") return absl::OkStatus();
    return value.ForEachMember([&](std::string_view k, json::Cursor v) {
      if (k == "name") v.Get(name);
    });
  });
  return status.ok() ? name : "?";
}

struct Listed {
  absl::StatusOr<ListPage> page = ListPage();
  std::string names;
};
Listed List(std::string_view text) {
  Listed out;
  json::Buffer body;
  body.Assign(text);
  json::Parser parser;
  out.page = DecodeList(parser, body, [&](json::Cursor item) {
    out.names += Name(item) + " ";
    return absl::OkStatus();
  });
  return out;
}

TEST_CASE("a list page gives its items and metadata in any order") {
  const auto text = GENERATE(
      as<std::string>(),
      R"({"kind":"PodList","metadata":{"resourceVersion":"7","continue":"c"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]})",
      R"({"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}],"metadata":{"continue":"c","resourceVersion":"7"},"kind":"PodList"})");
  const Listed out = List(text);
  REQUIRE(out.page.ok());
  CHECK(out.names == "a b ");
  CHECK(out.page->resource_version == "7");
  CHECK(out.page->continue_token == "c");
}

TEST_CASE("an empty list may be null") {
  for (const char* items : {"[]", "null"}) {
    const Listed out = List(std::string(R"({"metadata":{"resourceVersion":"7"},"items":)") + items + "}");
    REQUIRE(out.page.ok());
    CHECK(out.page->resource_version == "7");
    CHECK(out.names.empty());
  }
}

TEST_CASE("what is no list is bad data") {
  const auto text = GENERATE(as<std::string>(), "", "[]", "{}", R"({"kind":"Status"})", R"({"items":{}})",
                             R"({"items":[1]})", R"({"items":[{"metadata":{"name":"a"}},)", "<html>", R"({"items":[)",
                             "{\"items\":[{\"metadata\":{\"name\":\"");
  CAPTURE(text);
  CHECK(List(text).page.status().code() == Code::kDataLoss);
}

TEST_CASE("a visitor's error ends the page") {
  json::Buffer body;
  body.Assign(R"({"items":[{},{}]})");
  json::Parser parser;
  int calls = 0;
  const auto page = DecodeList(parser, body, [&](json::Cursor) {
    ++calls;
    return absl::AbortedError("stop");
  });
  CHECK(page.status().code() == Code::kAborted);
  CHECK(calls == 1);
}

std::string Event(const char* type, const char* name) {
  return std::string(R"({"type":")") + type + R"(","object":{"metadata":{"name":")" + name + "\"}}}\n";
}

// Feeds `stream` in pieces of `piece` bytes.
absl::Status Watch(std::string_view stream, std::size_t piece, std::string& seen, std::size_t bound = 1 << 20) {
  WatchDecoder decoder(bound);
  const auto visit = [&](WatchEventType type, json::Cursor object) {
    seen += std::to_string(static_cast<int>(type)) + Name(object) + " ";
    return absl::OkStatus();
  };
  while (!stream.empty()) {
    RETURN_IF_ERROR(decoder.Feed(stream.substr(0, piece), visit));
    stream.remove_prefix(std::min(piece, stream.size()));
  }
  return decoder.Finish();
}

TEST_CASE("watch events come out whole however the stream is cut") {
  const std::string stream = Event("ADDED", "a") + Event("MODIFIED", "b") + "\r\n\n" + Event("DELETED", "c") +
                             R"({"object":{"metadata":{"name":"d"}},"type":"BOOKMARK"})" + "\n";
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
    std::string seen;
    CAPTURE(piece);
    REQUIRE(Watch(stream, piece, seen).ok());
    REQUIRE(seen == "0a 1b 2c 3d ");
  }
}

TEST_CASE("what ends a watch") {
  struct Case {
    const char* name;
    std::string stream;
    Code code;
  };
  const std::vector<Case> cases{
      {"half a line", Event("ADDED", "a") + "{\"type\":", Code::kUnavailable},
      {"expired",
       Event("ADDED", "a") + R"({"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}})" + "\n",
       Code::kOutOfRange},
      {"error before its type",
       Event("ADDED", "a") + R"({"object":{"kind":"Status","code":410,"reason":"Gone"},"type":"ERROR"})" + "\n",
       Code::kOutOfRange},
      {"server error", Event("ADDED", "a") + R"({"type":"ERROR","object":{"kind":"Status","code":500}})" + "\n",
       Code::kUnavailable},
      {"unknown type", Event("ADDED", "a") + Event("NEWS", "b"), Code::kDataLoss},
      {"no JSON", Event("ADDED", "a") + "<html>\n", Code::kDataLoss},
      {"no event", Event("ADDED", "a") + "{}\n", Code::kDataLoss},
      {"no object", Event("ADDED", "a") + "{\"type\":\"ADDED\"}\n", Code::kDataLoss},
      {"null object", Event("ADDED", "a") + "{\"type\":\"ADDED\",\"object\":null}\n", Code::kDataLoss},
      {"an endless line", Event("ADDED", "a") + std::string(2 << 20, ' '), Code::kDataLoss},
  };
  for (const Case& c : cases) {
    for (const std::size_t piece : {std::size_t{1000}, std::size_t{1} << 30}) {
      CAPTURE(c.name, piece);
      std::string seen;
      CHECK(Watch(c.stream, piece, seen).code() == c.code);
      CHECK(seen == "0a ");
    }
  }
}

TEST_CASE("an ERROR event keeps the server's words") {
  std::string seen;
  const auto error = GetApiError(
      Watch(R"({"type":"ERROR","object":{"kind":"Status","message":"too old","reason":"Expired","code":410}})"
            "\n",
            1 << 20, seen));
  REQUIRE(error);
  CHECK(error->reason == "Expired");
  CHECK(error->message == "too old");
}

}  // namespace
}  // namespace clusterpulse::kube
