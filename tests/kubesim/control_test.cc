// The control port as scripts use it: every command and every fault goes over a socket, and its effect is read from
// another one.
#include "tests/kubesim/control.h"

#include <algorithm>
#include <functional>
#include <set>

#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/http/client.h"
#include "tests/support/process.h"

namespace clusterpulse::kubesim {
namespace {

using json::Value;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Eventually;
using Code = absl::StatusCode;
using Steady = std::chrono::steady_clock;

constexpr const char* kNodes = "/api/v1/nodes";
constexpr const char* kWatchNodes = "/api/v1/nodes?watch=true&resourceVersion=0&timeoutSeconds=30";

// What came back for one request, byte for byte.
struct Answer {
  absl::Status status;  // of the connection
  int code = 0;
  std::optional<seconds> retry_after;
  std::string body;
  milliseconds headers_after{0}, took{0};

  int Lines() const { return static_cast<int>(std::count(body.begin(), body.end(), '\n')); }
};

class Peer {
 public:
  Peer(const std::string& url, const std::string& ca_pem, std::string token) : token_(std::move(token)) {
    http::Client::Options options;
    options.base_url = url;
    options.tls.ca_pem = ca_pem;
    options.proxy_settings = {};
    auto client = http::Client::Create(std::move(options));
    REQUIRE(client.ok());
    client_ = *std::move(client);
  }
  // As the cluster's administrator, with what is valid now.
  explicit Peer(const SimCluster& cluster) : Peer(cluster.url(), cluster.ca_pem(), cluster.token()) {}

  Answer Send(const std::string& method, const std::string& target, const std::string& body = "",
              const http::Limits& limits = http::Limits{.timeout = seconds(20)},
              const std::function<void()>& on_first_bytes = {}) {
    http::Request request{method, target, {{"Authorization", "Bearer " + token_}}, body};
    if (method == "PATCH") request.headers.emplace_back("Content-Type", "application/merge-patch+json");
    Answer answer;
    const auto began = Steady::now();
    const auto since = [began] { return std::chrono::duration_cast<milliseconds>(Steady::now() - began); };
    const auto response = client_->Stream(
        request,
        [&](const http::Response& head, std::string_view bytes) {
          const bool first = answer.body.empty();
          if (first) answer.headers_after = since();
          answer.code = head.code;
          answer.body.append(bytes);
          if (first && on_first_bytes) on_first_bytes();
          return absl::OkStatus();
        },
        limits);
    answer.took = since();
    answer.status = response.status();
    if (response.ok()) {
      answer.code = response->code;
      answer.retry_after = response->retry_after;
    }
    return answer;
  }
  Answer Get(const std::string& target) { return Send("GET", target); }

 private:
  const std::string token_;
  std::unique_ptr<http::Client> client_;
};

// "hub", "cluster-1" (three nodes) and "cluster-2" (two), commanded by their control port only.
struct Fixture {
  testing::TempDir dir;
  std::unique_ptr<Kubesim> sim;
  std::optional<ControlServer> control;
  std::optional<Peer> operator_;  // of the control port

  explicit Fixture(bool tls = true) {
    auto made = Kubesim::Create({.clusters = 2,
                                 .openshift = 0,
                                 .fleet = {.nodes = 3, .pods_per_node = 1},
                                 .server = {.tls = tls},
                                 .dir = dir.path()});
    REQUIRE(made.ok());
    sim = *std::move(made);
    REQUIRE(Cluster(2).store().Delete(kube::kNodes, {"", "node-3"}).ok());
    control.emplace(*sim, "127.0.0.1", 0);
    REQUIRE(control->Start().ok());
    operator_.emplace("http://127.0.0.1:" + std::to_string(control->port()), "", "");
  }
  SimCluster& Cluster(int number) { return *sim->Find("cluster-" + std::to_string(number)); }
  Answer Post(const std::string& command) { return operator_->Send("POST", command); }
  void Do(const std::string& command) {
    const Answer answer = Post(command);
    CAPTURE(command, answer.status.ToString(), answer.body);
    REQUIRE(answer.code == 200);
    CHECK(answer.body == "ok\n");
  }
  Value Servers() {
    const auto value = Value::Parse(operator_->Get("/servers").body);
    REQUIRE(value.ok());
    return (*value)["servers"];
  }
  // Gives `command` once cluster-1 has begun to tell a client of its nodes; how that ended.
  Answer WatchDuring(const std::string& command) {
    return Peer(Cluster(1)).Send("GET", kWatchNodes, "", {.timeout = seconds(10), .stream = seconds(10)}, [&] {
      Do(command);
    });
  }
};

bool Has(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

// The words a help text lists behind `word`: "verb=list|watch".
std::set<std::string> ListedBehind(const std::string& text, const std::string& word) {
  std::set<std::string> listed;
  const auto at = text.find(word);
  REQUIRE(at != text.npos);
  std::string one;
  for (auto i = at + word.size(); i < text.size() && !Has(", \n", text.substr(i, 1)); ++i) {
    if (text[i] != '|') {
      one.push_back(text[i]);
      continue;
    }
    listed.insert(std::exchange(one, ""));
  }
  listed.insert(one);
  return listed;
}

// --- faults ---

struct FaultCase {
  std::string fault;                                                  // as the query of POST /fault
  std::string target;                                                 // GET of it is what is hit
  std::function<void(const Answer& hit, const Answer& whole)> check;  // `whole`: the same without the fault
};

const std::vector<FaultCase>& FaultCases() {
  const auto refused = [](int code, std::string reason, std::optional<int> retry_after) {
    return [=](const Answer& hit, const Answer&) {
      REQUIRE(hit.status.ok());
      CHECK(hit.code == code);
      CHECK(hit.retry_after == (retry_after ? std::optional(seconds(*retry_after)) : std::nullopt));
      const auto status = Value::Parse(hit.body);
      REQUIRE(status.ok());
      CHECK((*status)["kind"].StringOr() == "Status");
      CHECK((*status)["code"].IntOr() == code);
      CHECK((*status)["reason"].StringOr() == reason);
      CHECK((*status)["details"]["retryAfterSeconds"].IntOr(-1) == retry_after.value_or(-1));
    };
  };
  const auto half = [](const Answer& hit, const Answer& whole) {
    CHECK(hit.status.code() == Code::kUnavailable);
    CHECK(hit.code == 200);
    CHECK(hit.body == whole.body.substr(0, whole.body.size() / 2));
  };
  static const std::vector<FaultCase> cases{
      {"action=latency&verb=list&ms=300", kNodes,
       [](const Answer& hit, const Answer& whole) {
         CHECK(hit.status.ok());
         CHECK(hit.body == whole.body);
         CHECK(hit.headers_after >= milliseconds(300));
       }},
      {"action=latency&verb=watch&ms=300", kWatchNodes,
       [](const Answer& hit, const Answer&) { CHECK(hit.headers_after >= milliseconds(300)); }},
      {"action=status&code=429&retry-after=7", kNodes, refused(429, "TooManyRequests", 7)},
      {"action=status&code=429", kNodes, refused(429, "TooManyRequests", std::nullopt)},
      {"action=status&code=503&retry-after=2", kNodes, refused(503, "ServiceUnavailable", 2)},
      {"action=status", kNodes, refused(503, "ServiceUnavailable", std::nullopt)},
      {"action=status&code=500", kNodes, refused(500, "InternalError", std::nullopt)},
      {"action=status&code=401", kNodes, refused(401, "Unauthorized", std::nullopt)},
      {"action=status&code=403", kNodes, refused(403, "Forbidden", std::nullopt)},
      {"action=status&code=404", kNodes, refused(404, "NotFound", std::nullopt)},
      {"action=status&code=503&retry-after=1&verb=watch", kWatchNodes, refused(503, "ServiceUnavailable", 1)},
      {"action=expired&verb=list", kNodes, refused(410, "Expired", std::nullopt)},
      {"action=expired&verb=watch", kWatchNodes,
       [](const Answer& hit, const Answer&) {
         CHECK(hit.status.ok());  // in good order: the word of it is inside
         CHECK(hit.code == 200);
         CHECK(hit.Lines() == 1);
         const auto event = Value::Parse(hit.body);
         REQUIRE(event.ok());
         CHECK((*event)["type"].StringOr() == "ERROR");
         CHECK((*event)["object"]["code"].IntOr() == 410);
         CHECK((*event)["object"]["reason"].StringOr() == "Expired");
       }},
      {"action=reset&verb=list", kNodes,
       [](const Answer& hit, const Answer&) {
         CHECK(hit.status.code() == Code::kUnavailable);
         CHECK(Has(base::Message(hit.status), "reset by peer"));
         CHECK(hit.body.empty());
       }},
      {"action=reset&verb=watch", kWatchNodes,
       [](const Answer& hit, const Answer& whole) {
         CHECK(hit.status.code() == Code::kUnavailable);
         CHECK(Has(base::Message(hit.status), "reset by peer"));
         CHECK(hit.Lines() <= 1);  // the client's kernel may drop what came before the reset
         CHECK(whole.body.starts_with(hit.body));
       }},
      {"action=half&verb=list", kNodes, half},
      {"action=half&verb=get&resource=nodes", std::string(kNodes) + "/node-1", half},
      {"action=half&verb=watch", kWatchNodes,
       [](const Answer& hit, const Answer& whole) {
         CHECK(hit.status.code() == Code::kUnavailable);
         const auto line = whole.body.find('\n') + 1;
         CHECK(hit.body == whole.body.substr(0, line / 2));
       }},
      {"action=slow&ms=100", kWatchNodes,
       [](const Answer& hit, const Answer& whole) {
         CHECK(hit.status.ok());
         CHECK(hit.body == whole.body);
         CHECK(hit.took - hit.headers_after >= milliseconds(200));  // between three events
       }},
      {"action=cut&ms=200", kWatchNodes,
       [](const Answer& hit, const Answer& whole) {
         CHECK(hit.status.code() == Code::kUnavailable);
         CHECK(hit.body == whole.body);
         CHECK(hit.took >= milliseconds(200));
         CHECK(hit.took < milliseconds(900));  // the watch's own end
       }},
      {"action=cut&ms=200&clean=true&verb=watch", kWatchNodes,
       [](const Answer& hit, const Answer& whole) {
         CHECK(hit.status.ok());
         CHECK(hit.body == whole.body);
         CHECK(hit.took >= milliseconds(200));
         CHECK(hit.took < milliseconds(900));
       }},
  };
  return cases;
}

TEST_CASE_METHOD(Fixture, "each kind of fault does what it says until it is cleared") {
  for (const FaultCase& c : FaultCases()) {
    DYNAMIC_SECTION(c.fault) {
      Peer peer(Cluster(1));
      // A second: the events that there are come at once.
      const std::string target = c.target == kWatchNodes ? "/api/v1/nodes?watch=true&timeoutSeconds=1" : c.target;
      const Answer whole = peer.Get(target);
      REQUIRE(whole.status.ok());
      REQUIRE(whole.code == 200);
      Do("/fault?server=cluster-1&" + c.fault);
      const Answer hit = peer.Get(target);
      CAPTURE(hit.status.ToString(), hit.code, hit.body.substr(0, 300));
      c.check(hit, whole);
      CHECK(Peer(Cluster(2)).Get(kNodes).code == 200);
      Do("/faults/clear?server=cluster-1");
      const Answer after = peer.Get(kNodes);
      CHECK(after.status.ok());
      CHECK(after.code == 200);
    }
  }
}

TEST_CASE_METHOD(Fixture, "a rule hits its verb and its resource and nothing else") {
  struct Request {
    std::string verb, method, target, body;
  };
  const std::string maps = "/api/v1/namespaces/default/configmaps";
  const std::string map = R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"}})";
  const std::vector<Request> requests{{"list", "GET", maps, ""},
                                      {"watch", "GET", maps + "?watch=true&timeoutSeconds=1", ""},
                                      {"create", "POST", maps, map},
                                      {"get", "GET", maps + "/m", ""},
                                      {"update", "PUT", maps + "/m", map},
                                      {"patch", "PATCH", maps + "/m", "{}"},
                                      {"delete", "DELETE", maps + "/m", ""}};
  std::set<std::string> verbs;
  for (const Request& request : requests) verbs.insert(request.verb);
  CHECK(verbs == ListedBehind(kFaultFields, "verb="));
  Peer peer(Cluster(1));
  for (const Request& hit : requests) {
    DYNAMIC_SECTION(hit.verb) {
      Do("/fault?action=status&code=418&resource=configmaps&verb=" + hit.verb);
      for (const Request& request : requests) {
        CAPTURE(request.verb);
        CHECK((peer.Send(request.method, request.target, request.body).code == 418) == (request.verb == hit.verb));
      }
      CHECK(peer.Get(kNodes).code == 200);
    }
  }
}

TEST_CASE_METHOD(Fixture, "a rule ends with its count and hits its share") {
  Peer peer(Cluster(1));
  Do("/fault?action=status&code=503&count=2");
  CHECK(peer.Get(kNodes).code == 503);
  CHECK(peer.Get(kNodes).code == 503);
  CHECK(peer.Get(kNodes).code == 200);
  Do("/fault?action=status&code=503&rate=0.5");
  int hits = 0;
  for (int i = 0; i < 200; ++i) hits += peer.Get(kNodes).code == 503 ? 1 : 0;
  CHECK(hits > 60);
  CHECK(hits < 140);
  Do("/faults/clear");
  Do("/fault?action=status&code=503&rate=0");
  for (int i = 0; i < 20; ++i) CHECK(peer.Get(kNodes).code == 200);
}

// --- commands ---

struct CommandCase {
  std::string command;
  // The command was given once, to cluster-1 where it takes a server. `before` was its client then.
  std::function<void(Fixture& f, Peer& before)> check;
};

// To who knows what is valid now.
bool Serves(const SimCluster& cluster) {
  const Answer answer = Peer(cluster).Get(kNodes);
  return answer.status.ok() && answer.code == 200 && Has(answer.body, "NodeList");
}

const std::vector<CommandCase>& CommandCases() {
  const auto certificate = [](const char* change, Code code, const char* words, bool new_clients_trust_it) {
    return CommandCase{std::string("/certificate?change=") + change, [=](Fixture& f, Peer& before) {
                         const Answer answer = before.Get(kNodes);
                         CAPTURE(answer.status.ToString());
                         CHECK(answer.status.code() == code);
                         CHECK(Has(base::Message(answer.status), words));
                         CHECK(Serves(f.Cluster(1)) == new_clients_trust_it);
                       }};
  };
  const auto node = [](const char* command, const char* words) {
    return CommandCase{command, [=](Fixture& f, Peer&) {
                         CHECK(Has(Peer(f.Cluster(1)).Get(std::string(kNodes) + "/node-1").body, words));
                         CHECK_FALSE(Has(Peer(f.Cluster(1)).Get(std::string(kNodes) + "/node-2").body, words));
                         CHECK_FALSE(Has(Peer(f.Cluster(2)).Get(std::string(kNodes) + "/node-1").body, words));
                       }};
  };
  static const std::vector<CommandCase> cases{
      {"/fault?action=status&code=503", [](Fixture& f, Peer&) { CHECK(Peer(f.Cluster(1)).Get(kNodes).code == 503); }},
      {"/faults/clear",
       [](Fixture& f, Peer&) {
         f.Do("/fault?server=cluster-1&action=status");
         f.Do("/faults/clear?server=cluster-1");
         CHECK(f.Servers().items()[1]["faults"].items().empty());
         CHECK(Serves(f.Cluster(1)));
       }},
      {"/stop",
       [](Fixture& f, Peer& before) {
         const Answer answer = Peer(f.Cluster(1)).Get(kNodes);
         CHECK(answer.status.code() == Code::kUnavailable);
         CHECK(Has(base::Message(answer.status), "Connection refused"));
         f.Do("/start?server=cluster-1");
         CHECK(before.Get(kNodes).code == 200);  // the same address, certificate and objects
         CHECK(f.WatchDuring("/stop?server=cluster-1").status.code() == Code::kUnavailable);
       }},
      {"/start", [](Fixture& f, Peer&) { CHECK(Serves(f.Cluster(1))); }},
      {"/freeze",
       [](Fixture& f, Peer& before) {
         CHECK(before.Send("GET", kNodes, "", {.timeout = milliseconds(300)}).status.code() == Code::kDeadlineExceeded);
         f.Do("/resume?server=cluster-1");
         CHECK(before.Get(kNodes).code == 200);
       }},
      {"/resume", [](Fixture& f, Peer&) { CHECK(Serves(f.Cluster(1))); }},
      {"/reset",
       [](Fixture& f, Peer&) {
         const Answer answer = f.WatchDuring("/reset?server=cluster-1");
         CAPTURE(answer.status.ToString());
         CHECK(answer.status.code() == Code::kUnavailable);
         CHECK(Has(base::Message(answer.status), "reset by peer"));
         CHECK(Serves(f.Cluster(1)));
       }},
      {"/watches/cut",
       [](Fixture& f, Peer&) {
         const Answer answer = f.WatchDuring("/watches/cut?server=cluster-1");
         CHECK(answer.status.code() == Code::kUnavailable);
         CHECK(answer.Lines() == 3);
       }},
      {"/watches/cut?clean=true",
       [](Fixture& f, Peer&) {
         const Answer answer = f.WatchDuring("/watches/cut?server=cluster-1&clean=true");
         CHECK(answer.status.ok());
         CHECK(answer.Lines() == 3);
       }},
      {"/compact",
       [](Fixture& f, Peer&) {
         Peer peer(f.Cluster(1));
         const auto page = Value::Parse(peer.Get(std::string(kNodes) + "?limit=1").body);
         REQUIRE(page.ok());
         const std::string from = std::to_string(f.Cluster(1).store().version());
         f.Do("/node?server=cluster-1&name=node-1&ready=false");
         f.Do("/compact?server=cluster-1");
         const std::string token((*page)["metadata"]["continue"].StringOr());
         CHECK(peer.Get(std::string(kNodes) + "?limit=1&continue=" + token).code == 410);
         const Answer watch = peer.Get(std::string(kNodes) + "?watch=true&timeoutSeconds=5&resourceVersion=" + from);
         CHECK(Has(watch.body, "\"code\":410"));
       }},
      certificate("renew", Code::kOk, "", true),
      certificate("authority", Code::kUnauthenticated, "is not trusted", true),
      certificate("expired", Code::kUnauthenticated, "has expired", false),
      certificate("wrong-name", Code::kUnauthenticated, "for another name", false),
      {"/token",
       [](Fixture& f, Peer& before) {
         CHECK(before.Get(kNodes).code == 401);
         CHECK(before.Get("/version").code == 200);
         CHECK(before.Get("/readyz").code == 200);
         CHECK(Serves(f.Cluster(1)));
       }},
      {"/token?value=mine",
       [](Fixture& f, Peer&) {
         CHECK(Peer(f.Cluster(1).url(), f.Cluster(1).ca_pem(), "mine").Get(kNodes).code == 200);
       }},
      node("/node?name=node-1&ready=false", "KubeletNotReady"),
      {"/node?name=node-1&ready=true",
       [](Fixture& f, Peer&) {
         CHECK_FALSE(Has(Peer(f.Cluster(1)).Get(std::string(kNodes) + "/node-1").body, "KubeletNotReady"));
       }},
      node("/cordon?name=node-1&on=true", "unschedulable"),
      {"/cordon?name=node-1&on=false",
       [](Fixture& f, Peer&) {
         CHECK_FALSE(Has(Peer(f.Cluster(1)).Get(std::string(kNodes) + "/node-1").body, "unschedulable"));
       }},
      {"/churn?rate=500",
       [](Fixture& f, Peer&) {
         const auto at = f.Cluster(1).store().version();
         CHECK(Eventually(seconds(10), [&] { return f.Cluster(1).store().version() > at + 20; }));
         f.Do("/churn?server=cluster-1&rate=0");
         // The tick that was running may still end.
         auto last = f.Cluster(1).store().version();
         CHECK(Eventually(seconds(10), [&] {
           base::StopSignal().WaitFor(milliseconds(100));
           return std::exchange(last, f.Cluster(1).store().version()) == f.Cluster(1).store().version();
         }));
       }},
      {"/files",
       [](Fixture& f, Peer&) {
         f.Do("/token?server=cluster-1&value=written");
         CHECK_FALSE(Has(testing::ReadFile(f.dir.File("cluster-1.kubeconfig")), "written"));
         f.Do("/files");
         CHECK(Has(testing::ReadFile(f.dir.File("cluster-1.kubeconfig")), "written"));
         CHECK(Has(testing::ReadFile(f.dir.File("connections.yaml")), "d3JpdHRlbg=="));
       }},
  };
  return cases;
}

TEST_CASE("each command does what it says, to the server it names") {
  for (const CommandCase& c : CommandCases()) {
    DYNAMIC_SECTION(c.command) {
      Fixture f;
      Peer before(f.Cluster(1));
      REQUIRE(before.Get(kNodes).code == 200);
      const bool whole = c.command == "/files";
      f.Do(c.command + (whole                                   ? ""
                        : c.command.find('?') == c.command.npos ? "?server=cluster-1"
                                                                : "&server=cluster-1"));
      c.check(f, before);
    }
  }
}

TEST_CASE_METHOD(Fixture, "a command without a server goes to all managed clusters") {
  Do("/fault?action=status&code=503");
  CHECK(Peer(Cluster(1)).Get(kNodes).code == 503);
  CHECK(Peer(Cluster(2)).Get(kNodes).code == 503);
  CHECK(Peer(*sim->Find("hub")).Get("/api/v1/namespaces").code == 200);
  Do("/fault?action=status&code=503&server=hub");
  CHECK(Peer(*sim->Find("hub")).Get("/api/v1/namespaces").code == 503);
}

TEST_CASE_METHOD(Fixture, "the servers are described as they are") {
  Peer(Cluster(1)).Get(kNodes);
  Do("/fault?server=cluster-2&action=cut&ms=7&count=3");
  const Value servers = Servers();
  REQUIRE(servers.items().size() == 3);
  CHECK(servers.items()[0]["name"].StringOr() == "hub");
  CHECK(servers.items()[1]["url"].StringOr() == Cluster(1).url());
  CHECK(servers.items()[1]["objects"]["nodes"].IntOr() == 3);
  CHECK(servers.items()[1]["requests"]["list nodes"].IntOr() == 1);
  CHECK(servers.items()[1]["resourceVersion"].IntOr() == Cluster(1).store().version());
  CHECK(servers.items()[1]["faults"].items().empty());
  REQUIRE(servers.items()[2]["faults"].items().size() == 1);
  CHECK(Has(servers.items()[2]["faults"].items()[0].StringOr(), "action=cut"));
}

TEST_CASE_METHOD(Fixture, "every command and fault that the help names is tested here, and no other exists") {
  const Answer help = operator_->Get("/");
  REQUIRE(help.code == 200);
  REQUIRE(Has(help.body, kControlHelp));
  REQUIRE(Has(help.body, kFaultFields));
  // "POST /stop  /start  what they do": the words with a slash in front.
  std::set<std::string> listed, tested;
  for (auto at = help.body.find("\n  POST"); at != help.body.npos; at = help.body.find("\n  POST", at + 1)) {
    const auto line = help.body.substr(at + 1, help.body.find('\n', at + 1) - at - 1);
    for (auto slash = line.find(" /"); slash != line.npos; slash = line.find(" /", slash + 1)) {
      listed.insert(line.substr(slash + 1, line.find_first_of(" ?[", slash + 1) - slash - 1));
    }
  }
  for (const CommandCase& c : CommandCases()) tested.insert(c.command.substr(0, c.command.find('?')));
  CHECK(listed == tested);

  std::set<std::string> changes, actions;
  for (const CommandCase& c : CommandCases()) {
    const auto change = c.command.find("change=");
    if (change != c.command.npos) changes.insert(c.command.substr(change + 7));
  }
  CHECK(changes == ListedBehind(kControlHelp, "change="));
  for (const FaultCase& c : FaultCases()) actions.insert(c.fault.substr(7, c.fault.find('&') - 7));
  CHECK(actions == ListedBehind(kFaultFields, "action="));
}

// --- bad input ---

struct BadCase {
  std::string method, command;
  int code;
  const char* words;
};

const std::vector<BadCase> kBadCases{
    {"POST", "/nonsense", 400, "no such command"},
    {"POST", "/", 400, "no such command"},
    {"POST", "/stop/", 400, "no such command"},
    {"GET", "/stop", 405, "commands are POST"},
    {"PUT", "/stop", 405, "commands are POST"},
    {"DELETE", "/faults/clear", 405, "commands are POST"},
    {"POST", "/stop?server=cluster-9", 400, "no server \"cluster-9\""},
    {"POST", "/stop?server=", 400, "no server \"\""},
    {"POST", "/stop?server=two%0alines", 400, "no server \"two?lines\""},
    {"POST", "/stop?sever=cluster-1", 400, "unknown parameter \"sever\""},
    {"POST", "/freeze?server=cluster-1&for=5s", 400, "unknown parameter \"for\""},
    {"POST", "/faults/clear?action=latency", 400, "unknown parameter \"action\""},
    {"POST", "/fault", 400, "has no action"},
    {"POST", "/fault?verb=list", 400, "has no action"},
    {"POST", "/fault?action=explode", 400, "unknown fault action \"explode\""},
    {"POST", "/fault?action=", 400, "unknown fault action \"\""},
    {"POST", "/fault?action=status&code=many", 400, "\"code=many\""},
    {"POST", "/fault?action=status&code=200", 400, "\"code=200\""},
    {"POST", "/fault?action=status&code=600", 400, "\"code=600\""},
    {"POST", "/fault?action=status&code=429x", 400, "\"code=429x\""},
    {"POST", "/fault?action=status&retry-after=-1", 400, "\"retry-after=-1\""},
    {"POST", "/fault?action=status&retry-after=1e9", 400, "\"retry-after=1e9\""},
    {"POST", "/fault?action=latency&ms=-5", 400, "\"ms=-5\""},
    {"POST", "/fault?action=latency&ms=99999999999", 400, "\"ms=99999999999\""},
    {"POST", "/fault?action=latency&ms=", 400, "\"ms=\""},
    {"POST", "/fault?action=reset&rate=1.5", 400, "\"rate=1.5\""},
    {"POST", "/fault?action=reset&rate=-0.1", 400, "\"rate=-0.1\""},
    {"POST", "/fault?action=reset&rate=nan", 400, "\"rate=nan\""},
    {"POST", "/fault?action=reset&count=-1", 400, "\"count=-1\""},
    {"POST", "/fault?action=reset&verb=lst", 400, "\"verb=lst\""},
    {"POST", "/fault?action=cut&clean=perhaps", 400, "\"clean=perhaps\""},
    {"POST", "/fault?action=cut&colour=red", 400, "\"colour=red\""},
    {"POST", "/fault?action=cut&verb=list", 400, "for watches"},
    {"POST", "/fault?action=slow&verb=get", 400, "for watches"},
    {"POST", "/fault?action=latency&server=cluster-9", 400, "no server"},
    {"POST", "/watches/cut?clean=perhaps", 400, "neither true nor false"},
    {"POST", "/certificate", 400, "change=\"\""},
    {"POST", "/certificate?change=older", 400, "change=\"older\""},
    {"POST", "/token?value=two%20words", 400, "neither blanks"},
    {"POST", "/token?value=line%0aend", 400, "neither blanks"},
    {"POST", "/node?ready=true", 400, "no node \"\""},
    {"POST", "/node?name=node-1", 400, "ready=\"\""},
    {"POST", "/node?name=node-1&ready=yes", 400, "ready=\"yes\""},
    {"POST", "/node?name=node-9&ready=false", 400, "cluster-1 has no node \"node-9\""},
    // cluster-1 has it, and must be left alone as well.
    {"POST", "/node?name=node-3&ready=false", 400, "cluster-2 has no node \"node-3\""},
    {"POST", "/cordon?name=node-3&on=true", 400, "cluster-2 has no node \"node-3\""},
    {"POST", "/cordon?name=node-1", 400, "on=\"\""},
    {"POST", "/churn", 400, "rate=\"\""},
    {"POST", "/churn?rate=fast", 400, "rate=\"fast\""},
    {"POST", "/churn?rate=-1", 400, "rate=\"-1\""},
    {"POST", "/churn?rate=inf", 400, "rate=\"inf\""},
    {"POST", "/churn?rate=nan", 400, "rate=\"nan\""},
    {"POST", "/churn?rate=5&server=hub", 400, "hub has no fleet"},
    {"POST", "/files?server=cluster-1", 400, "unknown parameter \"server\""},
};

// Everything a command could change, as clients and files show it.
std::string Snapshot(Fixture& f) {
  std::string all;
  for (const auto& cluster : f.sim->clusters()) {
    all +=
        fmt::format("{} {} {} {}\n", cluster->url(), cluster->ca_pem(), cluster->token(), cluster->store().version());
    all += Peer(*cluster).Get("/api/v1/nodes").body;
    for (const Fault& fault : cluster->api().faults().List()) all += fault.ToString() + "\n";
    all += testing::ReadFile(f.dir.File(cluster->name() + ".kubeconfig"));
  }
  return all;
}

TEST_CASE_METHOD(Fixture, "a command that makes no sense gets one clear line and changes nothing") {
  Do("/fault?action=latency&ms=1");
  std::vector<Peer> before;
  for (const auto& cluster : sim->clusters()) before.emplace_back(*cluster);
  const std::string snapshot = Snapshot(*this);
  for (const BadCase& bad : kBadCases) {
    CAPTURE(bad.method, bad.command);
    const Answer answer = operator_->Send(bad.method, bad.command);
    CHECK(answer.status.ok());
    CHECK(answer.code == bad.code);
    CAPTURE(answer.body);
    CHECK(Has(answer.body, bad.words));
    CHECK(answer.Lines() == 1);
    CHECK(answer.body.ends_with('\n'));
    CHECK(Snapshot(*this) == snapshot);
  }
  // What was valid before still is: nothing was renewed behind the same address.
  for (Peer& peer : before) CHECK(peer.Get("/api/v1/namespaces").code == 200);
}

TEST_CASE("what a server was not started with is refused") {
  Fixture plain(false);
  const Answer answer = plain.Post("/certificate?change=renew");
  CHECK(answer.code == 400);
  CHECK(answer.body == "cluster-1 serves plain text\n");

  const auto sim = Kubesim::Create({.clusters = 0, .openshift = 0});
  REQUIRE(sim.ok());
  ControlServer control(**sim, "127.0.0.1", 0);
  REQUIRE(control.Start().ok());
  Peer peer("http://127.0.0.1:" + std::to_string(control.port()), "", "");
  CHECK(peer.Send("POST", "/files").body == "no directory was given to write files into\n");
  CHECK(peer.Send("POST", "/stop").body == "there is no managed cluster\n");
  CHECK(peer.Send("POST", "/stop?server=hub").body == "ok\n");
}

}  // namespace
}  // namespace clusterpulse::kubesim
