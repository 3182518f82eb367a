#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/clock.h"

// What the spool's files have in common. How numbers, times and names stand in the spool's files: little endian,
// whatever the machine.
namespace clusterpulse::spool {

// Higher numbers are given to no batch: what comes after a number is a number.
inline constexpr std::uint64_t kMostSeq = (std::uint64_t{1} << 63) - 1;

void PutU32(std::string& out, std::uint32_t value);
void PutU64(std::string& out, std::uint64_t value);
// REQUIRES: the bytes are there.
std::uint32_t GetU32(std::string_view bytes, std::size_t at);
std::uint64_t GetU64(std::string_view bytes, std::size_t at);

// Nanoseconds since 1970; the lowest number stands for none.
inline constexpr std::int64_t kNoTime = std::numeric_limits<std::int64_t>::min();
void PutTime(std::string& out, std::optional<base::SystemTime> time);
std::optional<base::SystemTime> GetTime(std::string_view bytes, std::size_t at);

// zlib's crc32 of `bytes`, continuing from `crc`.
std::uint32_t Crc32(std::string_view bytes, std::uint32_t crc = 0);

// An instance is 16 bytes, written as 32 hexadecimal digits everywhere but in the files.
inline constexpr std::size_t kInstanceBytes = 16;
std::string InstanceText(std::string_view bytes);
// REQUIRES: `text` comes from InstanceText.
std::string InstanceBytes(std::string_view text);

}  // namespace clusterpulse::spool
