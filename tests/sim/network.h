#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <absl/status/status.h>

#include "collector/link/hub_transport.h"
#include "hub/ingest/stream_peer.h"
#include "tests/sim/world.h"

namespace clusterpulse::sim {

class Connection;
class Network;

// What a hub does with a new stream.
class StreamAcceptor {
 public:
  virtual ~StreamAcceptor() = default;
  // Called once `connection` is established. Events for it then come by HubEvents.
  virtual void Accept(std::shared_ptr<Connection> connection) = 0;
};

// What happens at the hub's end of a stream, as ingest::Stream takes it.
class HubEvents {
 public:
  virtual ~HubEvents() = default;
  virtual void OnMessage(std::string bytes) = 0;
  virtual void OnWritten() = 0;
  virtual void OnHalfClosed() = 0;
  virtual void OnGone() = 0;
  virtual void OnClosed() = 0;
};

// One stream of whole messages between a collector and a hub, as gRPC over TCP gives it: in order, with a bounded
// number under way, a status at its end. Either end can vanish, with or without the other being told; a way that is cut
// delays, until the keepalive of an end gives the stream up. No event comes from within a call.
class Connection final : public ingest::StreamPeer, public std::enable_shared_from_this<Connection> {
 public:
  Connection(Network& network, std::size_t collector, std::size_t hub, std::string address, std::string token);

  const std::string& address() const { return address_; }
  const std::string& token() const { return token_; }
  std::size_t collector() const { return collector_; }
  std::size_t hub() const { return hub_; }

  // --- the collector's end (by CollectorTransport) ---
  void Open(std::function<void()> on_written, std::function<void(std::string)> on_message,
            std::function<void(absl::Status)> on_closed);
  void WriteToHub(std::string bytes);
  void Receive();
  void HalfClose();
  void Cancel();

  // --- the hub's end ---
  void SetHubEvents(std::shared_ptr<HubEvents> events) { hub_events_ = std::move(events); }
  void ReadNext() override;
  void Send(std::string bytes) override;
  void Finish(const absl::Status& status) override;
  void Abort() override;

  // --- faults ---
  // Both ends are told that it broke; of what is under way a part arrives.
  void Reset();
  // The process at an end is gone. `silent`: the host too, so that nobody tells the other end.
  void CollectorGone(bool silent);
  void HubGone(bool silent);
  // The way was cut or opened.
  void WayChanged();
  bool is_over() const { return is_collector_closed_ && is_hub_closed_; }

 private:
  struct End {};  // half-close towards the hub
  using Item = std::variant<std::string, End, absl::Status>;
  struct Arrival {
    base::SteadyTime at;
    Item item;
  };
  struct Pipe {
    std::deque<Arrival> under_way;
    std::deque<Item> arrived;   // not yet asked for
    bool is_wanted = false;     // the other end asked for the next
    bool is_full = false;       // the writer waits for room
    bool is_scheduled = false;  // the arrival of the first
    std::size_t size() const { return under_way.size() + arrived.size(); }
  };

  void Establish();
  void Put(Pipe& pipe, Item item, bool to_hub);
  void Arrive(bool to_hub);
  void Deliver(bool to_hub);
  void TellWritten(bool to_hub);
  void CloseCollectorEnd(absl::Status status);
  void CloseHubEnd();
  // The end that is left learns that the other is gone.
  void TellOther();
  void WatchKeepalive();
  template <typename F>
  void After(Duration delay, F&& action);
  Pipe& pipe(bool to_hub) { return to_hub ? to_hub_ : to_collector_; }

  Network& network_;
  World& world_;
  const std::size_t collector_, hub_;
  const std::string address_, token_;
  const std::uint64_t id_;
  std::function<void()> on_written_;
  std::function<void(std::string)> on_message_;
  std::function<void(absl::Status)> on_closed_;
  std::shared_ptr<HubEvents> hub_events_;
  Pipe to_hub_, to_collector_;
  bool is_established_ = false;
  // An end is closed when it knows that the stream is over, or its process is gone.
  bool is_collector_closed_ = false, is_hub_closed_ = true;  // the latter until established
  bool is_collector_process_gone_ = false;
  bool is_hub_process_gone_ = false, is_hub_end_told_ = false, is_finished_ = false;
  bool is_status_sent_ = false;  // and will close the collector's end
  bool is_silent_ = false;       // the end that is gone told nobody
  std::uint64_t watch_ = 0;
};

// The ways between collectors and hubs, each direction of which can be cut, and the streams on them.
class Network {
 public:
  Network(World& world, std::size_t collectors, std::size_t hubs);

  void SetAcceptor(std::size_t hub, StreamAcceptor* acceptor) { acceptors_[hub] = acceptor; }  // null: down
  void SetCut(std::size_t collector, std::size_t hub, bool to_hub, bool to_collector);
  bool is_cut(std::size_t collector, std::size_t hub) const;
  void SetLatency(Duration usual) { latency_ = usual; }

  std::shared_ptr<Connection> Connect(std::size_t collector, std::size_t hub, std::string address, std::string token);
  // Of all streams, those which `chosen` says.
  std::vector<std::shared_ptr<Connection>> Find(const std::function<bool(const Connection&)>& chosen);

 private:
  friend class Connection;
  struct Way {
    bool to_hub_cut = false, to_collector_cut = false;
  };
  Way& way(std::size_t collector, std::size_t hub) { return ways_[collector * hubs_ + hub]; }

  World& world_;
  const std::size_t hubs_;
  std::vector<Way> ways_;
  std::vector<StreamAcceptor*> acceptors_;
  Duration latency_ = std::chrono::milliseconds(1);
  std::uint64_t last_id_ = 0;
  std::vector<std::weak_ptr<Connection>> connections_;
};

// The collector's port on top: one stream at a time, to whichever hub `choose` names. Checks the port's rules.
class CollectorTransport final : public link::HubTransport {
 public:
  using Choose = std::function<std::size_t()>;
  // `on_event` is called after each event was handed over: the owner takes its step. `watch_*` see what passes.
  struct Hooks {
    std::function<void()> on_event;
    std::function<void(const std::string&bytes)> on_sent, on_received;
  };
  CollectorTransport(Network& network, std::size_t collector, std::string address, Choose choose, Hooks hooks)
      : network_(network),
        collector_(collector),
        address_(std::move(address)),
        choose_(std::move(choose)),
        hooks_(std::move(hooks)) {}
  // The process is gone.
  void Die(bool silent);

  void Open(const std::string& token, Events& events) override;
  void Write(std::string message) override;
  void Receive() override;
  void HalfClose() override;
  void Cancel() override;
  void Release() override;

  const std::string& fault() const { return fault_; }  // the first rule that was broken

 private:
  void Check(bool ok, const char* rule) {
    if (!ok && fault_.empty()) fault_ = rule;
  }

  Network& network_;
  const std::size_t collector_;
  const std::string address_;
  const Choose choose_;
  const Hooks hooks_;
  std::shared_ptr<Connection> connection_;
  bool is_open_ = false, is_writing_ = false, is_receiving_ = false, is_half_closed_ = false;
  std::string fault_;
};

}  // namespace clusterpulse::sim
