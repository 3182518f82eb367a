#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace clusterpulse::reconcile {

// SHA-256 of a token: what is kept and compared instead of it.
using TokenDigest = std::array<std::uint8_t, 32>;
TokenDigest DigestOf(std::string_view token);
// Takes the same time wherever they differ.
bool Equal(const TokenDigest& a, const TokenDigest& b);
// Lower-case hexadecimal of the first `bytes`; for naming public content.
std::string Hex(const TokenDigest& digest, std::size_t bytes);

// Without the blanks and line ends around it that files and editors add.
std::string_view Trim(std::string_view text);

// 256 random bits of the system's generator as base64url without padding: 43 characters.
std::string NewToken();

}  // namespace clusterpulse::reconcile
