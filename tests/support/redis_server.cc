#include "tests/support/redis_server.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>

#include <fmt/format.h>

namespace clusterpulse::testing {

std::unique_ptr<RedisServer> RedisServer::Start(Options options) {
  if (RunCommand({"redis-server", "--version"}).exit_code != 0) {
    std::fprintf(stderr, "SKIPPED: redis-server is not in PATH, tests against a real Redis do not run\n");
    if (std::getenv("CLUSTERPULSE_REQUIRE_REAL") != nullptr) std::abort();
    return nullptr;
  }
  std::unique_ptr<RedisServer> server(new RedisServer(std::move(options)));
  if (!server->Launch()) {
    std::fprintf(stderr, "redis-server did not start:\n%s\n", ReadFile(server->dir_.File("log")).c_str());
    std::abort();  // it is there and does not work: no reason to skip
  }
  return server;
}

RedisServer::RedisServer(Options options) : options_(std::move(options)), port_(FreePort()) {
  std::string config = fmt::format("bind 127.0.0.1\ndir {}\nsave \"\"\ndaemonize no\n", dir_.path());
  if (!options_.sentinel) {
    config += options_.aof ? "appendonly yes\nappendfsync always\n" : "appendonly no\n";
  }
  if (options_.tls_and_acl) {
    RunCommand({std::string(CLUSTERPULSE_SOURCE_DIR) + "/tests/support/certs.sh", dir_.File("tls")});
    // The password has blanks, which the ACL file cannot hold: its hash can.
    const auto hash = RunCommand({"sh", "-c", fmt::format("printf %s '{}' | sha256sum | cut -d' ' -f1", password())});
    WriteFile(dir_.File("users.acl"),
              fmt::format("user default off\nuser {} on #{} ~* &* +@read +@write +@pubsub +@transaction +@connection "
                          "+@stream +@scripting -@admin -@dangerous\n",
                          username(), hash.out.substr(0, 64)));
    config += fmt::format(
        "port 0\ntls-port {}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients yes\naclfile "
        "{}\n",
        port_, dir_.File("tls/server.crt"), dir_.File("tls/server.key"), ca_file(), dir_.File("users.acl"));
  } else {
    config += fmt::format("port {}\n", port_);
  }
  for (const std::string& line : options_.config) config += line + "\n";
  WriteFile(dir_.File("redis.conf"), config);
}

bool RedisServer::Launch() {
  std::vector<std::string> argv = {"redis-server", dir_.File("redis.conf")};
  if (options_.sentinel) argv.push_back("--sentinel");
  auto process = ChildProcess::Start({.argv = argv, .env = {}, .unset = {}, .output = dir_.File("log")});
  if (!process.ok()) return false;
  process_ = *std::move(process);
  return Eventually(std::chrono::seconds(10), [this] { return Cli({"PING"}).out.starts_with("PONG"); });
}

void RedisServer::Kill9() { process_->Kill9(); }
void RedisServer::Stop() { process_->Stop(); }
void RedisServer::Freeze() { process_->Signal(SIGSTOP); }
void RedisServer::Resume() { process_->Signal(SIGCONT); }
bool RedisServer::Restart() { return Launch(); }

CommandResult RedisServer::Cli(std::vector<std::string> args) const {
  std::vector<std::string> argv = {"redis-cli", "-h", "localhost", "-p", std::to_string(port_)};
  std::map<std::string, std::string> env;
  if (options_.tls_and_acl) {
    argv.insert(argv.end(), {"--tls", "--cacert", ca_file(), "--cert", cert_file(), "--key", key_file(), "--user",
                             username(), "--no-auth-warning"});
    env["REDISCLI_AUTH"] = password();
  }
  argv.insert(argv.end(), args.begin(), args.end());
  return RunCommand(argv, env, std::chrono::seconds(5));
}

std::string RedisServer::Ask(std::vector<std::string> args) const {
  std::string out = Cli(std::move(args)).out;
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

std::chrono::microseconds RedisServer::CpuTime() const {
  // sum_exec_runtime in ns: /proc/PID/schedstat counts the main thread, which runs every command, far finer than stat's
  // ticks of 10 ms.
  std::istringstream schedstat(ReadFile(fmt::format("/proc/{}/schedstat", pid())));
  long long nanos = 0;
  schedstat >> nanos;
  return std::chrono::microseconds(nanos / 1000);
}

}  // namespace clusterpulse::testing
