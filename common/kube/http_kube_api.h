#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/base/token_bucket.h"
#include "common/json/buffer.h"
#include "common/kube/kube_api.h"
#include "common/kube/kube_config.h"
#include "common/kube/response_decoder.h"
#include "common/telemetry/registry.h"

namespace clusterpulse::http {
class Client;
struct Request;
struct Response;
}  // namespace clusterpulse::http

namespace clusterpulse::kube {

// What is counted about API requests; one for the process, shared by the clients of all clusters.
struct ApiMetrics {
  telemetry::Registry::CounterFamily requests;   // labels: cluster, verb, code (HTTP code, or "error" for no answer)
  telemetry::Registry::HistogramFamily seconds;  // labels: verb; watches are counted and not timed

  // `prefix` is that of the program: "clusterpulse_hub".
  static ApiMetrics Make(telemetry::Registry& registry, const std::string& prefix);
  // The cluster is gone: so are its series. Safe while clients count.
  void Forget(std::string_view cluster) const { requests.Remove({cluster}); }
};

// KubeApi over HTTP. Thread-safe; calls run side by side, each on a connection of its own.
//
// - Rate: requests (repeats too) wait for a token of a bucket shared by all calls; the wait respects deadline and stop.
// - 429 and 503 are repeated while the deadline allows, after Retry-After, else after a jittered backoff. A create is
//   repeated only when the refusal comes from the API server itself. When the wait would pass the deadline, or
//   the call repeats nothing (CallOptions), the refusal is returned at once.
// - A token file is read again every few seconds and at once after a 401; the request is then repeated once if the
//   token is another one.
// - A list page is decoded from one buffer, so that memory is bounded by the pages in flight (64 MiB each at most).
// - metadata_only falls back to whole objects where the server cannot (406), except for Secrets.
class HttpKubeApi final : public KubeApi {
 public:
  struct Options {
    double qps = 50;
    double burst = 100;
    std::string user_agent = "clusterpulse";
    std::string cluster = "hub";  // label in metrics
    ApiMetrics metrics;
    std::chrono::milliseconds connect_timeout{10000};
    std::chrono::milliseconds retry_initial{500}, retry_max{10000};  // without Retry-After
    std::chrono::milliseconds token_check{5000};                     // how often a token file is looked at
    std::chrono::milliseconds watch_slack{30000};                    // a watch may outlive its own timeout by that
    base::Random* random = &base::SystemRandom();                    // borrowed
  };
  // kInvalidArgument: bad URL, certificates, credentials; kNotFound, kPermissionDenied: the token file.
  static absl::StatusOr<std::unique_ptr<HttpKubeApi>> Create(ConnectionConfig config, Options options);
  // REQUIRES: no call is running.
  ~HttpKubeApi() override;

  absl::StatusOr<ListPage> List(const ListQuery& query, ItemVisitor visit, const CallOptions& options) override;
  absl::Status Watch(const WatchQuery& query, WatchVisitor visit, const CallOptions& options) override;
  absl::StatusOr<std::string> Get(const ResourceType& resource, const ObjectKey& key,
                                  const CallOptions& options) override;
  absl::StatusOr<std::string> GetPath(std::string_view path, const CallOptions& options) override;
  absl::StatusOr<std::string> Create(const ResourceType& resource, std::string_view ns, std::string_view body,
                                     const CallOptions& options) override;
  absl::StatusOr<std::string> Replace(const ResourceType& resource, const ObjectKey& key, std::string_view body,
                                      const CallOptions& options) override;
  absl::StatusOr<std::string> Patch(const ResourceType& resource, const ObjectKey& key, PatchType type,
                                    std::string_view body, const PatchOptions& patch,
                                    const CallOptions& options) override;
  absl::Status Delete(const ResourceType& resource, const ObjectKey& key, const DeleteOptions& how,
                      const CallOptions& options) override;

 private:
  class Credentials;
  struct Call;
  // What decoding a response needs.
  struct Decoder {
    json::Buffer body;
    json::Parser parser;
  };

  HttpKubeApi(std::unique_ptr<http::Client> client, std::unique_ptr<Credentials> credentials, Options options);

  // Sends until there is an answer that is not to be repeated. Ok: a 2xx answer, and unless it was streamed, its body
  // (JSON) is in `body`.
  absl::Status Send(const Call& call, json::Buffer& body);
  // One request on the wire; counted. `streamed` becomes true once a part of the answer was handed to the caller.
  absl::Status SendOnce(const Call& call, const std::string& authorization, base::SteadyTime deadline,
                        json::Buffer& body, bool& streamed);
  // Waits for the rate limit.
  absl::Status WaitForTurn(const Call& call, base::SteadyTime deadline);
  absl::StatusOr<std::string> SendForText(const Call& call);
  absl::StatusOr<std::string> Write(const char* verb, const char* method, std::string target, const char* content_type,
                                    std::string_view body, const CallOptions& options);

  // A decoder, kept from an earlier call or new.
  std::unique_ptr<Decoder> TakeDecoder();
  // Keeps it when there is room and it is small.
  void GiveBack(std::unique_ptr<Decoder> decoder);

  // Constant after construction.
  const Options options_;
  const std::unique_ptr<http::Client> client_;
  const std::unique_ptr<Credentials> credentials_;

  base::TokenBucket bucket_;

  base::Mutex mu_;
  std::vector<std::unique_ptr<Decoder>> decoders_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::kube
