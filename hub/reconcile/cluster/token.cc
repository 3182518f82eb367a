#include "hub/reconcile/cluster/token.h"

#include <cerrno>
#include <cstdlib>

#include <absl/strings/escaping.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/random.h>

namespace clusterpulse::reconcile {

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const auto first = text.find_first_not_of(kBlank);
  return first == std::string_view::npos ? std::string_view()
                                         : text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

TokenDigest DigestOf(std::string_view token) {
  TokenDigest digest;
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest.data());
  return digest;
}

bool Equal(const TokenDigest& a, const TokenDigest& b) { return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

std::string Hex(const TokenDigest& digest, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes && i < digest.size(); ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string NewToken() {
  std::array<char, 32> bits;
  // The kernel gives up to 256 bytes whole, and fails only on kernels that lack the call or when a signal came before
  // its generator was seeded.
  while (::getrandom(bits.data(), bits.size(), 0) != static_cast<ssize_t>(bits.size())) {
    if (errno != EINTR) std::abort();  // no secret is better than a weak one
  }
  std::string token;
  absl::WebSafeBase64Escape(absl::string_view(bits.data(), bits.size()), &token);
  while (token.ends_with('=')) token.pop_back();
  OPENSSL_cleanse(bits.data(), bits.size());
  return token;
}

}  // namespace clusterpulse::reconcile
