#include "common/kube/http_kube_api.h"

#include <algorithm>
#include <optional>

#include <absl/strings/escaping.h>

#include "common/base/backoff.h"
#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/http/client.h"
#include "common/http/url.h"
#include "common/json/writer.h"

namespace clusterpulse::kube {
namespace {

using base::SteadyTime;
using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

constexpr std::size_t kMaxTokenBytes = 1 << 20;
// Decoders kept between calls, and their size at most: a page of 500 pods takes megabytes, and a hub has many clients.
constexpr std::size_t kMaxDecoders = 2;
constexpr std::size_t kKeepBytes = 256 << 10;
constexpr std::size_t kMaxErrorBytes = 64 << 10;  // of a refused watch
constexpr int kMaxLimit = 10000;

constexpr char kJson[] = "application/json";
constexpr char kListMetadata[] = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
constexpr char kObjectMetadata[] = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

std::string Trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1));
}

bool IsHtml(const http::Response& response) { return response.content_type.find("html") != std::string::npos; }

absl::Status NoJson(const http::Response& response, std::string_view body) {
  std::string begin(body.substr(0, 100));
  std::replace_if(
      begin.begin(), begin.end(), [](unsigned char c) { return c < ' ' || c >= 0x7f; }, ' ');
  return absl::DataLossError(
      fmt::format("the answer is no JSON but {}, so it hardly comes from a Kubernetes API server: {}",
                  response.content_type.empty() ? "of an unnamed type" : response.content_type, begin));
}

absl::Status CheckResource(const ResourceType& resource, std::string_view ns) {
  if (!IsPathSegment(resource.version) || !IsPathSegment(resource.plural) ||
      (!resource.group.empty() && !IsPathSegment(resource.group))) {
    return base::InvalidArgument("\"{}\" of \"{}\" is no resource", resource.plural, resource.ApiVersion());
  }
  if (!ns.empty() && !resource.namespaced) return base::InvalidArgument("{} have no namespace", resource.plural);
  if (!ns.empty() && !IsPathSegment(ns)) return base::InvalidArgument("\"{}\" is no namespace", ns);
  return absl::OkStatus();
}

absl::Status CheckKey(const ResourceType& resource, const ObjectKey& key) {
  RETURN_IF_ERROR(CheckResource(resource, key.ns));
  if (resource.namespaced && key.ns.empty()) return base::InvalidArgument("{} need a namespace", resource.plural);
  if (!IsPathSegment(key.name)) return base::InvalidArgument("\"{}\" is no name of an object", key.name);
  return absl::OkStatus();
}

void AddSelectors(std::string& target, const std::string& labels, const std::string& fields) {
  if (!labels.empty()) http::AppendQuery(target, "labelSelector", labels);
  if (!fields.empty()) http::AppendQuery(target, "fieldSelector", fields);
}

// Asking for metadata only was refused, and whole objects may be read instead.
bool MayFallBack(const absl::Status& status, const ResourceType& resource) {
  const auto error = GetApiError(status);
  return error && error->code == 406 && !(resource.group.empty() && resource.plural == kSecrets.plural);
}

}  // namespace

ApiMetrics ApiMetrics::Make(telemetry::Registry& registry, const std::string& prefix) {
  return {registry.Counters(prefix + "_kube_requests_total", "Requests to Kubernetes API servers by outcome.",
                            {"cluster", "verb", "code"}),
          registry.Histograms(prefix + "_kube_request_duration_seconds",
                              "Time of requests to Kubernetes API servers, without watches.",
                              telemetry::LatencyBuckets(), {"verb"})};
}

// The value of the Authorization header, which changes when a token file does. Thread-safe.
class HttpKubeApi::Credentials {
 public:
  static absl::StatusOr<std::unique_ptr<Credentials>> Create(const ConnectionConfig& config, milliseconds check) {
    auto out = std::unique_ptr<Credentials>(new Credentials(config.token_file, check));
    base::MutexLock lock(out->mu_);
    if (!config.token.empty()) {
      ASSIGN_OR_RETURN(out->header_, Bearer(config.token), "token");
    } else if (!config.username.empty()) {
      const std::string pair = config.username + ":" + config.password;
      std::string encoded;
      absl::Base64Escape(absl::string_view(pair.data(), pair.size()), &encoded);
      out->header_ = "Basic " + encoded;
    }
    if (config.token_file.empty()) return out;
    auto read = ReadToken(config.token_file);
    out->checked_ = Steady::now();
    if (read.ok()) {
      out->header_ = *std::move(read);
    } else if (out->header_.empty()) {
      return base::Annotate(read.status(), "token file");
    }
    return out;
  }

  std::string Header() {
    bool due = false;
    {
      base::MutexLock lock(mu_);
      const auto now = Steady::now();
      due = !token_file_.empty() && now - checked_ >= check_;
      if (due) checked_ = now;
      if (!due) return header_;
    }
    return Reload();
  }

  // After a 401: true when the file now holds something else than what was `used`.
  bool Renew(const std::string& used) { return !token_file_.empty() && Reload() != used; }

 private:
  Credentials(std::string token_file, milliseconds check) : token_file_(std::move(token_file)), check_(check) {}

  static absl::StatusOr<std::string> Bearer(std::string_view text) {
    const std::string token = Trim(text);
    if (token.empty()) return base::InvalidArgument("it is empty");
    if (std::any_of(token.begin(), token.end(), [](unsigned char c) { return c <= ' ' || c >= 0x7f; })) {
      return base::InvalidArgument("it has characters that no token has");
    }
    return "Bearer " + token;
  }

  static absl::StatusOr<std::string> ReadToken(const std::string& path) {
    ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kMaxTokenBytes));
    ASSIGN_OR_RETURN(std::string header, Bearer(text), path);
    return header;
  }

  // Not under the lock while it reads. What cannot be read (mid-rotation) leaves the last good token.
  std::string Reload() {
    auto read = ReadToken(token_file_);
    base::MutexLock lock(mu_);
    if (read.ok()) header_ = *std::move(read);
    return header_;
  }

  const std::string token_file_;
  const milliseconds check_;
  base::Mutex mu_;
  std::string header_ ABSL_GUARDED_BY(mu_);
  SteadyTime checked_ ABSL_GUARDED_BY(mu_){};
};

struct HttpKubeApi::Call {
  const char* verb;  // in metrics and messages
  const char* method;
  std::string target;
  const CallOptions& options;
  std::string accept = kJson;
  const char* content_type = "";
  std::string_view body = {};
  bool creates = false;   // not to be sent again unless the server says that it did nothing
  bool any_text = false;  // the answer need not be JSON
  // Of watches: takes the body of a 2xx answer, which may take `stream_limit`.
  std::optional<absl::FunctionRef<absl::Status(std::string_view)>> stream = std::nullopt;
  milliseconds stream_limit{0};

  // "list /api/v1/pods"
  std::string Name() const { return fmt::format("{} {}", verb, target.substr(0, target.find('?'))); }
};

absl::StatusOr<std::unique_ptr<HttpKubeApi>> HttpKubeApi::Create(ConnectionConfig config, Options options) {
  if (options.qps <= 0 || options.burst < 1) return base::InvalidArgument("the rate limit must be positive");
  ASSIGN_OR_RETURN(auto credentials, Credentials::Create(config, options.token_check));
  http::Client::Options http;
  http.base_url = std::move(config.server);
  http.tls = {std::move(config.ca_pem), std::move(config.client_cert_pem), std::move(config.client_key_pem),
              config.insecure_skip_tls_verify, std::move(config.tls_server_name)};
  http.proxy_url = std::move(config.proxy_url);
  http.user_agent = options.user_agent;
  http.connect_timeout = options.connect_timeout;
  ASSIGN_OR_RETURN(auto client, http::Client::Create(std::move(http)));
  return std::unique_ptr<HttpKubeApi>(new HttpKubeApi(std::move(client), std::move(credentials), std::move(options)));
}

HttpKubeApi::HttpKubeApi(std::unique_ptr<http::Client> client, std::unique_ptr<Credentials> credentials,
                         Options options)
    : options_(std::move(options)),
      client_(std::move(client)),
      credentials_(std::move(credentials)),
      bucket_(options_.qps, options_.burst) {}

HttpKubeApi::~HttpKubeApi() = default;

std::unique_ptr<HttpKubeApi::Decoder> HttpKubeApi::TakeDecoder() {
  {
    base::MutexLock lock(mu_);
    if (!decoders_.empty()) {
      auto decoder = std::move(decoders_.back());
      decoders_.pop_back();
      return decoder;
    }
  }
  return std::make_unique<Decoder>();
}

void HttpKubeApi::GiveBack(std::unique_ptr<Decoder> decoder) {
  if (decoder->body.capacity() > kKeepBytes) return;
  base::MutexLock lock(mu_);
  if (decoders_.size() < kMaxDecoders) decoders_.push_back(std::move(decoder));
}

absl::Status HttpKubeApi::WaitForTurn(const Call& call, SteadyTime deadline) {
  const auto now = Steady::now();
  const auto wait = bucket_.Reserve(now);
  if (wait <= std::chrono::nanoseconds::zero()) return absl::OkStatus();
  if (now + wait >= deadline) {
    bucket_.Cancel();
    return absl::DeadlineExceededError(
        fmt::format("the client's own limit of {} requests a second leaves no turn within {} ms", options_.qps,
                    call.options.timeout.count()));
  }
  base::StopSignal stop(call.options.stop);
  if (!stop.WaitFor(wait)) return absl::OkStatus();
  bucket_.Cancel();
  return absl::CancelledError("stopped");
}

absl::Status HttpKubeApi::SendOnce(const Call& call, const std::string& authorization, SteadyTime deadline,
                                   json::Buffer& body, bool& streamed) {
  http::Request request;
  request.method = call.method;
  request.target = call.target;
  request.headers.emplace_back("Accept", call.accept);
  if (!authorization.empty()) request.headers.emplace_back("Authorization", authorization);
  if (!call.body.empty()) request.headers.emplace_back("Content-Type", call.content_type);
  request.body = call.body;

  const auto start = Steady::now();
  http::Limits limits;
  limits.timeout = std::max(std::chrono::ceil<milliseconds>(deadline - start), milliseconds(1));
  limits.stop = call.options.stop;
  absl::StatusOr<http::Response> response;
  body.Clear();
  if (call.stream) {
    limits.stream = call.stream_limit;
    response = client_->Stream(
        request,
        [&](const http::Response& head, std::string_view bytes) -> absl::Status {
          if (head.code < 200 || head.code > 299) {
            if (body.size() < kMaxErrorBytes) body.Append(bytes.substr(0, kMaxErrorBytes - body.size()));
            return absl::OkStatus();
          }
          streamed = true;
          if (IsHtml(head)) return NoJson(head, bytes);
          return (*call.stream)(bytes);
        },
        limits);
  } else {
    response = client_->Fetch(request, body, limits);
  }
  options_.metrics.requests.Add(
      {options_.cluster, call.verb, response.ok() ? std::to_string(response->code) : std::string("error")});
  if (!call.stream) {
    options_.metrics.seconds.With({call.verb}).Observe(std::chrono::duration<double>(Steady::now() - start).count());
  }

  if (!response.ok()) return response.status();
  if (response->code < 200 || response->code > 299) {
    ApiError error = DecodeApiError(response->code, body.view());
    if (response->retry_after) error.retry_after = response->retry_after;
    if (response->code < 400) error.message = "the server redirects, which is not followed";
    return ToStatus(std::move(error));
  }
  if (call.stream) return absl::OkStatus();
  const auto first = body.view().find_first_not_of(" \t\r\n");
  const bool is_object = first != std::string_view::npos && body.view()[first] == '{';
  if (call.any_text ? IsHtml(*response) : !is_object) return NoJson(*response, body.view());
  return absl::OkStatus();
}

absl::Status HttpKubeApi::Send(const Call& call, json::Buffer& body) {
  constexpr milliseconds kForever = std::chrono::hours(8760);
  const auto deadline = Steady::now() + std::min(call.options.timeout, kForever);
  base::Backoff backoff({options_.retry_initial, options_.retry_max, 2.0, 1.0}, *options_.random);
  bool renewed = false;
  while (true) {
    if (call.options.stop.stop_requested()) return absl::CancelledError(call.Name() + ": stopped");
    if (auto status = WaitForTurn(call, deadline); !status.ok()) return base::Annotate(status, call.Name());
    const std::string authorization = credentials_->Header();
    bool streamed = false;
    const absl::Status status = SendOnce(call, authorization, deadline, body, streamed);
    // Events that were handed out must not come twice, and an error inside a stream is the caller's.
    if (status.ok() || streamed) return base::Annotate(status, call.Name());
    const auto error = GetApiError(status);
    if (error && error->code == 401 && !renewed && credentials_->Renew(authorization)) {
      renewed = true;
      continue;
    }
    // Only the API server writes a reason; a proxy before it may have lost the answer to a request that happened.
    const bool did_nothing = !call.creates || (error && !error->reason.empty());
    if (!call.options.repeats_refused || !error || (error->code != 429 && error->code != 503) || !did_nothing) {
      return base::Annotate(status, call.Name());
    }
    milliseconds wait = backoff.Next();
    if (error->retry_after && error->retry_after->count() > 0) wait = *error->retry_after;
    if (Steady::now() + wait >= deadline) return base::Annotate(status, call.Name());
    base::StopSignal stop(call.options.stop);
    if (stop.WaitFor(wait)) return absl::CancelledError(call.Name() + ": stopped");
  }
}

absl::StatusOr<std::string> HttpKubeApi::SendForText(const Call& call) {
  auto decoder = TakeDecoder();
  const absl::Status status = Send(call, decoder->body);
  std::string text(status.ok() ? decoder->body.view() : std::string_view());
  GiveBack(std::move(decoder));
  if (!status.ok()) return status;
  return text;
}

absl::StatusOr<ListPage> HttpKubeApi::List(const ListQuery& query, ItemVisitor visit, const CallOptions& options) {
  RETURN_IF_ERROR(CheckResource(query.resource, query.ns));
  if (query.limit < 1 || query.limit > kMaxLimit) {
    return base::InvalidArgument("a page of {} objects; allowed: 1 to {}", query.limit, kMaxLimit);
  }
  std::string target = query.resource.CollectionPath(query.ns);
  http::AppendQuery(target, "limit", std::to_string(query.limit));
  // A token stands for its own version; servers refuse both together.
  if (!query.continue_token.empty()) {
    http::AppendQuery(target, "continue", query.continue_token);
  } else if (!query.resource_version.empty()) {
    http::AppendQuery(target, "resourceVersion", query.resource_version);
  }
  AddSelectors(target, query.label_selector, query.field_selector);

  Call call{"list", "GET", std::move(target), options};
  if (query.metadata_only) call.accept = kListMetadata;
  auto decoder = TakeDecoder();
  absl::Status sent = Send(call, decoder->body);
  if (query.metadata_only && MayFallBack(sent, query.resource)) {
    call.accept = kJson;
    sent = Send(call, decoder->body);
  }
  if (!sent.ok()) {
    GiveBack(std::move(decoder));
    return sent;
  }
  auto page = DecodeList(decoder->parser, decoder->body, visit);
  if (page.ok()) page->bytes = decoder->body.size();
  GiveBack(std::move(decoder));
  return page;
}

absl::Status HttpKubeApi::Watch(const WatchQuery& query, WatchVisitor visit, const CallOptions& options) {
  RETURN_IF_ERROR(CheckResource(query.resource, query.ns));
  std::string target = query.resource.CollectionPath(query.ns);
  http::AppendQuery(target, "watch", "1");
  http::AppendQuery(target, "allowWatchBookmarks", "true");
  http::AppendQuery(target, "timeoutSeconds", std::to_string(query.timeout.count()));
  if (!query.resource_version.empty()) http::AppendQuery(target, "resourceVersion", query.resource_version);
  AddSelectors(target, query.label_selector, query.field_selector);

  WatchDecoder lines;
  const auto feed = [&](std::string_view bytes) { return lines.Feed(bytes, visit); };
  Call call{"watch", "GET", std::move(target), options};
  call.stream.emplace(feed);
  call.stream_limit = query.timeout + options_.watch_slack;
  if (query.metadata_only) call.accept = kObjectMetadata;
  json::Buffer refused;
  absl::Status status = Send(call, refused);
  if (query.metadata_only && MayFallBack(status, query.resource)) {
    call.accept = kJson;
    status = Send(call, refused);
  }
  return status.ok() ? lines.Finish() : status;
}

absl::StatusOr<std::string> HttpKubeApi::Get(const ResourceType& resource, const ObjectKey& key,
                                             const CallOptions& options) {
  RETURN_IF_ERROR(CheckKey(resource, key));
  return SendForText({"get", "GET", resource.ObjectPath(key), options});
}

absl::StatusOr<std::string> HttpKubeApi::GetPath(std::string_view path, const CallOptions& options) {
  Call call{"get", "GET", std::string(path), options};
  call.any_text = true;
  return SendForText(call);
}

absl::StatusOr<std::string> HttpKubeApi::Write(const char* verb, const char* method, std::string target,
                                               const char* content_type, std::string_view body,
                                               const CallOptions& options) {
  Call call{verb, method, std::move(target), options};
  call.content_type = content_type;
  call.body = body;
  call.creates = std::string_view(method) == "POST";
  return SendForText(call);
}

absl::StatusOr<std::string> HttpKubeApi::Create(const ResourceType& resource, std::string_view ns,
                                                std::string_view body, const CallOptions& options) {
  RETURN_IF_ERROR(CheckResource(resource, ns));
  if (resource.namespaced && ns.empty()) return base::InvalidArgument("{} need a namespace", resource.plural);
  return Write("create", "POST", resource.CollectionPath(ns), kJson, body, options);
}

absl::StatusOr<std::string> HttpKubeApi::Replace(const ResourceType& resource, const ObjectKey& key,
                                                 std::string_view body, const CallOptions& options) {
  RETURN_IF_ERROR(CheckKey(resource, key));
  return Write("update", "PUT", resource.ObjectPath(key), kJson, body, options);
}

absl::StatusOr<std::string> HttpKubeApi::Patch(const ResourceType& resource, const ObjectKey& key, PatchType type,
                                               std::string_view body, const PatchOptions& patch,
                                               const CallOptions& options) {
  RETURN_IF_ERROR(CheckKey(resource, key));
  std::string target = resource.ObjectPath(key);
  if (!patch.subresource.empty()) {
    if (!IsPathSegment(patch.subresource)) return base::InvalidArgument("\"{}\" is no subresource", patch.subresource);
    target.append("/").append(patch.subresource);
  }
  if (!patch.field_manager.empty()) http::AppendQuery(target, "fieldManager", patch.field_manager);
  switch (type) {
    case PatchType::kMerge:
      return Write("patch", "PATCH", std::move(target), "application/merge-patch+json", body, options);
    case PatchType::kServerApply:
      if (patch.field_manager.empty()) return base::InvalidArgument("server-side apply needs a field manager");
      http::AppendQuery(target, "force", patch.force ? "true" : "false");
      return Write("apply", "PATCH", std::move(target), "application/apply-patch+yaml", body, options);
  }
  return base::Internal("unknown patch type");
}

absl::Status HttpKubeApi::Delete(const ResourceType& resource, const ObjectKey& key, const DeleteOptions& how,
                                 const CallOptions& options) {
  RETURN_IF_ERROR(CheckKey(resource, key));
  std::string body;
  if (!how.uid.empty() || !how.propagation_policy.empty()) {
    json::Writer writer(body);
    writer.BeginObject().Member("apiVersion", "v1").Member("kind", "DeleteOptions");
    if (!how.uid.empty()) writer.Key("preconditions").BeginObject().Member("uid", how.uid).EndObject();
    if (!how.propagation_policy.empty()) writer.Member("propagationPolicy", how.propagation_policy);
    writer.EndObject();
  }
  return Write("delete", "DELETE", resource.ObjectPath(key), kJson, body, options).status();
}

}  // namespace clusterpulse::kube
