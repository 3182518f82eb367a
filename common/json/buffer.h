#pragma once

#include <cstddef>
#include <string_view>

namespace clusterpulse::json {

// Bytes of one JSON text with the readable padding the parser needs behind them. Grows with realloc, which moves large
// blocks by page table and not by copying, so that the peak stays near the final size. Confined to one thread.
class Buffer {
 public:
  Buffer() = default;
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  void Append(std::string_view bytes);
  void Assign(std::string_view bytes) {
    Clear();
    Append(bytes);
  }
  // Forgets the content and keeps the memory.
  void Clear() { size_ = 0; }
  // Forgets the content and gives memory above `keep` bytes back.
  void Shrink(std::size_t keep);

  std::string_view view() const { return {data_, size_}; }
  const char* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }  // without the padding

 private:
  void Reserve(std::size_t size);

  char* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace clusterpulse::json
