#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/process.h"

namespace clusterpulse::testing {

// Network namespaces of the test's own, one a machine, joined by a bridge in one more: a network of 10.77.0.0/24 whose
// traffic never leaves it, and whose lines can be cut. They have no names on this machine and live as long as what runs
// in them, so nothing is left behind, however the test ends.
//
//   const auto net = NetNamespaces::Create({"hub", "redis"});  // null: not to be had here, the reason was printed
//   const auto redis = net->In("redis", [] { return RedisServer::Start(...); });
//   net->Cut({{"hub", "redis"}});  // what the hub sends does not arrive; the other way is open
//   net->HealAll();
//
// Confined to one thread.
class NetNamespaces {
 public:
  // Null without the rights of root, without ip and nft, or where the kernel has no bridges: the caller returns, unless
  // CLUSTERPULSE_REQUIRE_REAL is set, in which case this aborts the test run.
  static std::unique_ptr<NetNamespaces> Create(const std::vector<std::string>& machines);
  ~NetNamespaces();
  NetNamespaces(const NetNamespaces&) = delete;
  NetNamespaces& operator=(const NetNamespaces&) = delete;

  // The calling thread is in the machine's namespace until the scope ends. Sockets, threads and processes that are made
  // meanwhile stay there.
  class Scope {
   public:
    ~Scope();
    Scope(Scope&& other) noexcept : before_(std::exchange(other.before_, -1)) {}
    Scope& operator=(Scope&&) = delete;

   private:
    friend class NetNamespaces;
    explicit Scope(int ns);
    int before_;
  };
  [[nodiscard]] Scope Enter(const std::string& machine) const;
  // What `body` gives, run in there.
  template <typename Body>
  auto In(const std::string& machine, Body&& body) const {
    const Scope scope = Enter(machine);
    return body();
  }

  // "10.77.0.N"
  std::string Address(const std::string& machine) const;

  // Packets of `first` are lost on the way to `second`; nobody is told, and connections stay open.
  using Line = std::pair<std::string, std::string>;
  // These are cut from now on, and no others.
  void Cut(const std::vector<Line>& lines);
  void CutBoth(const std::string& a, const std::string& b) { Cut({{a, b}, {b, a}}); }
  void HealAll() { Cut({}); }

 private:
  struct Machine {
    int ns = -1;  // fd
    std::string address;
    std::set<std::string> deaf_to;  // addresses
  };
  NetNamespaces() = default;
  // Empty, or why there are none.
  std::string Build(const std::vector<std::string>& machines);
  void Apply(const Machine& machine) const;
  const Machine& Find(const std::string& machine) const;

  int bridge_ = -1;  // fd of the bridge's namespace
  std::map<std::string, Machine> machines_;
  TempDir dir_;
};

}  // namespace clusterpulse::testing
