#include "collector/sources/definition_file.h"

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include "collector/spool/posix_file_system.h"
#include "collector/spool/testing/fake_file_system.h"
#include "tests/support/process.h"

namespace clusterpulse::sources {
namespace {

using Strings = std::vector<std::string>;
using spool::FakeFileSystem;

const std::string kPath = "/data/metric-sources";

struct Fixture {
  base::SeededRandom random{1};
  FakeFileSystem files{random};

  Strings Read() {
    const auto read = ReadDefinitions(files, kPath);
    REQUIRE(read.ok());
    return *read;
  }
};

TEST_CASE("what is written is read") {
  const std::vector<Strings> cases = {
      {}, {"{}"}, {"{\"a\":1}", "", "x\n7\ny"}, {std::string(100000, 'x'), std::string("\0\n", 2)}};
  for (const Strings& definitions : cases) {
    Fixture f;
    CHECK(f.Read().empty());
    REQUIRE(WriteDefinitions(f.files, kPath, {"before"}).ok());
    REQUIRE(WriteDefinitions(f.files, kPath, definitions).ok());
    CHECK(f.Read() == definitions);
  }
}

TEST_CASE("every damage is told, and none is taken for definitions") {
  Fixture f;
  REQUIRE(WriteDefinitions(f.files, kPath, {"{\"name\":\"a\"}", "{\"name\":\"b\"}"}).ok());
  const std::string whole = f.files.Content(kPath);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    CAPTURE(i);
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ 4);
    f.files.SetContent(kPath, flipped);
    CHECK(ReadDefinitions(f.files, kPath).status().code() == absl::StatusCode::kDataLoss);
    f.files.SetContent(kPath, whole.substr(0, i));
    CHECK(ReadDefinitions(f.files, kPath).status().code() == absl::StatusCode::kDataLoss);
  }
  f.files.SetContent(kPath, whole);
  CHECK(f.Read().size() == 2);
}

TEST_CASE("a crash at any moment leaves the old or the new ones, and so does loss of power") {
  const Strings old = {"old", "older"}, fresh = {std::string(5000, 'n')};
  for (const bool power : {false, true}) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      for (std::uint64_t change = 1; change <= 6; ++change) {
        CAPTURE(power, seed, change);
        base::SeededRandom random(seed);
        FakeFileSystem files(random);
        REQUIRE(WriteDefinitions(files, kPath, old).ok());
        files.StopAfter(change);
        const absl::Status status = WriteDefinitions(files, kPath, fresh);
        power ? files.LosePower() : files.Restart();
        const auto read = ReadDefinitions(files, kPath);
        REQUIRE(read.ok());
        CHECK((*read == fresh || (*read == old && !status.ok())));
        // The next process goes on.
        REQUIRE(WriteDefinitions(files, kPath, fresh).ok());
        CHECK(*ReadDefinitions(files, kPath) == fresh);
      }
    }
  }
}

TEST_CASE("errors of the disk are told, and leave what was there") {
  Fixture f;
  REQUIRE(WriteDefinitions(f.files, kPath, {"old"}).ok());
  for (const auto call : {FakeFileSystem::Call::kOpen, FakeFileSystem::Call::kWrite, FakeFileSystem::Call::kSync,
                          FakeFileSystem::Call::kRename, FakeFileSystem::Call::kMakeDir}) {
    f.files.SetFault([call](FakeFileSystem::Call now, const std::string&) {
      return now == call ? absl::ResourceExhaustedError("no space") : absl::OkStatus();
    });
    CHECK(WriteDefinitions(f.files, kPath, {"new"}).code() == absl::StatusCode::kResourceExhausted);
    f.files.SetFault(nullptr);
    CHECK(f.Read() == Strings{"old"});
  }
  f.files.SetFault([](FakeFileSystem::Call, const std::string&) { return absl::PermissionDeniedError("no"); });
  CHECK(ReadDefinitions(f.files, kPath).status().code() == absl::StatusCode::kPermissionDenied);
}

TEST_CASE("on a real disk: only its owner may read it") {
  testing::TempDir dir;
  const std::string path = dir.File("data/metric-sources");
  REQUIRE(WriteDefinitions(spool::PosixFileSystem(), path, {"{}"}).ok());
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  CHECK(*ReadDefinitions(spool::PosixFileSystem(), path) == Strings{"{}"});
  CHECK(*spool::PosixFileSystem().List(dir.File("data")) == Strings{"metric-sources"});
}

}  // namespace
}  // namespace clusterpulse::sources
