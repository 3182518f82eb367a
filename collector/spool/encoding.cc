#include "collector/spool/encoding.h"

#include <chrono>

#include <zlib.h>

namespace clusterpulse::spool {
namespace {

template <typename T>
void Put(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

template <typename T>
T Get(std::string_view bytes, std::size_t at) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<T>(static_cast<std::uint8_t>(bytes[at + i])) << (8 * i);
  }
  return value;
}

constexpr std::string_view kDigits = "0123456789abcdef";

}  // namespace

void PutU32(std::string& out, std::uint32_t value) { Put(out, value); }
void PutU64(std::string& out, std::uint64_t value) { Put(out, value); }
std::uint32_t GetU32(std::string_view bytes, std::size_t at) { return Get<std::uint32_t>(bytes, at); }
std::uint64_t GetU64(std::string_view bytes, std::size_t at) { return Get<std::uint64_t>(bytes, at); }

void PutTime(std::string& out, std::optional<base::SystemTime> time) {
  const std::int64_t ns =
      time ? std::chrono::duration_cast<std::chrono::nanoseconds>(time->time_since_epoch()).count() : kNoTime;
  PutU64(out, static_cast<std::uint64_t>(ns));
}

std::optional<base::SystemTime> GetTime(std::string_view bytes, std::size_t at) {
  const auto ns = static_cast<std::int64_t>(GetU64(bytes, at));
  if (ns == kNoTime) return std::nullopt;
  return base::SystemTime(std::chrono::duration_cast<base::SystemTime::duration>(std::chrono::nanoseconds(ns)));
}

std::uint32_t Crc32(std::string_view bytes, std::uint32_t crc) {
  return static_cast<std::uint32_t>(crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::string InstanceText(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    text.push_back(kDigits[static_cast<std::uint8_t>(c) >> 4]);
    text.push_back(kDigits[static_cast<std::uint8_t>(c) & 15]);
  }
  return text;
}

std::string InstanceBytes(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<char>(kDigits.find(text[i]) << 4 | kDigits.find(text[i + 1])));
  }
  return bytes;
}

}  // namespace clusterpulse::spool
