#include "tests/sim/network.h"

#include <algorithm>

#include "common/base/status.h"

namespace clusterpulse::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t kWindow = 4;  // messages under way and not taken
constexpr seconds kKeepaliveLeast{25}, kKeepaliveMost{45};
constexpr seconds kConnectLimit{10};           // of an address that does not answer
constexpr Duration kLocal = microseconds(20);  // what stays on a host

absl::Status Lost(const char* why) { return base::Unavailable("{}", why); }

}  // namespace

Connection::Connection(Network& network, std::size_t collector, std::size_t hub, std::string address, std::string token)
    : network_(network),
      world_(network.world_),
      collector_(collector),
      hub_(hub),
      address_(std::move(address)),
      token_(std::move(token)),
      id_(++network.last_id_) {}

template <typename F>
void Connection::After(Duration delay, F&& action) {
  world_.After(delay, [self = shared_from_this(), action = std::forward<F>(action)]() mutable { action(*self); });
}

void Connection::Open(std::function<void()> on_written, std::function<void(std::string)> on_message,
                      std::function<void(absl::Status)> on_closed) {
  on_written_ = std::move(on_written);
  on_message_ = std::move(on_message);
  on_closed_ = std::move(on_closed);
  world_.Log("stream {} opens: collector {} to hub {}", id_, collector_, hub_);
  After(2 * world_.Delay(network_.latency_), [](Connection& c) { c.Establish(); });
  After(kConnectLimit, [](Connection& c) {
    if (!c.is_established_) c.CloseCollectorEnd(Lost("no answer in time"));
  });
}

void Connection::Establish() {
  if (is_collector_closed_ || is_established_) return;
  if (network_.is_cut(collector_, hub_)) return;  // the limit ends it, or WayChanged goes on
  if (network_.acceptors_[hub_] == nullptr) return CloseCollectorEnd(Lost("connection refused"));
  is_established_ = true;
  is_hub_closed_ = false;
  network_.acceptors_[hub_]->Accept(shared_from_this());
  Arrive(true);
  TellWritten(true);
}

void Connection::Put(Pipe& pipe, Item item, bool to_hub) {
  base::SteadyTime at = world_.now() + world_.Delay(network_.latency_);
  if (!pipe.under_way.empty()) at = std::max(at, pipe.under_way.back().at);
  pipe.under_way.push_back({at, std::move(item)});
  Arrive(to_hub);
}

void Connection::Arrive(bool to_hub) {
  Pipe& pipe = this->pipe(to_hub);
  const Network::Way& way = network_.way(collector_, hub_);
  if (pipe.is_scheduled || !is_established_ || (to_hub ? way.to_hub_cut : way.to_collector_cut)) return;
  if (to_hub ? is_hub_closed_ : is_collector_closed_) return pipe.under_way.clear();
  if (pipe.under_way.empty()) return;
  if (pipe.under_way.front().at > world_.now()) {
    pipe.is_scheduled = true;
    After(pipe.under_way.front().at - world_.now(), [to_hub](Connection& c) {
      c.pipe(to_hub).is_scheduled = false;
      c.Arrive(to_hub);
    });
    return;
  }
  pipe.arrived.push_back(std::move(pipe.under_way.front().item));
  pipe.under_way.pop_front();
  Deliver(to_hub);
  Arrive(to_hub);
}

// What arrived is handed over by an action of its own: the one who asks is within a step.
void Connection::Deliver(bool to_hub) {
  Pipe& pipe = this->pipe(to_hub);
  const bool is_status = !pipe.arrived.empty() && std::holds_alternative<absl::Status>(pipe.arrived.front());
  if (pipe.arrived.empty() || (!pipe.is_wanted && !is_status)) return;
  pipe.is_wanted = false;
  Item item = std::move(pipe.arrived.front());
  pipe.arrived.pop_front();
  if (to_hub) {
    After(kLocal, [item = std::move(item)](Connection& c) mutable {
      if (c.is_hub_closed_ || c.hub_events_ == nullptr) return;
      if (const auto* const bytes = std::get_if<std::string>(&item)) {
        c.hub_events_->OnMessage(*bytes);
      } else {
        c.hub_events_->OnHalfClosed();
      }
    });
  } else {
    After(kLocal, [item = std::move(item)](Connection& c) {
      if (c.is_collector_closed_) return;
      if (const auto* const status = std::get_if<absl::Status>(&item)) return c.CloseCollectorEnd(*status);
      c.on_message_(std::get<std::string>(item));
    });
  }
  if (pipe.is_full) TellWritten(to_hub);
  if (!to_hub && is_finished_ && pipe.size() <= kWindow) After(kLocal, [](Connection& c) { c.CloseHubEnd(); });
}

void Connection::TellWritten(bool to_hub) {
  Pipe& pipe = this->pipe(to_hub);
  if (!pipe.is_full || pipe.size() > kWindow || !is_established_) return;
  pipe.is_full = false;
  After(kLocal, [to_hub](Connection& c) {
    if (to_hub) {
      if (!c.is_collector_closed_) c.on_written_();
    } else if (!c.is_hub_closed_ && c.hub_events_ != nullptr) {
      c.hub_events_->OnWritten();
    }
  });
}

void Connection::WriteToHub(std::string bytes) {
  to_hub_.is_full = true;
  Put(to_hub_, std::move(bytes), true);
  TellWritten(true);
}

void Connection::Receive() {
  to_collector_.is_wanted = true;
  Deliver(false);
}

void Connection::HalfClose() { Put(to_hub_, End(), true); }

void Connection::Cancel() {
  After(kLocal, [](Connection& c) { c.CloseCollectorEnd(absl::CancelledError("cancelled")); });
}

void Connection::ReadNext() {
  to_hub_.is_wanted = true;
  Deliver(true);
}

void Connection::Send(std::string bytes) {
  to_collector_.is_full = true;
  Put(to_collector_, std::move(bytes), false);
  TellWritten(false);
}

void Connection::Finish(const absl::Status& status) {
  is_finished_ = true;
  world_.Log("stream {} is ended by hub {}: {}", id_, hub_, base::Message(status));
  if (!is_hub_closed_) {
    is_status_sent_ = true;
    Put(to_collector_, status, false);
    if (to_collector_.size() > kWindow) return;  // until the peer takes what is before it, or Abort
  }
  After(world_.Delay(network_.latency_), [](Connection& c) { c.CloseHubEnd(); });
}

void Connection::Abort() {
  After(kLocal, [](Connection& c) {
    c.is_status_sent_ = false;
    c.CloseHubEnd();
    c.TellOther();
  });
}

// The collector's process hears of it, if it lives; the hub is told.
void Connection::CloseCollectorEnd(absl::Status status) {
  if (std::exchange(is_collector_closed_, true)) return;
  to_collector_ = {};
  if (!is_collector_process_gone_) {
    world_.Log("stream {} is closed at collector {}: {}", id_, collector_, base::Message(status));
    on_closed_(std::move(status));
  }
  TellOther();
}

// As gRPC: first the peer is gone, then, once the hub has finished the stream, it is closed.
void Connection::CloseHubEnd() {
  if (is_hub_process_gone_ || !is_established_) return;
  is_hub_closed_ = true;
  to_hub_ = {};
  if (is_hub_end_told_ || hub_events_ == nullptr) return;
  if (!is_finished_) {
    hub_events_->OnGone();  // whereupon it finishes
  } else {
    is_hub_end_told_ = true;
    hub_events_->OnClosed();
    hub_events_.reset();
  }
}

void Connection::TellOther() {
  if (!is_established_ || is_silent_) return;
  const Network::Way& way = network_.way(collector_, hub_);
  if (is_collector_closed_ && !is_hub_closed_ && !way.to_hub_cut) {
    After(world_.Delay(network_.latency_), [](Connection& c) { c.CloseHubEnd(); });
  }
  if (is_hub_closed_ && !is_collector_closed_ && !way.to_collector_cut && !is_status_sent_) {
    After(world_.Delay(network_.latency_), [](Connection& c) { c.CloseCollectorEnd(Lost("connection reset")); });
  }
}

void Connection::Reset() {
  if (is_over()) return;
  world_.Log("stream {} is reset", id_);
  const auto tell = [this](auto close) { After(world_.Delay(network_.latency_), close); };
  for (Pipe* const pipe : {&to_hub_, &to_collector_}) {
    pipe->under_way.resize(std::min<std::size_t>(pipe->under_way.size(), world_.Below(pipe->under_way.size() + 1)));
  }
  tell([](Connection& c) { c.CloseHubEnd(); });
  tell([](Connection& c) { c.CloseCollectorEnd(Lost("connection reset")); });
}

void Connection::CollectorGone(bool silent) {
  if (is_collector_closed_) return;
  is_collector_process_gone_ = true;
  is_silent_ = silent;
  CloseCollectorEnd(absl::OkStatus());
  if (silent) WatchKeepalive();
}

void Connection::HubGone(bool silent) {
  is_hub_process_gone_ = is_hub_closed_ = true;
  hub_events_.reset();
  to_hub_ = {};
  is_silent_ = silent;
  if (silent) {
    WatchKeepalive();
  } else {
    is_status_sent_ = false;  // it may have been lost
    TellOther();
  }
}

void Connection::WayChanged() {
  if (is_over()) return;
  ++watch_;
  if (!network_.is_cut(collector_, hub_)) {
    if (!is_established_) return Establish();
    Arrive(true);
    Arrive(false);
    return TellOther();
  }
  Arrive(true);
  Arrive(false);
  WatchKeepalive();
}

void Connection::WatchKeepalive() {
  for (const bool is_hub : {false, true}) {
    After(world_.Between(kKeepaliveLeast, kKeepaliveMost), [watch = watch_, is_hub](Connection& c) {
      if (c.watch_ != watch && !c.is_silent_) return;
      if (is_hub) {
        if (c.is_established_ && !c.is_hub_closed_) c.CloseHubEnd();
      } else if (c.is_established_) {
        c.CloseCollectorEnd(Lost("keepalive: no answer"));
      }
    });
  }
}

// --- network ---

Network::Network(World& world, std::size_t collectors, std::size_t hubs)
    : world_(world), hubs_(hubs), ways_(collectors * hubs), acceptors_(hubs) {}

bool Network::is_cut(std::size_t collector, std::size_t hub) const {
  const Way& way = ways_[collector * hubs_ + hub];
  return way.to_hub_cut || way.to_collector_cut;
}

void Network::SetCut(std::size_t collector, std::size_t hub, bool to_hub, bool to_collector) {
  Way& at = way(collector, hub);
  if (at.to_hub_cut == to_hub && at.to_collector_cut == to_collector) return;
  at = {to_hub, to_collector};
  for (const auto& connection :
       Find([&](const Connection& c) { return c.collector() == collector && c.hub() == hub; })) {
    connection->WayChanged();
  }
}

std::shared_ptr<Connection> Network::Connect(std::size_t collector, std::size_t hub, std::string address,
                                             std::string token) {
  auto connection = std::make_shared<Connection>(*this, collector, hub, std::move(address), std::move(token));
  std::erase_if(connections_, [](const auto& c) { return c.expired(); });
  connections_.push_back(connection);
  return connection;
}

std::vector<std::shared_ptr<Connection>> Network::Find(const std::function<bool(const Connection&)>& chosen) {
  std::vector<std::shared_ptr<Connection>> found;
  for (const auto& weak : connections_) {
    const std::shared_ptr<Connection> connection = weak.lock();
    if (connection != nullptr && !connection->is_over() && chosen(*connection)) found.push_back(connection);
  }
  return found;
}

// --- transport ---

void CollectorTransport::Open(const std::string& token, Events& events) {
  Check(connection_ == nullptr, "Open before Release");
  is_open_ = true;
  is_writing_ = is_receiving_ = is_half_closed_ = false;
  connection_ = network_.Connect(collector_, choose_(), address_, token);
  connection_->Open(
      [this, &events] {
        is_writing_ = false;
        events.OnWritten();
        hooks_.on_event();
      },
      [this, &events](std::string bytes) {
        is_receiving_ = false;
        hooks_.on_received(bytes);
        events.OnMessage(std::move(bytes));
        hooks_.on_event();
      },
      [this, &events](absl::Status status) {
        is_open_ = false;
        events.OnClosed(std::move(status));
        hooks_.on_event();
      });
}

void CollectorTransport::Die(bool silent) {
  if (connection_ != nullptr) connection_->CollectorGone(silent);
  connection_.reset();
}

void CollectorTransport::Write(std::string message) {
  Check(connection_ != nullptr, "Write without Open");
  Check(!is_writing_, "two writes at once");
  Check(!is_half_closed_, "Write after HalfClose");
  if (!is_open_) return;
  is_writing_ = true;
  hooks_.on_sent(message);
  connection_->WriteToHub(std::move(message));
}

void CollectorTransport::Receive() {
  Check(connection_ != nullptr, "Receive without Open");
  Check(!is_receiving_, "Receive twice");
  is_receiving_ = true;
  if (is_open_) connection_->Receive();
}

void CollectorTransport::HalfClose() {
  Check(connection_ != nullptr && !is_writing_ && !is_half_closed_, "HalfClose out of turn");
  is_half_closed_ = true;
  if (is_open_) connection_->HalfClose();
}

void CollectorTransport::Cancel() {
  Check(connection_ != nullptr, "Cancel without Open");
  if (is_open_) connection_->Cancel();
}

void CollectorTransport::Release() {
  Check(connection_ != nullptr && !is_open_, "Release before OnClosed");
  connection_.reset();
}

}  // namespace clusterpulse::sim
