#include "common/http/replaceable_file.h"

#include <cstdio>
#include <set>

#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "tests/support/process.h"

namespace clusterpulse::http {
namespace {

using testing::TempDir;
using testing::WriteFile;

TEST_CASE("a file is read as it is, and what cannot be is named") {
  const TempDir dir;
  const std::string path = dir.File("secret");
  const ReplaceableFile file(path);
  CHECK(file.path() == path);
  CHECK(file.Read().status() == base::InvalidArgument("{} cannot be read", path));
  WriteFile(path, " s3cret\n");
  REQUIRE(file.Read().ok());
  CHECK(*file.Read() == " s3cret\n");
  WriteFile(path, "");
  CHECK(*file.Read() == "");
  WriteFile(path, std::string((1 << 20) - 1, 'x'));
  CHECK(file.Read().ok());
  WriteFile(path, std::string(1 << 20, 'x'));
  CHECK(file.Read().status() == base::InvalidArgument("{} is too large", path));
  CHECK(ReplaceableFile(dir.path()).Read().status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("every way to replace a file has another stamp, and looking has none") {
  const TempDir dir;
  const std::string path = dir.File("secret");
  const ReplaceableFile file(path);
  std::set<std::string> stamps{file.Stamp()};
  WriteFile(path, "a");
  CHECK(stamps.insert(file.Stamp()).second);
  WriteFile(path, "ab");
  CHECK(stamps.insert(file.Stamp()).second);
  WriteFile(dir.File("new"), "cd");
  REQUIRE(std::rename(dir.File("new").c_str(), path.c_str()) == 0);
  CHECK(stamps.insert(file.Stamp()).second);
  REQUIRE(file.Read().ok());
  CHECK_FALSE(stamps.insert(file.Stamp()).second);
  REQUIRE(std::remove(path.c_str()) == 0);
  CHECK_FALSE(stamps.insert(file.Stamp()).second);  // as in the beginning
}

}  // namespace
}  // namespace clusterpulse::http
