#include "common/json/buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include <simdjson.h>

namespace clusterpulse::json {

Buffer::~Buffer() { std::free(data_); }

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

void Buffer::Reserve(std::size_t size) {
  if (size <= capacity_ && data_ != nullptr) return;
  const std::size_t capacity = std::max({size, capacity_ + capacity_ / 2, std::size_t{4096}});
  auto* grown = static_cast<char*>(std::realloc(data_, capacity + simdjson::SIMDJSON_PADDING));
  if (grown == nullptr) throw std::bad_alloc();
  data_ = grown;
  capacity_ = capacity;
}

void Buffer::Append(std::string_view bytes) {
  Reserve(size_ + bytes.size());
  if (!bytes.empty()) std::memcpy(data_ + size_, bytes.data(), bytes.size());
  size_ += bytes.size();
  std::memset(data_ + size_, 0, simdjson::SIMDJSON_PADDING);
}

void Buffer::Shrink(std::size_t keep) {
  Clear();
  if (capacity_ <= keep) return;
  std::free(data_);
  data_ = nullptr;
  capacity_ = 0;
}

}  // namespace clusterpulse::json
