#include "common/metricsource/text_dictionary.h"

#include <algorithm>
#include <cstring>

#include <absl/hash/hash.h>

namespace clusterpulse::metricsource {
namespace {

constexpr std::size_t kMaxBlock = std::size_t{64} << 10;

}  // namespace

std::uint32_t TextDictionary::Hash(std::string_view text) {
  return static_cast<std::uint32_t>(absl::Hash<std::string_view>()(text));
}

std::size_t TextDictionary::SlotOf(std::string_view text, std::uint32_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = hash & mask;
  for (; slots_[slot] != 0; slot = (slot + 1) & mask) {
    const Entry& entry = entries_[slots_[slot] - 1];
    if (entry.hash == hash && std::string_view(entry.data, entry.size) == text) break;
  }
  return slot;
}

void TextDictionary::Grow() {
  slots_.assign(std::max<std::size_t>(8, slots_.size() * 2), 0);
  const std::size_t mask = slots_.size() - 1;
  for (std::uint32_t i = 0; i < entries_.size(); ++i) {
    std::size_t slot = entries_[i].hash & mask;
    while (slots_[slot] != 0) slot = (slot + 1) & mask;
    slots_[slot] = i + 1;
  }
}

const char* TextDictionary::Keep(std::string_view text) {
  if (text.size() > free_size_) {
    const std::size_t size = std::max(next_size_, text.size());
    blocks_.push_back(std::make_unique<char[]>(size));
    block_bytes_ += size;
    next_size_ = std::min(next_size_ * 2, kMaxBlock);
    free_ = blocks_.back().get();
    free_size_ = size;
  }
  char* const kept = free_;
  if (!text.empty()) std::memcpy(kept, text.data(), text.size());
  free_ += text.size();
  free_size_ -= text.size();
  return kept;
}

std::uint32_t TextDictionary::Append(std::string_view text) {
  entries_.push_back({Keep(text), static_cast<std::uint32_t>(text.size()), 0});
  return static_cast<std::uint32_t>(entries_.size() - 1);
}

std::uint32_t TextDictionary::Add(std::string_view text) {
  if ((entries_.size() + 1) * 4 > slots_.size() * 3) Grow();
  const std::uint32_t hash = Hash(text);
  const std::size_t slot = SlotOf(text, hash);
  if (slots_[slot] != 0) return slots_[slot] - 1;
  entries_.push_back({Keep(text), static_cast<std::uint32_t>(text.size()), hash});
  slots_[slot] = static_cast<std::uint32_t>(entries_.size());
  return slots_[slot] - 1;
}

std::uint32_t TextDictionary::Find(std::string_view text) const {
  if (slots_.empty()) return kNone;
  const std::size_t slot = SlotOf(text, Hash(text));
  return slots_[slot] == 0 ? kNone : slots_[slot] - 1;
}

std::size_t TextDictionary::MemoryBytes() const {
  return block_bytes_ + entries_.capacity() * sizeof(Entry) + slots_.capacity() * sizeof(std::uint32_t);
}

}  // namespace clusterpulse::metricsource
