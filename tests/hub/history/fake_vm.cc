#include "tests/hub/history/fake_vm.h"

#include <algorithm>

#include <fmt/format.h>

#include "tests/hub/history/gunzip.h"

namespace clusterpulse::history {

FakeVm::FakeVm() {
  server_.emplace([this](http::RawServer::Connection& connection, int) { Serve(connection); });
}

void FakeVm::SetScript(Script script) {
  base::MutexLock lock(mu_);
  script_ = std::move(script);
}

void FakeVm::SetStart(std::optional<std::int64_t> start) {
  base::MutexLock lock(mu_);
  start_ = start;
}

void FakeVm::SetRetention(std::string retention) {
  base::MutexLock lock(mu_);
  retention_ = std::move(retention);
}

void FakeVm::SetExport(std::function<Reply(const std::string& target)> script) {
  base::MutexLock lock(mu_);
  export_ = std::move(script);
}

std::vector<std::string> FakeVm::searches() const {
  base::MutexLock lock(mu_);
  return searches_;
}

std::vector<FakeVm::Import> FakeVm::imports() const {
  base::MutexLock lock(mu_);
  return imports_;
}

std::vector<std::string> FakeVm::taken() const {
  base::MutexLock lock(mu_);
  return taken_;
}

std::vector<std::string> FakeVm::order() const {
  base::MutexLock lock(mu_);
  return order_;
}

int FakeVm::looks() const {
  const auto all = order();
  return static_cast<int>(std::count(all.begin(), all.end(), "look"));
}

FakeVm::Reply FakeVm::Handle(const Import& import) {
  Script script;
  {
    base::MutexLock lock(mu_);
    imports_.push_back(import);
    order_.emplace_back("import");
    script = script_;
  }
  Reply reply = script ? script(import) : Reply();
  if (reply.code >= 200 && reply.code < 300 && !reply.hang && !reply.reset) {
    base::MutexLock lock(mu_);
    for (std::string_view rest = import.lines; !rest.empty();) {
      const std::size_t end = rest.find('\n');
      taken_.emplace_back(rest.substr(0, end));
      rest.remove_prefix(end + 1);
    }
  }
  return reply;
}

void FakeVm::Serve(http::RawServer::Connection& connection) {
  for (std::string request; !(request = connection.ReadRequest()).empty();) {
    const std::size_t head = request.find("\r\n\r\n");
    const std::string headers = request.substr(0, head + 2);
    const std::size_t target = request.find(' ') + 1;
    const std::string path = request.substr(target, request.find(' ', target) - target);
    if (request.starts_with("GET ") && path.find("/api/v1/export?") != std::string::npos) {
      std::function<Reply(const std::string&)> script;
      {
        base::MutexLock lock(mu_);
        order_.emplace_back("search");
        searches_.push_back(path);
        script = export_;
      }
      const Reply reply = script ? script(path) : Reply{.code = 400, .body = "unsupported path"};
      if (!connection.Answer(reply.body, reply.code, reply.headers)) return;
      continue;
    }
    if (request.starts_with("GET ")) {
      std::optional<std::int64_t> start;
      std::string flags;
      {
        base::MutexLock lock(mu_);
        order_.emplace_back("look");
        start = start_;
        if (!retention_.empty()) {
          flags = fmt::format("flag{{name=\"retentionPeriod\", value=\"{}\", is_set=\"true\"}} 1\n", retention_);
        }
      }
      if (!path.ends_with("/metrics") || !start) {
        connection.Answer("no", 404);
      } else {
        connection.Answer(fmt::format(
            "process_start_time_seconds {}\nvm_rows_inserted_total{{type=\"prometheus\"}} 1\n{}", *start, flags));
      }
      continue;
    }
    Import import{.target = path, .is_gzip = headers.find("Content-Encoding: gzip\r\n") != std::string::npos};
    if (const std::size_t at = headers.find("Authorization: "); at != std::string::npos) {
      import.authorization = headers.substr(at + 15, headers.find('\r', at) - at - 15);
    }
    const std::string_view body = std::string_view(request).substr(head + 4);
    import.lines = import.is_gzip ? Gunzip(body) : std::string(body);
    const Reply reply = Handle(import);
    if (reply.hang) return connection.WaitForEnd();
    if (reply.reset) return connection.Reset();
    if (!connection.Answer(reply.body, reply.code, reply.headers)) return;
  }
}

}  // namespace clusterpulse::history
