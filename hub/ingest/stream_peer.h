#pragma once

#include <string>

#include <absl/status/status.h>

namespace clusterpulse::ingest {

// Port to the other end of one stream: what a Session does to it. What comes from there arrives as Events
// (session.h). Thread-safe; nothing blocks. Adapter: grpc_server.cc.
class StreamPeer {
 public:
  virtual ~StreamPeer() = default;

  // Asks for the next message. REQUIRES: the one before has come.
  virtual void ReadNext() = 0;
  // Sends a message. REQUIRES: the one before was written.
  virtual void Send(std::string bytes) = 0;
  // Ends the stream; called exactly once, also when the peer is gone. Nothing but Abort may follow.
  virtual void Finish(const absl::Status& status) = 0;
  // Breaks the stream off, for a peer that does not take what was sent.
  virtual void Abort() = 0;
};

}  // namespace clusterpulse::ingest
