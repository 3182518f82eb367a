#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/kube/testing/object_store.h"

namespace clusterpulse::kube {

// The body a server with these types answers to GET /version, /api, /apis, /api/v1, /apis/GROUP and
// /apis/GROUP/VERSION; nullopt for other paths and for groups that are not served.
std::optional<std::string> DiscoveryDocument(const ObjectStore& store, std::string_view path);

}  // namespace clusterpulse::kube
