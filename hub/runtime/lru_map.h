#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace clusterpulse::runtime {

// A map from strings that keeps the `capacity` entries used last. Confined to one thread.
template <typename V>
class LruMap {
 public:
  // REQUIRES: capacity >= 1.
  explicit LruMap(std::size_t capacity) : capacity_(capacity) {}

  // The entry of `key`, made from `args` when missing; drops the one unused for longest when full. The reference lives
  // until the next call.
  template <typename... Args>
  V& GetOrMake(const std::string& key, Args&&... args) {
    if (const auto it = index_.find(key); it != index_.end()) {
      entries_.splice(entries_.begin(), entries_, it->second);
      return it->second->second;
    }
    if (entries_.size() >= capacity_) {
      index_.erase(entries_.back().first);
      entries_.pop_back();
    }
    entries_.emplace_front(std::piecewise_construct, std::forward_as_tuple(key),
                           std::forward_as_tuple(std::forward<Args>(args)...));
    index_.emplace(entries_.front().first, entries_.begin());
    return entries_.front().second;
  }
  std::size_t size() const { return entries_.size(); }

 private:
  using Entry = std::pair<const std::string, V>;

  const std::size_t capacity_;
  std::list<Entry> entries_;                                                         // used last first
  std::unordered_map<std::string_view, typename std::list<Entry>::iterator> index_;  // views of the entries' keys
};

}  // namespace clusterpulse::runtime
