#pragma once

#include <memory>
#include <utility>

#include "common/base/mutex.h"

namespace clusterpulse::base {

// A snapshot that writers replace and readers share. Thread-safe. Readers keep what they got for as long as they like.
template <typename T>
class Published {
 public:
  explicit Published(T initial = T()) : value_(std::make_shared<const T>(std::move(initial))) {}

  std::shared_ptr<const T> Get() const {
    MutexLock lock(mu_);
    return value_;
  }
  void Set(T next) {
    auto fresh = std::make_shared<const T>(std::move(next));
    MutexLock lock(mu_);
    value_.swap(fresh);  // the old value dies outside the lock only if we are its last owner; readers usually are
  }

 private:
  mutable Mutex mu_;
  std::shared_ptr<const T> value_ ABSL_GUARDED_BY(mu_);
};

}  // namespace clusterpulse::base
