#include "tests/support/http_get.h"

#include "common/base/status.h"
#include "common/http/client.h"
#include "common/json/buffer.h"

namespace clusterpulse::testing {

HttpAnswer HttpGet(int port, const std::string& path) {
  const auto client = http::Client::Create({.base_url = "http://127.0.0.1:" + std::to_string(port)});
  if (!client.ok()) return {0, base::Message(client.status())};
  json::Buffer body;
  const auto response = (*client)->Fetch({.target = path}, body, {.timeout = std::chrono::seconds(5)});
  if (!response.ok()) return {0, base::Message(response.status())};
  return {response->code, std::string(body.view())};
}

}  // namespace clusterpulse::testing
