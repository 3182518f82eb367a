// The contract of FileSystem, on the machine's disk and on the fake.
#include "collector/spool/file_system.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <memory>

#include <catch2/catch.hpp>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/spool/posix_file_system.h"
#include "collector/spool/testing/fake_file_system.h"
#include "tests/support/process.h"

namespace clusterpulse::spool {
namespace {

using Mode = FileSystem::Mode;

struct Backend {
  virtual ~Backend() = default;
  virtual FileSystem& files() = 0;
  virtual std::string dir() = 0;
};
struct PosixBackend final : Backend {
  testing::TempDir temp;
  FileSystem& files() override { return PosixFileSystem(); }
  std::string dir() override { return temp.File("a/b"); }
};
struct FakeBackend final : Backend {
  base::SeededRandom random{7};
  FakeFileSystem fake{random};
  FileSystem& files() override { return fake; }
  std::string dir() override { return "/a/b"; }
};

std::unique_ptr<Backend> MakeBackend(bool is_real) {
  if (is_real) return std::make_unique<PosixBackend>();
  return std::make_unique<FakeBackend>();
}

std::string ReadAll(File& file) {
  std::array<char, 64> buffer{};
  const auto n = file.ReadAt(0, buffer);
  REQUIRE(n.ok());
  return std::string(buffer.data(), *n);
}

TEST_CASE("both file systems keep the contract of the port") {
  const bool is_real = GENERATE(true, false);
  CAPTURE(is_real);
  const auto backend = MakeBackend(is_real);
  FileSystem& files = backend->files();
  const std::string dir = backend->dir();
  REQUIRE(files.MakeDir(dir).ok());
  REQUIRE(files.MakeDir(dir).ok());

  SECTION("a file is made, written, read, resized and synced") {
    CHECK(files.Open(dir + "/x", Mode::kRead).status().code() == absl::StatusCode::kNotFound);
    CHECK(files.Open(dir + "/x", Mode::kWrite).status().code() == absl::StatusCode::kNotFound);
    const auto file = files.Open(dir + "/x", Mode::kCreate);
    REQUIRE(file.ok());
    CHECK((*file)->WriteAt(0, "abcdef").ok());
    CHECK((*file)->WriteAt(8, "z").ok());
    CHECK(*(*file)->Size() == 9);
    CHECK(ReadAll(**file) == std::string("abcdef\0\0z", 9));
    std::array<char, 4> part{};
    CHECK(*(*file)->ReadAt(4, part) == 4);
    CHECK(std::string(part.data(), 2) == "ef");
    CHECK(*(*file)->ReadAt(7, part) == 2);
    CHECK(*(*file)->ReadAt(99, part) == 0);
    CHECK((*file)->Resize(3).ok());
    CHECK((*file)->Resize(5).ok());
    CHECK(ReadAll(**file) == std::string("abc\0\0", 5));
    CHECK((*file)->Sync().ok());
    CHECK(files.SyncDir(dir).ok());
    const auto again = files.Open(dir + "/x", Mode::kWrite);
    REQUIRE(again.ok());
    CHECK((*again)->WriteAt(0, "A").ok());
    CHECK(ReadAll(**file) == std::string("Abc\0\0", 5));
    const auto kept = files.Open(dir + "/x", Mode::kCreate);
    REQUIRE(kept.ok());
    CHECK(*(*kept)->Size() == 5);
    const auto replaced = files.Open(dir + "/x", Mode::kReplace);
    REQUIRE(replaced.ok());
    CHECK(*(*replaced)->Size() == 0);
  }
  SECTION("names are listed, changed and removed") {
    for (const char* name : {"/b", "/a"}) REQUIRE(files.Open(dir + name, Mode::kCreate).ok());
    CHECK(*files.List(dir) == std::vector<std::string>{"a", "b"});
    CHECK(files.Rename(dir + "/a", dir + "/b").ok());
    CHECK(*files.List(dir) == std::vector<std::string>{"b"});
    CHECK(files.Rename(dir + "/a", dir + "/c").code() == absl::StatusCode::kNotFound);
    const auto open = files.Open(dir + "/b", Mode::kWrite);
    REQUIRE(open.ok());
    CHECK(files.Remove(dir + "/b").ok());
    CHECK(files.Remove(dir + "/b").code() == absl::StatusCode::kNotFound);
    CHECK((*open)->WriteAt(0, "still there for who has it").ok());
    CHECK(files.List(dir)->empty());
  }
  SECTION("a lock is held once, until it is let go") {
    auto lock = files.Lock(dir + "/LOCK");
    REQUIRE(lock.ok());
    CHECK(files.Lock(dir + "/LOCK").status().code() == absl::StatusCode::kFailedPrecondition);
    CHECK(files.Lock(dir + "/LOCK").status().code() == absl::StatusCode::kFailedPrecondition);
    lock->reset();
    CHECK(files.Lock(dir + "/LOCK").ok());
  }
}

TEST_CASE("files and directories are for the owner alone") {
  PosixBackend backend;
  REQUIRE(backend.files().MakeDir(backend.dir()).ok());
  REQUIRE(backend.files().Open(backend.dir() + "/x", Mode::kCreate).ok());
  REQUIRE(backend.files().Lock(backend.dir() + "/LOCK").ok());
  const auto mode_of = [](const std::string& path) {
    struct stat info {};
    REQUIRE(stat(path.c_str(), &info) == 0);
    return info.st_mode & 07777;
  };
  CHECK(mode_of(backend.dir()) == 0700);
  CHECK(mode_of(backend.dir() + "/x") == 0600);
  CHECK(mode_of(backend.dir() + "/LOCK") == 0600);
}

TEST_CASE("what is no regular file is not opened, and does not block") {
  PosixBackend backend;
  const std::string dir = backend.dir();
  REQUIRE(backend.files().MakeDir(dir).ok());
  REQUIRE(mkfifo((dir + "/fifo").c_str(), 0600) == 0);
  REQUIRE(symlink("/etc/passwd", (dir + "/link").c_str()) == 0);
  REQUIRE(backend.files().MakeDir(dir + "/dir").ok());
  for (const char* name : {"/fifo", "/link", "/dir"}) {
    for (const Mode mode : {Mode::kRead, Mode::kWrite}) {
      CAPTURE(name);
      CHECK(backend.files().Open(dir + name, mode).status().code() == absl::StatusCode::kInvalidArgument);
    }
  }
}

TEST_CASE("errors of the machine have the codes of the port") {
  PosixBackend backend;
  FileSystem& files = backend.files();
  REQUIRE(files.MakeDir(backend.temp.path()).ok());
  testing::WriteFile(backend.temp.File("file"), "x");
  CHECK(files.MakeDir(backend.temp.File("file")).code() == absl::StatusCode::kUnavailable);
  CHECK(files.MakeDir(backend.temp.File("file/below")).code() == absl::StatusCode::kUnavailable);
  CHECK(files.List(backend.temp.File("none")).status().code() == absl::StatusCode::kNotFound);
  CHECK(files.SyncDir(backend.temp.File("none")).code() == absl::StatusCode::kNotFound);
  CHECK(files.Open("/dev/full", Mode::kWrite).status().code() == absl::StatusCode::kInvalidArgument);
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none = before;
  none.rlim_cur = 0;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  const absl::Status no_descriptor = files.Open(backend.temp.File("file"), Mode::kRead).status();
  REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(no_descriptor.code() == absl::StatusCode::kAborted);
}

TEST_CASE("a file that may not grow is a disk that is full, after a part was written") {
  PosixBackend backend;
  REQUIRE(backend.files().MakeDir(backend.dir()).ok());
  auto file = backend.files().Open(backend.dir() + "/x", Mode::kCreate);
  REQUIRE(file.ok());
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const absl::Status written = (*file)->WriteAt(0, std::string(8192, 'x'));
  const absl::Status grown = (*file)->Resize(8192);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
  signal(SIGXFSZ, handler);
  CHECK(written.code() == absl::StatusCode::kResourceExhausted);
  CHECK(grown.code() == absl::StatusCode::kResourceExhausted);
  CHECK(*(*file)->Size() == 4096);
  CHECK((*file)->WriteAt(4096, "y").ok());
}

// --- what the fake adds ---

struct Disk {
  base::SeededRandom random{GENERATE(1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u)};
  FakeFileSystem files{random};
};

TEST_CASE("what is synced survives loss of power, the rest may not") {
  Disk disk;
  auto file = disk.files.Open("/d/x", Mode::kCreate);
  REQUIRE(file.ok());
  REQUIRE((*file)->WriteAt(0, std::string(2000, 'a')).ok());
  REQUIRE((*file)->Sync().ok());
  REQUIRE(disk.files.SyncDir("/d").ok());
  REQUIRE((*file)->WriteAt(0, std::string(4000, 'b')).ok());
  REQUIRE(disk.files.Open("/d/y", Mode::kCreate).ok());
  disk.files.LosePower();
  CHECK((*file)->WriteAt(0, "x").code() == absl::StatusCode::kUnavailable);
  const std::string content = disk.files.Content("/d/x");
  CHECK(content.size() >= 2000);
  CHECK(content.size() <= 4000);
  for (std::size_t i = 0; i < content.size(); ++i) {
    const char c = content[i];
    if (c != 'b' && c != (i < 2000 ? 'a' : '\0')) FAIL(i);
  }
}

TEST_CASE("over many losses of power everything that may happen does") {
  base::SeededRandom random(11);
  int lost = 0, whole = 0, torn = 0, nameless = 0;
  for (int round = 0; round < 200; ++round) {
    FakeFileSystem files(random);
    auto file = files.Open("/d/x", Mode::kCreate);
    REQUIRE(file.ok());
    REQUIRE((*file)->WriteAt(0, std::string(2048, 'b')).ok());
    files.LosePower();
    if (!files.Exists("/d/x")) {
      ++nameless;
      continue;
    }
    const std::string content = files.Content("/d/x");
    const auto written = std::count(content.begin(), content.end(), 'b');
    ++(written == 0 ? lost : written == 2048 ? whole : torn);
  }
  CHECK(nameless > 50);
  CHECK(lost > 10);
  CHECK(whole > 10);
  CHECK(torn > 5);
}

TEST_CASE("a full disk takes a part of a write, and says so") {
  Disk disk;
  disk.files.SetCapacity(100);
  auto file = disk.files.Open("/d/x", Mode::kCreate);
  REQUIRE(file.ok());
  CHECK((*file)->WriteAt(0, std::string(80, 'a')).ok());
  CHECK((*file)->WriteAt(80, std::string(30, 'b')).code() == absl::StatusCode::kResourceExhausted);
  CHECK(disk.files.Content("/d/x") == std::string(80, 'a') + std::string(20, 'b'));
  CHECK((*file)->Resize(101).code() == absl::StatusCode::kResourceExhausted);
  CHECK((*file)->WriteAt(0, std::string(100, 'c')).ok());
  disk.files.SetCapacity(1000);
  CHECK((*file)->Resize(101).ok());
}

TEST_CASE("a fault fails the calls it is for") {
  Disk disk;
  auto file = disk.files.Open("/d/x", Mode::kCreate);
  REQUIRE(file.ok());
  disk.files.SetFault([](FakeFileSystem::Call call, const std::string& path) {
    const bool hit = call == FakeFileSystem::Call::kSync && path == "/d/x";
    return hit ? absl::UnavailableError("input/output error") : absl::OkStatus();
  });
  CHECK((*file)->WriteAt(0, "a").ok());
  CHECK((*file)->Sync().code() == absl::StatusCode::kUnavailable);
  disk.files.SetFault(nullptr);
  CHECK((*file)->Sync().ok());
}

TEST_CASE("a process that was stopped in a change changes nothing more") {
  Disk disk;
  auto lock = disk.files.Lock("/d/LOCK");
  REQUIRE(lock.ok());
  auto file = disk.files.Open("/d/x", Mode::kCreate);
  REQUIRE(file.ok());
  disk.files.StopAfter(2);
  CHECK((*file)->WriteAt(0, "ab").ok());
  CHECK((*file)->WriteAt(2, "cd").code() == absl::StatusCode::kUnavailable);
  CHECK(disk.files.is_stopped());
  const std::string content = disk.files.Content("/d/x");
  CHECK((*file)->WriteAt(0, "xy").code() == absl::StatusCode::kUnavailable);
  CHECK(disk.files.Remove("/d/x").code() == absl::StatusCode::kUnavailable);
  CHECK(disk.files.Content("/d/x") == content);
  CHECK(content.starts_with("ab"));
  CHECK(content.size() <= 4);
  disk.files.Restart();
  CHECK(disk.files.Lock("/d/LOCK").ok());
  CHECK((*file)->WriteAt(0, "xy").code() == absl::StatusCode::kUnavailable);
  CHECK(disk.files.Open("/d/x", Mode::kWrite).ok());
}

}  // namespace
}  // namespace clusterpulse::spool
