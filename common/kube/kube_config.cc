#include "common/kube/kube_config.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <system_error>
#include <vector>

#include <absl/strings/escaping.h>
#include <fcntl.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include "common/base/status.h"
#include "common/http/pem.h"
#include "common/http/proxy.h"
#include "common/http/url.h"

namespace clusterpulse::kube {
namespace {

constexpr std::size_t kMaxConfigBytes = 4 << 20;
constexpr std::size_t kMaxMaterialBytes = 1 << 20;  // a certificate, key or token

// One kubeconfig file. Paths in it are relative to `dir`.
struct File {
  std::string name, dir;
  YAML::Node root;
};

// An entry ("clusters", "users" or "contexts") with the file it came from and words for messages.
struct Entry {
  const File* file = nullptr;
  YAML::Node body;
  std::string where;  // "/path/config: cluster c"
};

// The scalar member `field`, nullopt when absent or null.
absl::StatusOr<std::optional<std::string>> Text(const YAML::Node& map, const std::string& field,
                                                const std::string& where) {
  const YAML::Node node = map[field];
  if (!node.IsDefined() || node.IsNull()) return std::optional<std::string>();
  if (!node.IsScalar()) return base::InvalidArgument("{}: {} is not a text", where, field);
  return std::optional<std::string>(node.Scalar());
}

// As Text, empty when absent.
absl::Status ReadText(const Entry& entry, const std::string& field, std::string& out) {
  ASSIGN_OR_RETURN(const auto text, Text(entry.body, field, entry.where));
  out = text.value_or("");
  return absl::OkStatus();
}

absl::Status ReadBool(const Entry& entry, const std::string& field, bool& out) {
  ASSIGN_OR_RETURN(const auto text, Text(entry.body, field, entry.where));
  if (!text) return absl::OkStatus();
  const bool quoted = entry.body[field].Tag() == "!";
  const bool yes = *text == "true" || *text == "True" || *text == "TRUE";
  const bool no = *text == "false" || *text == "False" || *text == "FALSE";
  if (quoted || (!yes && !no)) return base::InvalidArgument("{}: {} is neither true nor false", entry.where, field);
  out = yes;
  return absl::OkStatus();
}

std::string Resolve(const std::string& dir, const std::string& path) {
  return std::filesystem::path(path).is_absolute() ? path : (std::filesystem::path(dir) / path).string();
}

// `field`-data (base64), otherwise the file named by `field`.
absl::Status ReadMaterial(const Entry& entry, const std::string& field, bool read_files, std::string& out) {
  const std::string data_field = field + "-data";
  ASSIGN_OR_RETURN(const auto data, Text(entry.body, data_field, entry.where));
  if (data && !data->empty()) {
    if (!absl::Base64Unescape(absl::string_view(data->data(), data->size()), &out) || out.empty()) {
      return base::InvalidArgument("{}: {} is not base64", entry.where, data_field);
    }
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto path, Text(entry.body, field, entry.where));
  if (!path || path->empty()) return absl::OkStatus();
  if (!read_files) {
    return base::InvalidArgument("{}: {} names a file; only {} is supported here", entry.where, field, data_field);
  }
  ASSIGN_OR_RETURN(out, ReadSmallFile(Resolve(entry.file->dir, *path), kMaxMaterialBytes),
                   fmt::format("{}: {}", entry.where, field));
  if (out.empty()) return base::InvalidArgument("{}: {}: {} is empty", entry.where, field, *path);
  return absl::OkStatus();
}

// The first entry called `name` of the list `list` over all files; `kind` is its member and its word in messages.
absl::StatusOr<Entry> FindEntry(const std::vector<File>& files, const std::string& list, const std::string& kind,
                                const std::string& name, const std::string& wanted_by) {
  for (const File& file : files) {
    const YAML::Node entries = file.root[list];
    if (!entries.IsDefined() || entries.IsNull()) continue;
    if (!entries.IsSequence()) return base::InvalidArgument("{}: {} is not a list", file.name, list);
    for (const YAML::Node& item : entries) {
      if (!item.IsMap()) return base::InvalidArgument("{}: an entry of {} is not an object", file.name, list);
      const std::string where = fmt::format("{}: {} {}", file.name, kind, name);
      ASSIGN_OR_RETURN(const auto item_name, Text(item, "name", fmt::format("{}: {}", file.name, list)));
      if (item_name.value_or("") != name) continue;
      const YAML::Node body = item[kind];
      if (!body.IsDefined() || body.IsNull()) return Entry{&file, YAML::Node(YAML::NodeType::Map), where};
      if (!body.IsMap()) return base::InvalidArgument("{}: {} is not an object", where, kind);
      return Entry{&file, body, where};
    }
  }
  return base::InvalidArgument("{}: there is no {} called \"{}\"", wanted_by, kind, name);
}

absl::Status ReadCluster(const Entry& cluster, bool read_files, ConnectionConfig& out) {
  RETURN_IF_ERROR(ReadText(cluster, "server", out.server));
  if (out.server.empty()) return base::InvalidArgument("{}: server is missing", cluster.where);
  if (const auto url = http::ParseUrl(out.server); !url.ok()) {
    return base::Annotate(url.status(), cluster.where + ": server");
  }
  RETURN_IF_ERROR(ReadText(cluster, "tls-server-name", out.tls_server_name));
  RETURN_IF_ERROR(ReadText(cluster, "proxy-url", out.proxy_url));
  if (!out.proxy_url.empty()) {
    if (const auto proxy = http::ParseProxy(out.proxy_url); !proxy.ok()) {
      return base::Annotate(proxy.status(), cluster.where + ": proxy-url");
    }
  }
  RETURN_IF_ERROR(ReadBool(cluster, "insecure-skip-tls-verify", out.insecure_skip_tls_verify));
  RETURN_IF_ERROR(ReadMaterial(cluster, "certificate-authority", read_files, out.ca_pem));
  if (out.insecure_skip_tls_verify && !out.ca_pem.empty()) {
    return base::InvalidArgument("{}: insecure-skip-tls-verify and certificate-authority contradict each other",
                                 cluster.where);
  }
  if (!out.ca_pem.empty()) {
    if (auto status = http::CheckCaPem(out.ca_pem); !status.ok()) {
      return base::Annotate(status, cluster.where + ": certificate-authority");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadUser(const Entry& user, bool read_files, ConnectionConfig& out) {
  for (const char* plugin : {"exec", "auth-provider"}) {
    const YAML::Node node = user.body[plugin];
    if (!node.IsDefined() || node.IsNull()) continue;
    return base::InvalidArgument(
        "{}: {} plugins are not supported; use token, tokenFile, client-certificate with client-key, or username with "
        "password",
        user.where, plugin);
  }
  RETURN_IF_ERROR(ReadMaterial(user, "client-certificate", read_files, out.client_cert_pem));
  RETURN_IF_ERROR(ReadMaterial(user, "client-key", read_files, out.client_key_pem));
  if (out.client_cert_pem.empty() != out.client_key_pem.empty()) {
    return base::InvalidArgument("{}: {} is missing", user.where,
                                 out.client_key_pem.empty() ? "client-key" : "client-certificate");
  }
  if (!out.client_cert_pem.empty()) {
    if (auto status = http::CheckClientPem(out.client_cert_pem, out.client_key_pem); !status.ok()) {
      return base::Annotate(status, user.where + ": client-certificate");
    }
  }
  RETURN_IF_ERROR(ReadText(user, "token", out.token));
  RETURN_IF_ERROR(ReadText(user, "tokenFile", out.token_file));
  if (!out.token_file.empty()) {
    if (!read_files) {
      return base::InvalidArgument("{}: tokenFile names a file; only token is supported here", user.where);
    }
    out.token_file = Resolve(user.file->dir, out.token_file);
  }
  RETURN_IF_ERROR(ReadText(user, "username", out.username));
  RETURN_IF_ERROR(ReadText(user, "password", out.password));
  if (out.username.empty() != out.password.empty()) {
    return base::InvalidArgument("{}: username and password are only usable together", user.where);
  }
  return absl::OkStatus();
}

absl::StatusOr<File> ParseFile(std::string_view text, std::string_view name, std::string_view dir) {
  if (text.size() > kMaxConfigBytes) {
    return base::InvalidArgument("{}: larger than {} bytes", name, kMaxConfigBytes);
  }
  File file{std::string(name), std::string(dir), YAML::Node()};
  try {
    file.root = YAML::Load(std::string(text));
  } catch (const YAML::Exception& e) {
    // Only the place: the words of other exceptions may repeat the text.
    return base::InvalidArgument("{}: line {}, column {}: no valid YAML or JSON", name, e.mark.line + 1,
                                 e.mark.column + 1);
  }
  if (file.root.IsDefined() && !file.root.IsNull() && !file.root.IsMap()) {
    return base::InvalidArgument("{}: no kubeconfig: not an object", name);
  }
  if (!file.root.IsMap()) file.root = YAML::Node(YAML::NodeType::Map);  // an empty file
  return file;
}

absl::StatusOr<ConnectionConfig> Combine(const std::vector<File>& files, std::string context, bool read_files) {
  std::string names;
  for (const File& file : files) names += (names.empty() ? "" : ", ") + file.name;
  for (const File& file : files) {
    if (!context.empty()) break;
    ASSIGN_OR_RETURN(const auto current, Text(file.root, "current-context", file.name));
    context = current.value_or("");
  }
  if (context.empty()) return base::InvalidArgument("{}: current-context is missing", names);

  ConnectionConfig out;
  ASSIGN_OR_RETURN(const Entry chosen, FindEntry(files, "contexts", "context", context, names));
  out.source = fmt::format("context {} of {}", context, names);
  RETURN_IF_ERROR(ReadText(chosen, "namespace", out.default_namespace));
  std::string cluster_name, user_name;
  RETURN_IF_ERROR(ReadText(chosen, "cluster", cluster_name));
  RETURN_IF_ERROR(ReadText(chosen, "user", user_name));
  if (cluster_name.empty()) return base::InvalidArgument("{}: cluster is missing", chosen.where);
  ASSIGN_OR_RETURN(const Entry cluster, FindEntry(files, "clusters", "cluster", cluster_name, chosen.where));
  RETURN_IF_ERROR(ReadCluster(cluster, read_files, out));
  if (!user_name.empty()) {
    ASSIGN_OR_RETURN(const Entry user, FindEntry(files, "users", "user", user_name, chosen.where));
    RETURN_IF_ERROR(ReadUser(user, read_files, out));
  }
  return out;
}

// yaml-cpp throws on odd documents also while they are read: nothing of that gets out of here.
template <typename F>
absl::StatusOr<ConnectionConfig> Guarded(std::string_view names, F&& read) {
  try {
    return read();
  } catch (const std::exception&) {
    return base::InvalidArgument("{}: no valid kubeconfig", names);
  }
}

absl::StatusOr<File> ReadFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kMaxConfigBytes));
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  return ParseFile(text, path, (error ? std::filesystem::path(path) : absolute).parent_path().string());
}

absl::StatusOr<ConnectionConfig> LoadFiles(const std::vector<std::string>& paths, bool must_exist,
                                           const std::string& context) {
  std::string names;
  for (const std::string& path : paths) names += (names.empty() ? "" : ", ") + path;
  return Guarded(names, [&]() -> absl::StatusOr<ConnectionConfig> {
    std::vector<File> files;
    for (const std::string& path : paths) {
      auto file = ReadFile(path);
      if (!must_exist && file.status().code() == absl::StatusCode::kNotFound) continue;
      if (!file.ok()) return base::Annotate(file.status(), "kubeconfig");
      files.push_back(*std::move(file));
    }
    if (files.empty()) return absl::NotFoundError(fmt::format("kubeconfig: none of these files exists: {}", names));
    return Combine(files, context, true);
  });
}

absl::StatusOr<ConnectionConfig> InCluster(const std::string& host, const std::string& port, const std::string& dir) {
  ConnectionConfig out;
  out.source = "in-cluster";
  const bool is_ipv6 = host.find(':') != std::string::npos && host.front() != '[';
  out.server = fmt::format("https://{}{}{}:{}", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "", port);
  if (const auto url = http::ParseUrl(out.server); !url.ok()) {
    return base::Annotate(url.status(), "in-cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT");
  }
  out.token_file = dir + "/token";
  ASSIGN_OR_RETURN(out.ca_pem, ReadSmallFile(dir + "/ca.crt", kMaxMaterialBytes), "in-cluster");
  if (auto status = http::CheckCaPem(out.ca_pem); !status.ok()) {
    return base::Annotate(status, "in-cluster: " + dir + "/ca.crt");
  }
  // Not every mount has it.
  if (const auto ns = ReadSmallFile(dir + "/namespace", kMaxMaterialBytes); ns.ok()) {
    const auto end = ns->find_last_not_of(" \r\n\t");
    out.default_namespace = end == std::string::npos ? "" : ns->substr(0, end + 1);
  }
  return out;
}

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, std::size_t max_bytes) {
  const auto failed = [&path](int error) {
    const std::string text = fmt::format("{}: {}", path, std::generic_category().message(error));
    if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(text);
    if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(text);
    return absl::InvalidArgumentError(text);
  };
  // Not blocking: a named pipe in the place of a file would otherwise hang the start.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return failed(errno);
  std::string out;
  char block[16384];
  ssize_t got = 0;
  while ((got = read(fd, block, sizeof(block))) > 0 && out.size() <= max_bytes) {
    out.append(block, static_cast<std::size_t>(got));
  }
  const int error = errno;
  close(fd);
  if (got < 0) return failed(error);
  if (out.size() > max_bytes) return base::InvalidArgument("{}: larger than {} bytes", path, max_bytes);
  return out;
}

absl::StatusOr<ConnectionConfig> ParseKubeConfig(std::string_view text, std::string_view name, std::string_view dir,
                                                 std::string_view context, bool read_files) {
  return Guarded(name, [&]() -> absl::StatusOr<ConnectionConfig> {
    std::vector<File> files;
    ASSIGN_OR_RETURN(File file, ParseFile(text, name, dir));
    files.push_back(std::move(file));
    return Combine(files, std::string(context), read_files);
  });
}

absl::StatusOr<ConnectionConfig> LoadConnectionConfig(const LoadOptions& options) {
  const auto env = [&options](const char* name) -> std::string {
    if (options.getenv) return options.getenv(name).value_or("");
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (!options.kubeconfig.empty()) return LoadFiles({options.kubeconfig}, true, options.context);

  std::vector<std::string> paths;
  const std::string list = env("KUBECONFIG");
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find(':', begin), list.size());
    const std::string path = list.substr(begin, end - begin);
    if (!path.empty() && std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
    begin = end + 1;
  }
  if (!paths.empty()) return LoadFiles(paths, false, options.context);

  const std::string host = env("KUBERNETES_SERVICE_HOST"), port = env("KUBERNETES_SERVICE_PORT");
  std::error_code ignored;
  if (!host.empty() && !port.empty() && std::filesystem::exists(options.service_account_dir + "/token", ignored)) {
    return InCluster(host, port, options.service_account_dir);
  }
  if (const std::string home = env("HOME"); !home.empty()) {
    const std::string path = home + "/.kube/config";
    if (std::filesystem::exists(path, ignored)) return LoadFiles({path}, true, options.context);
  }
  return absl::NotFoundError(
      "no way to the Kubernetes API is configured: give --kubeconfig or KUBECONFIG, run in a pod with a service "
      "account, "
      "or have ~/.kube/config");
}

}  // namespace clusterpulse::kube
