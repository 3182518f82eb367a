#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace clusterpulse::metricsource {

// Texts that are kept once each and known by number: 0, 1, 2 ... in the order they came. A text costs its bytes and
// some 25 more. Texts never move or go, but with the dictionary. Confined to one thread while it grows; then any number
// may read.
class TextDictionary {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  TextDictionary() = default;
  TextDictionary(TextDictionary&&) = default;
  TextDictionary& operator=(TextDictionary&&) = default;

  // The number of the text, which may be new.
  std::uint32_t Add(std::string_view text);
  // The number of the text, or kNone.
  std::uint32_t Find(std::string_view text) const;
  // A number of its own, without looking whether the text is there: for texts that are mostly different. One dictionary
  // is filled with Add or with this.
  std::uint32_t Append(std::string_view text);

  std::string_view Get(std::uint32_t number) const { return {entries_[number].data, entries_[number].size}; }
  std::size_t size() const { return entries_.size(); }
  std::size_t MemoryBytes() const;

 private:
  struct Entry {
    const char* data;
    std::uint32_t size, hash;
  };

  static std::uint32_t Hash(std::string_view text);
  // Where the text is or would be. REQUIRES: slots_ is not empty.
  std::size_t SlotOf(std::string_view text, std::uint32_t hash) const;
  const char* Keep(std::string_view text);
  void Grow();

  std::vector<Entry> entries_;
  std::vector<std::uint32_t> slots_;  // a power of two; a number + 1, or 0
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* free_ = nullptr;  // in the last block
  std::size_t free_size_ = 0, next_size_ = 256, block_bytes_ = 0;
};

}  // namespace clusterpulse::metricsource
