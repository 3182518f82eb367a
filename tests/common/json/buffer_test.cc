#include "common/json/buffer.h"

#include <string>
#include <utility>

#include <catch2/catch.hpp>

namespace clusterpulse::json {
namespace {

TEST_CASE("bytes are collected, forgotten and given back") {
  Buffer buffer;
  CHECK(buffer.view().empty());
  std::string expected;
  for (int i = 0; i < 3000; ++i) {
    buffer.Append(std::to_string(i));
    expected += std::to_string(i);
  }
  CHECK(buffer.view() == expected);
  for (std::size_t i = 0; i < 64; ++i) REQUIRE(buffer.data()[buffer.size() + i] == 0);  // padding may be read
  buffer.Append("");
  CHECK(buffer.view() == expected);

  const std::size_t capacity = buffer.capacity();
  buffer.Clear();
  CHECK(buffer.size() == 0);
  CHECK(buffer.capacity() == capacity);
  buffer.Shrink(capacity);
  CHECK(buffer.capacity() == capacity);
  buffer.Shrink(100);
  CHECK(buffer.capacity() == 0);
  buffer.Assign("again");
  buffer.Assign("once more");
  CHECK(buffer.view() == "once more");
}

TEST_CASE("moving takes the bytes along") {
  Buffer a;
  a.Append("text");
  Buffer b = std::move(a);
  CHECK(b.view() == "text");
  a.Append("new");
  CHECK(a.view() == "new");
  a = std::move(b);
  CHECK(a.view() == "text");
}

}  // namespace
}  // namespace clusterpulse::json
