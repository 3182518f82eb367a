#pragma once

#include <memory>
#include <string>

#include <absl/status/statusor.h>

#include "collector/link/hub_transport.h"
#include "collector/link/link_options.h"

namespace clusterpulse::link {

// HubTransport over gRPC, with a connection of its own for every stream. Of `options` it uses the address and what
// belongs to TLS and proxies.
//
// TLS is 1.2 or newer, always verified: against the CA file, read at each Open, or the system's roots; for the host of
// the address or, if set, for tls_server_name in its place. Keepalive: a ping after 30 s, an answer within 10 s.
//
// Codes of OnClosed: those the hub gave; kUnavailable: no connection, refused by TLS or broken; kInvalidArgument:
// address, proxy, CA file or token are unusable (nothing was sent).
//
// The first call changes the environment (of gRPC's own variables) and silences gRPC's log unless GRPC_VERBOSITY is
// set: make it before there are threads that read the environment.
std::unique_ptr<HubTransport> MakeGrpcTransport(const LinkOptions& options);

// The proxy gRPC is to use for the hub, "http://[user:password@]host:port", or "" for none. gRPC connects through a
// tunnel (CONNECT), so HTTPS_PROXY holds whether or not the stream inside has TLS, as with upstream; HTTP_PROXY holds
// where that is not set and there is no TLS. kInvalidArgument: not a proxy gRPC can use.
absl::StatusOr<std::string> ProxyFor(const LinkOptions& options);

}  // namespace clusterpulse::link
