#include "hub/history/vm_client.h"

#include <utility>

#include <openssl/evp.h>

#include "common/base/status.h"
#include "common/http/replaceable_file.h"
#include "common/http/url.h"

namespace clusterpulse::history {
namespace {

std::string Base64(std::string_view text) {
  std::string out(4 * ((text.size() + 2) / 3) + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

}  // namespace

// What is in a file that may be replaced, without blanks around it. Guarded by its owner.
class VmClient::SecretFile {
 public:
  explicit SecretFile(std::string path) : file_(std::move(path)) {}

  const std::string& path() const { return file_.path(); }
  const std::string& text() const { return text_; }

  // kInvalidArgument: unreadable, empty or too large; what was read before stays.
  absl::Status Load() {
    stamp_ = file_.Stamp();
    ASSIGN_OR_RETURN(const std::string text, file_.Read());
    if (Trim(text).empty()) return base::InvalidArgument("{} is empty", path());
    text_ = Trim(text);
    return absl::OkStatus();
  }
  bool has_changed() const { return file_.Stamp() != stamp_; }

 private:
  const http::ReplaceableFile file_;
  std::string text_, stamp_;
};

absl::StatusOr<VmPaths> ParseVmEndpoint(std::string_view endpoint) {
  ASSIGN_OR_RETURN(const http::Url url, http::ParseUrl(endpoint));
  VmPaths paths{.origin = url.Origin(), .prefix = url.path, .metrics = url.path + "/metrics"};
  for (const std::string_view kind : {"/insert/", "/select/"}) {
    const std::size_t at = url.path.find(kind);
    if (at == std::string::npos) continue;
    // A node of a cluster: the path names a tenant, and its own metrics are not of one.
    paths.metrics = url.path.substr(0, at) + "/metrics";
    const std::string_view tenant = std::string_view(url.path).substr(at + kind.size());
    if (tenant.find('/') == std::string_view::npos) paths.prefix += "/prometheus";
  }
  return paths;
}

VmClient::VmClient(VmOptions options, log::Logger log) : options_(std::move(options)), log_(std::move(log)) {}

VmClient::~VmClient() = default;

absl::StatusOr<std::unique_ptr<VmClient>> VmClient::Create(VmOptions options, log::Logger log) {
  if (options.username.empty() != options.password_file.empty()) {
    return base::InvalidArgument("a user name and a file with its password belong together");
  }
  if (!options.username.empty() && !options.bearer_token_file.empty()) {
    return base::InvalidArgument("a user name and a bearer token exclude one another");
  }
  std::unique_ptr<VmClient> client(new VmClient(std::move(options), std::move(log)));
  RETURN_IF_ERROR(client->Load());
  return client;
}

absl::Status VmClient::Load() {
  ASSIGN_OR_RETURN(VmPaths paths, ParseVmEndpoint(options_.endpoint));
  if (!options_.tls_ca_file.empty() && !paths.origin.starts_with("https:")) {
    return base::InvalidArgument("a file of authorities is given, but the address {} is not https", paths.origin);
  }
  endpoint_ = paths.origin + paths.prefix;
  origin_ = std::move(paths.origin);
  prefix_ = std::move(paths.prefix);
  metrics_target_ = std::move(paths.metrics);
  base::MutexLock lock(mu_);
  const std::string& secret = options_.username.empty() ? options_.bearer_token_file : options_.password_file;
  if (!secret.empty()) {
    secret_ = std::make_unique<SecretFile>(secret);
    RETURN_IF_ERROR(secret_->Load());
  }
  if (!options_.tls_ca_file.empty()) {
    ca_ = std::make_unique<SecretFile>(options_.tls_ca_file);
    RETURN_IF_ERROR(ca_->Load());
  }
  ASSIGN_OR_RETURN(client_, MakeClient(ca_ ? ca_->text() : ""), ca_ ? ca_->path() : origin_);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<http::Client>> VmClient::MakeClient(const std::string& ca_pem) const {
  http::Client::Options options;
  options.base_url = origin_;
  options.tls.ca_pem = ca_pem;
  options.proxy_settings = options_.proxy;
  options.user_agent = options_.user_agent;
  ASSIGN_OR_RETURN(std::unique_ptr<http::Client> client, http::Client::Create(std::move(options)));
  return std::shared_ptr<http::Client>(std::move(client));
}

VmClient::Session VmClient::Current() {
  std::shared_ptr<http::Client> old;  // closed outside the lock
  absl::Status problem;
  Session session;
  {
    base::MutexLock lock(mu_);
    if (secret_ && secret_->has_changed()) problem.Update(secret_->Load());
    if (ca_ && ca_->has_changed()) {
      absl::Status status = ca_->Load();
      if (status.ok()) {
        auto client = MakeClient(ca_->text());
        status = base::Annotate(client.status(), ca_->path());
        if (client.ok()) old = std::exchange(client_, *std::move(client));
      }
      problem.Update(status);
    }
    session.client = client_;
    if (secret_) {
      session.authorization = options_.username.empty() ? "Bearer " + secret_->text()
                                                        : "Basic " + Base64(options_.username + ":" + secret_->text());
    }
  }
  if (!problem.ok()) {
    log_.Warn("what VictoriaMetrics is accessed with cannot be read anew, what was read before is used",
              {{"error", log::ToText(problem)}});
  }
  return session;
}

absl::StatusOr<http::Response> VmClient::Send(http::Request& request, json::Buffer& body, const http::Limits& limits) {
  Session session = Current();
  if (!session.authorization.empty()) request.headers.emplace_back("Authorization", std::move(session.authorization));
  return session.client->Fetch(request, body, limits);
}

absl::StatusOr<http::Response> VmClient::Fetch(http::Request request, json::Buffer& body, const http::Limits& limits) {
  request.target.insert(0, prefix_);
  return Send(request, body, limits);
}

absl::StatusOr<http::Response> VmClient::FetchMetrics(json::Buffer& body, const http::Limits& limits) {
  http::Request request{.target = metrics_target_};
  return Send(request, body, limits);
}

}  // namespace clusterpulse::history
