#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "common/model/batch.h"
#include "tests/e2e/hub_fixture.h"
#include "tests/hub/ingest/raw_client.h"

namespace clusterpulse::testing {

// A collector that a test leads by the hand, over TLS where the hub has it.
class RawCollector {
 public:
  // `upstream`: speaks as upstream's collectors do.
  RawCollector(HubFixture& hub, std::string cluster, std::string token, bool upstream = false);

  // Sends the registration; true once the hub welcomes it. (It welcomes no upstream one: true once it is sent.)
  bool Register();
  // A batch of now with nodes of these names, for a test to change before it sends it; of an upstream one `seq` is but
  // part of its id.
  model::Batch MakeBatch(std::uint64_t seq, const std::vector<std::string>& nodes) const;
  // False: the stream is over, or the batch is not on its way in time.
  bool Send(const model::Batch& batch, std::chrono::seconds limit = RawClient::kLimit) {
    return client_.Send(wire::Encode(batch), limit);
  }
  // True once the hub says that it is applied.
  bool WaitForApplied(std::uint64_t seq);
  RawClient& client() { return client_; }

 private:
  const std::string cluster_, token_;
  const bool upstream_;
  RawClient client_;
};

}  // namespace clusterpulse::testing
