#pragma once

#include <string>

#include <absl/status/status.h>

namespace clusterpulse::link {

// Port to one stream of bytes to the hub at a time. Adapter: grpc_transport.h.
//
// A stream lives from Open to OnClosed, which comes exactly once for every Open, also when nothing could be opened, and
// soon after Cancel. Nothing here blocks on the peer. Confined to one thread; events come from any.
class HubTransport {
 public:
  class Events {
   public:
    // The message of Write is on its way: another one may be written.
    virtual void OnWritten() = 0;
    // What the hub sent. The next one comes after Receive.
    virtual void OnMessage(std::string bytes) = 0;
    // The last event of a stream. kOk: the hub ended it without an error. The texts hold no secrets.
    virtual void OnClosed(absl::Status status) = 0;

   protected:
    ~Events() = default;
  };

  virtual ~HubTransport() = default;

  // Begins a new stream with `token` as its credential. `events` must outlive the stream. REQUIRES: the one before, if
  // any, was released.
  virtual void Open(const std::string& token, Events& events) = 0;
  // REQUIRES: Open was called, and OnWritten came for the message before. After the stream broke it does nothing.
  virtual void Write(std::string message) = 0;
  // Asks for one message. REQUIRES: OnMessage came for the one before.
  virtual void Receive() = 0;
  // Tells the hub that no message comes any more; it then ends the stream. REQUIRES: as Write, which must not follow.
  virtual void HalfClose() = 0;
  // Breaks the stream off; OnClosed follows, unless it came.
  virtual void Cancel() = 0;
  // Lets go of connection and memory. REQUIRES: OnClosed came.
  virtual void Release() = 0;
};

}  // namespace clusterpulse::link
