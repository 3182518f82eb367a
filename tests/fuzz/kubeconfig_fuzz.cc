// Kubeconfigs from outside: any bytes give a configuration or an error, and never a file access.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/kube/kube_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = clusterpulse::kube::ParseKubeConfig(text, "input", "/", "", false);
  if (config.ok() && (config->server.empty() || !config->token_file.empty())) std::abort();
  return 0;
}
