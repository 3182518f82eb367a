#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "collector/link/hub_transport.h"

namespace clusterpulse::link {

// A HubTransport for tests that drive a LinkMachine: it keeps what it is told and checks the port's rules (`fault`).
// Events do not come from it; the test hands them to the machine, and tells it of them through the four verbs.
class ScriptedTransport final : public HubTransport {
 public:
  bool is_open = false;       // between Open and OnClosed
  bool is_cancelled = false;  // of this stream
  bool is_half_closed = false;
  bool is_writing = false;    // a message waits for OnWritten
  bool is_receiving = false;  // a message was asked for
  int opens = 0;
  std::string token;                 // of the last Open
  std::vector<std::string> written;  // of all streams
  std::string fault;                 // the first rule that was broken

  void Open(const std::string& credential, Events&) override {
    Check(!is_open && is_released_, "Open before Release");
    is_open = true;
    is_released_ = is_cancelled = is_half_closed = is_writing = is_receiving = false;
    ++opens;
    token = credential;
  }
  void Write(std::string message) override {
    CheckWrite();
    is_writing = true;
    written.push_back(std::move(message));
  }
  void Receive() override {
    Check(!is_released_, "Receive without Open");
    Check(!is_receiving, "Receive twice");
    is_receiving = true;
  }
  void HalfClose() override {
    CheckWrite();
    is_half_closed = true;
  }
  void Cancel() override {
    Check(!is_released_, "Cancel without Open");
    is_cancelled = true;
  }
  void Release() override {
    Check(!is_open, "Release before OnClosed");
    is_released_ = true;
  }

  // The test is about to hand over the event.
  void Written() { is_writing = false; }
  void Received() { is_receiving = false; }
  void Closed() { is_open = false; }

 private:
  void CheckWrite() {
    Check(!is_released_, "Write without Open");
    Check(!is_writing, "two writes at once");
    Check(!is_half_closed, "Write after HalfClose");
    Check(!is_cancelled, "Write after Cancel");
  }
  void Check(bool ok, const char* rule) {
    if (!ok && fault.empty()) fault = rule;
  }

  bool is_released_ = true;
};

}  // namespace clusterpulse::link
