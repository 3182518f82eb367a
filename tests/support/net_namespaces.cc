#include "tests/support/net_namespaces.h"

#include <cstdio>
#include <cstdlib>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

namespace clusterpulse::testing {
namespace {

constexpr char kOwnNamespace[] = "/proc/thread-self/ns/net";

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "network namespaces: %s\n", what.c_str());
  std::abort();
}

// fd of a namespace that holds nothing; -1: not allowed.
int NewNamespace() {
  int ns = -1;
  std::thread([&ns] {  // the namespace of the caller stays what it is
    if (::unshare(CLONE_NEWNET) == 0) ns = ::open(kOwnNamespace, O_RDONLY | O_CLOEXEC);
  })
      .join();
  return ns;
}

// A path that programs find it under.
std::string PathOf(int ns) { return fmt::format("/proc/{}/fd/{}", ::getpid(), ns); }

// Empty: it did what it should; otherwise what went wrong.
std::string Try(const std::vector<std::string>& argv) {
  const CommandResult result = RunCommand(argv);
  if (result.exit_code == 0) return "";
  std::string line;
  for (const std::string& word : argv) line += word + " ";
  return line + ": " + result.out;
}

}  // namespace

NetNamespaces::Scope::Scope(int ns) : before_(::open(kOwnNamespace, O_RDONLY | O_CLOEXEC)) {
  if (before_ < 0 || ::setns(ns, CLONE_NEWNET) != 0) Fail("cannot enter one");
}

NetNamespaces::Scope::~Scope() {
  if (before_ < 0) return;
  if (::setns(before_, CLONE_NEWNET) != 0) Fail("cannot leave one");
  ::close(before_);
}

std::unique_ptr<NetNamespaces> NetNamespaces::Create(const std::vector<std::string>& machines) {
  std::string missing;
  if (RunCommand({"ip", "-V"}).exit_code != 0) missing = "ip is not in PATH";
  if (RunCommand({"nft", "--version"}).exit_code != 0) missing = "nft is not in PATH";
  std::unique_ptr<NetNamespaces> net(new NetNamespaces());
  if (missing.empty()) missing = net->Build(machines);
  if (missing.empty()) return net;
  std::fprintf(stderr, "SKIPPED: no network namespaces (%s), tests that cut lines do not run\n", missing.c_str());
  if (std::getenv("CLUSTERPULSE_REQUIRE_REAL") != nullptr) std::abort();
  return nullptr;
}

NetNamespaces::~NetNamespaces() {
  for (const auto& [name, machine] : machines_) ::close(machine.ns);
  if (bridge_ >= 0) ::close(bridge_);
}

std::string NetNamespaces::Build(const std::vector<std::string>& machines) {
  constexpr char kNotAllowed[] = "root's rights are needed";
  bridge_ = NewNamespace();
  if (bridge_ < 0) return kNotAllowed;
  std::string wrong;
  const auto run = [&wrong](const std::vector<std::string>& argv) {
    if (wrong.empty()) wrong = Try(argv);
  };
  const Scope scope(bridge_);
  // What a kernel or a sandbox may not have shows here, before anything was started.
  run({"nft", "flush", "ruleset"});
  run({"ip", "link", "add", "bridge", "type", "bridge"});
  run({"ip", "link", "set", "bridge", "up"});
  for (const std::string& name : machines) {
    Machine machine{.ns = NewNamespace(), .address = fmt::format("10.77.0.{}", machines_.size() + 1), .deaf_to = {}};
    if (machine.ns < 0) return kNotAllowed;
    const std::string port = fmt::format("port{}", machines_.size() + 1);
    run({"ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", PathOf(machine.ns)});
    run({"ip", "link", "set", port, "master", "bridge", "up"});
    {
      const Scope inside(machine.ns);
      run({"ip", "link", "set", "lo", "up"});
      run({"ip", "address", "add", machine.address + "/24", "dev", "eth0"});
      run({"ip", "link", "set", "eth0", "up"});
    }
    machines_.emplace(name, std::move(machine));
    if (!wrong.empty()) return wrong;
  }
  return wrong;
}

const NetNamespaces::Machine& NetNamespaces::Find(const std::string& machine) const {
  const auto found = machines_.find(machine);
  if (found == machines_.end()) Fail("no machine " + machine);
  return found->second;
}

NetNamespaces::Scope NetNamespaces::Enter(const std::string& machine) const { return Scope(Find(machine).ns); }

std::string NetNamespaces::Address(const std::string& machine) const { return Find(machine).address; }

void NetNamespaces::Cut(const std::vector<Line>& lines) {
  std::map<std::string, std::set<std::string>> deaf_to;
  for (const auto& [from, to] : lines) {
    Find(to);
    deaf_to[to].insert(Address(from));
  }
  for (auto& [name, machine] : machines_) {
    if (machine.deaf_to == deaf_to[name]) continue;
    machine.deaf_to = deaf_to[name];
    Apply(machine);
  }
}

void NetNamespaces::Apply(const Machine& machine) const {
  std::string rules = "flush ruleset\ntable inet cuts {\n chain in {\n  type filter hook input priority 0;\n";
  for (const std::string& address : machine.deaf_to) rules += fmt::format("  ip saddr {} drop;\n", address);
  rules += " }\n}\n";
  const std::string file = dir_.File("rules.nft");
  WriteFile(file, rules);
  const Scope inside(machine.ns);
  if (const std::string wrong = Try({"nft", "-f", file}); !wrong.empty()) Fail(wrong);
}

}  // namespace clusterpulse::testing
