#include "common/kube/kube_config.h"

#include <filesystem>
#include <map>

#include <absl/strings/escaping.h>
#include <catch2/catch.hpp>

#include "common/base/status.h"
#include "tests/common/http/testing/test_certs.h"
#include "tests/support/process.h"

namespace clusterpulse::kube {
namespace {

using Code = absl::StatusCode;
using testing::TempDir;
using testing::WriteFile;

std::string Base64(const std::string& text) {
  std::string out;
  absl::Base64Escape(absl::string_view(text.data(), text.size()), &out);
  return out;
}

struct Fixture {
  TempDir dir;
  std::map<std::string, std::string> env;
  std::string context;

  absl::StatusOr<ConnectionConfig> Load(const std::string& kubeconfig = "") {
    LoadOptions options;
    options.kubeconfig = kubeconfig;
    options.context = context;
    options.service_account_dir = dir.File("sa");
    options.getenv = [this](const char* name) -> std::optional<std::string> {
      const auto found = env.find(name);
      return found == env.end() ? std::nullopt : std::optional<std::string>(found->second);
    };
    return LoadConnectionConfig(options);
  }
  std::string Write(const std::string& name, const std::string& text) {
    WriteFile(dir.File(name), text);
    return dir.File(name);
  }
};

// A kubeconfig of one context "c" with these fields of its cluster and user.
std::string Config(const std::string& cluster, const std::string& user) {
  return "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {cluster: k, user: u, "
         "namespace: team}\n"
         "clusters:\n- name: k\n  cluster: {" +
         cluster + "}\nusers:\n- name: u\n  user: {" + user + "}\n";
}

absl::StatusOr<ConnectionConfig> Parse(const std::string& text, bool read_files = true) {
  return ParseKubeConfig(text, "f", "/nowhere", "", read_files);
}

TEST_CASE("a kubeconfig is read with its data, YAML or JSON") {
  const http::KeyPair ca = http::MakeCa("ca");
  const http::KeyPair client = http::MakeCert(ca, {});
  const std::string yaml =
      Config("server: 'https://h:6443/prefix', certificate-authority-data: " + Base64(ca.cert_pem) +
                 ", tls-server-name: api.internal, proxy-url: 'http://p:3128'",
             "client-certificate-data: " + Base64(client.cert_pem) + ", client-key-data: " + Base64(client.key_pem) +
                 ", token: t, username: admin, password: 123");
  const std::string json =
      R"({"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"k","cluster":{"server":"https://h:6443/prefix",)"
      R"("tls-server-name":"api.internal","proxy-url":"http://p:3128","certificate-authority-data":")" +
      Base64(ca.cert_pem) +
      R"("}}],"users":[{"name":"u","user":{"token":"t","username":"admin","password":"123","client-certificate-data":")" +
      Base64(client.cert_pem) + R"(","client-key-data":")" + Base64(client.key_pem) +
      R"("}}],"contexts":[{"name":"c","context":{"cluster":"k","user":"u","namespace":"team"}}]})";
  const auto config = Parse(GENERATE_COPY(yaml, json));
  REQUIRE(config.ok());
  CHECK(config->server == "https://h:6443/prefix");
  CHECK(config->ca_pem == ca.cert_pem);
  CHECK(config->client_cert_pem == client.cert_pem);
  CHECK(config->client_key_pem == client.key_pem);
  CHECK(config->token == "t");
  CHECK(config->username == "admin");
  CHECK(config->password == "123");
  CHECK(config->tls_server_name == "api.internal");
  CHECK(config->proxy_url == "http://p:3128");
  CHECK(config->default_namespace == "team");
  CHECK_FALSE(config->insecure_skip_tls_verify);
}

TEST_CASE("files are looked for beside the kubeconfig") {
  Fixture f;
  const http::KeyPair ca = http::MakeCa("ca");
  const http::KeyPair client = http::MakeCert(ca, {});
  std::filesystem::create_directory(f.dir.File("pki"));
  f.Write("pki/ca.crt", ca.cert_pem);
  f.Write("c.crt", client.cert_pem);
  f.Write("c.key", client.key_pem);
  const std::string path =
      f.Write("config", Config("server: 'https://h', certificate-authority: pki/ca.crt",
                               "client-certificate: c.crt, client-key: " + f.dir.File("c.key") + ", tokenFile: tok"));
  const auto config = f.Load(path);
  REQUIRE(config.ok());
  CHECK(config->ca_pem == ca.cert_pem);
  CHECK(config->client_cert_pem == client.cert_pem);
  CHECK(config->client_key_pem == client.key_pem);
  CHECK(config->token_file == f.dir.File("tok"));
}

TEST_CASE("verification is off only when that is written") {
  CHECK(Parse(Config("server: 'https://h', insecure-skip-tls-verify: true", ""))->insecure_skip_tls_verify);
  CHECK_FALSE(Parse(Config("server: 'https://h', insecure-skip-tls-verify: false", ""))->insecure_skip_tls_verify);
  CHECK_FALSE(Parse(Config("server: 'https://h', insecure-skip-tls-verify: ", ""))->insecure_skip_tls_verify);
  for (const char* odd : {"yes", "1", "'true'", "\"true\"", "[true]"}) {
    CAPTURE(odd);
    CHECK(Parse(Config(std::string("server: 'https://h', insecure-skip-tls-verify: ") + odd, "")).status().code() ==
          Code::kInvalidArgument);
  }
}

TEST_CASE("errors name file, entry and field and no secrets") {
  const http::KeyPair ca = http::MakeCa("ca");
  const http::KeyPair client = http::MakeCert(ca, {}), other = http::MakeCert(ca, {});
  struct Case {
    std::string text;
    const char* words;
  };
  const std::vector<Case> cases{
      {"", "f: current-context is missing"},
      {"[]", "f: no kubeconfig: not an object"},
      {"a: [", "f: line "},
      {"current-context: x", "f: there is no context called \"x\""},
      {"current-context: x\ncontexts: {}", "f: contexts is not a list"},
      {"current-context: x\ncontexts: [1]", "f: an entry of contexts is not an object"},
      {"current-context: x\ncontexts: [{name: x}]", "f: context x: cluster is missing"},
      {"current-context: x\ncontexts: [{name: x, context: {cluster: k}}]",
       "f: context x: there is no cluster called \"k\""},
      {Config("", ""), "f: cluster k: server is missing"},
      {Config("server: [1]", ""), "f: cluster k: server is not a text"},
      {Config("server: h", ""), "f: cluster k: server: the address"},
      {Config("server: 'https://u:hunter2@h'", ""), "f: cluster k: server: the address has a user name"},
      {Config("server: 'https://h', proxy-url: 'ftp://u:hunter2@p'", ""), "f: cluster k: proxy-url: "},
      {Config("server: 'https://h', certificate-authority-data: '!hunter2'", ""),
       "f: cluster k: certificate-authority-data is not base64"},
      {Config("server: 'https://h', certificate-authority-data: aHVudGVyMg==", ""),
       "f: cluster k: certificate-authority: the CA"},
      {Config("server: 'https://h', certificate-authority: ca.crt", ""),
       "f: cluster k: certificate-authority: /nowhere/ca.crt: No such file"},
      {Config("server: 'https://h', insecure-skip-tls-verify: true, certificate-authority-data: " + Base64(ca.cert_pem),
              ""),
       "contradict each other"},
      {Config("server: 'https://h'", "client-key-data: " + Base64(client.key_pem)),
       "f: user u: client-certificate is missing"},
      {Config("server: 'https://h'", "client-certificate-data: " + Base64(client.cert_pem)),
       "f: user u: client-key is missing"},
      {Config("server: 'https://h'",
              "client-certificate-data: " + Base64(client.cert_pem) + ", client-key-data: " + Base64(other.key_pem)),
       "f: user u: client-certificate: the client key does not belong"},
      {Config("server: 'https://h'", "username: u"), "f: user u: username and password are only usable together"},
      {Config("server: 'https://h'", "token: {a: hunter2}"), "f: user u: token is not a text"},
      {Config("server: 'https://h'", "exec: {command: aws}"), "f: user u: exec plugins are not supported; use token"},
      {Config("server: 'https://h'", "auth-provider: {name: gcp}"),
       "f: user u: auth-provider plugins are not supported"},
      {std::string(5 << 20, ' '), "larger than"},
  };
  for (const Case& c : cases) {
    const absl::Status status = Parse(c.text).status();
    const std::string message = base::Message(status);
    CAPTURE(c.text.substr(0, 200), message);
    CHECK((status.code() == Code::kInvalidArgument || status.code() == Code::kNotFound));
    CHECK(message.find(c.words) != std::string::npos);
    CHECK(message.find("hunter2") == std::string::npos);
  }
}

TEST_CASE("a kubeconfig from outside cannot name files") {
  CHECK(Parse(Config("server: 'https://h', certificate-authority: /etc/passwd", ""), false).status().code() ==
        Code::kInvalidArgument);
  CHECK(Parse(Config("server: 'https://h'", "tokenFile: /etc/passwd"), false).status().code() ==
        Code::kInvalidArgument);
}

TEST_CASE("the files of KUBECONFIG are merged, the first entry wins") {
  Fixture f;
  const std::string first =
      f.Write("a", "clusters: [{name: k, cluster: {server: 'https://first'}}]\ncurrent-context:\n");
  const std::string second = f.Write("b", Config("server: 'https://second'", "token: t"));
  f.env["KUBECONFIG"] = f.dir.File("missing") + ":" + first + "::" + second;
  auto config = f.Load();
  REQUIRE(config.ok());
  CHECK(config->server == "https://first");
  CHECK(config->token == "t");
  f.env["KUBECONFIG"] = second + ":" + first;
  config = f.Load();
  REQUIRE(config.ok());
  CHECK(config->server == "https://second");
  f.env["KUBECONFIG"] = f.dir.File("missing");
  CHECK(f.Load().status().code() == Code::kNotFound);
  f.context = "other";
  f.env["KUBECONFIG"] = second;
  CHECK(f.Load().status().code() == Code::kInvalidArgument);
}

TEST_CASE("in a pod the service account is used unless a kubeconfig is named") {
  Fixture f;
  const http::KeyPair ca = http::MakeCa("ca");
  f.env = {{"KUBERNETES_SERVICE_HOST", "fd00::1"}, {"KUBERNETES_SERVICE_PORT", "443"}, {"HOME", f.dir.path()}};
  std::filesystem::create_directories(f.dir.File(".kube"));
  f.Write(".kube/config", Config("server: 'https://home'", ""));
  auto config = f.Load();
  REQUIRE(config.ok());
  CHECK(config->server == "https://home");

  std::filesystem::create_directory(f.dir.File("sa"));
  f.Write("sa/token", "t\n");
  CHECK(f.Load().status().code() == Code::kNotFound);  // half a service account is an error
  f.Write("sa/ca.crt", ca.cert_pem);
  f.Write("sa/namespace", "ns\n");
  config = f.Load();
  REQUIRE(config.ok());
  CHECK(config->server == "https://[fd00::1]:443");
  CHECK(config->ca_pem == ca.cert_pem);
  CHECK(config->token_file == f.dir.File("sa/token"));
  CHECK(config->default_namespace == "ns");

  f.env["KUBERNETES_SERVICE_HOST"] = "10.0.0.1";
  CHECK(f.Load()->server == "https://10.0.0.1:443");
  CHECK(f.Load(f.dir.File(".kube/config"))->server == "https://home");
  f.env.clear();
  CHECK(f.Load().status().code() == Code::kNotFound);
}

}  // namespace
}  // namespace clusterpulse::kube
