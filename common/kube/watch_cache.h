#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/functional/function_ref.h>

#include "common/base/mutex.h"
#include "common/kube/reflector.h"

namespace clusterpulse::kube {

// The newest projection T of every object of a resource, kept up to date by a Reflector (reflector.h: how it follows
// the server, what it survives, its thread and its handlers).
//
//   struct PodView { std::string node; bool operator==(const PodView&) const = default; };
//   WatchCache<PodView> pods(api, {.resource = kPods}, [](json::Cursor object, ObjectMeta& meta, PodView& out) {
//     return object.ForEachMember([&](std::string_view key, json::Cursor value) {
//       if (key == "metadata") return ReadMeta(value, MetaParts::kIdentity, meta);
//       return key == "spec" ? ReadPodSpec(value, out) : absl::OkStatus();
//     });
//   });
//   pods.AddHandler([&](const ObjectKey& key) { queue.Add(key); });
//   pods.Start();
//   if (!pods.WaitForSync(30s, stop)) ...
//
// Project fills `meta` (at least its identity) and a fresh T. It may refuse an object (kInvalidArgument): counted, and
// what was known of it stays. It passes errors of Cursor on. It runs on the reflector's thread, without locks.
//
// T is movable; when it can be compared with ==, an object whose projection did not change calls no handler (also one
// that was deleted and made again unnoticed: put the uid into T where that matters). Values and keys lie in one flat
// table; its memory grows with the number of objects and shrinks at the next list. Thread-safe.
template <typename T>
class WatchCache final : private ReflectorSink {
 public:
  using Project = std::function<absl::Status(json::Cursor object, ObjectMeta& meta, T& out)>;
  struct Item {
    ObjectKey key;
    T value;
  };

  // What `api` and the options point to is borrowed and must outlive this.
  WatchCache(KubeApi& api, Reflector::Options options, Project project)
      : project_(std::move(project)), reflector_(api, *this, std::move(options)) {}

  void Start() { reflector_.Start(); }
  void Stop() { reflector_.Stop(); }
  void AddHandler(Reflector::Handler handler) { reflector_.AddHandler(std::move(handler)); }
  bool HasSynced() const { return reflector_.HasSynced(); }
  bool WaitForSync(std::chrono::nanoseconds limit, std::stop_token stop = {}) {
    return reflector_.WaitForSync(limit, std::move(stop));
  }
  ReflectorStats stats() const { return reflector_.stats(); }
  std::optional<std::chrono::nanoseconds> SinceKnownGood() const { return reflector_.SinceKnownGood(); }
  absl::Status LastError() const { return reflector_.LastError(); }
  std::chrono::nanoseconds Step() { return reflector_.Step(); }

  std::optional<T> Get(const ObjectKey& key) const {
    const std::string packed = Pack(key.ns, key.name);
    base::MutexLock lock(mu_);
    const auto it = objects_.find(packed);
    if (it == objects_.end()) return std::nullopt;
    return it->second.value;
  }
  // In no order. Readers and the reflector wait meanwhile: be short, and do not call the cache.
  void ForEach(absl::FunctionRef<void(std::string_view ns, std::string_view name, const T& value)> f) const {
    base::MutexLock lock(mu_);
    for (const auto& [packed, entry] : objects_) {
      const std::string_view key(packed);
      const std::size_t slash = key.find('/');
      f(key.substr(0, slash), key.substr(slash + 1), entry.value);
    }
  }
  std::vector<Item> Snapshot() const {
    std::vector<Item> items;
    items.reserve(size());
    ForEach([&](std::string_view ns, std::string_view name, const T& value) {
      items.push_back({{std::string(ns), std::string(name)}, value});
    });
    return items;
  }
  std::size_t size() const {
    base::MutexLock lock(mu_);
    return objects_.size();
  }

 private:
  struct Entry {
    T value;
    std::uint32_t generation;  // of the list or watch that last saw it
  };

  // One string per key ("ns/name"; neither part holds a slash) is half the size of an ObjectKey.
  static std::string Pack(std::string_view ns, std::string_view name) {
    std::string packed;
    packed.reserve(ns.size() + 1 + name.size());
    packed.append(ns).append("/").append(name);
    return packed;
  }

  void BeginList() override { ++generation_; }

  std::vector<ObjectKey> EndList() override {
    std::vector<ObjectKey> gone;
    base::MutexLock lock(mu_);
    for (auto it = objects_.begin(); it != objects_.end();) {
      const auto here = it++;
      if (here->second.generation == generation_) continue;
      const std::string_view key(here->first);
      const std::size_t slash = key.find('/');
      gone.push_back({std::string(key.substr(0, slash)), std::string(key.substr(slash + 1))});
      objects_.erase(here);
    }
    if (objects_.capacity() > 64 && objects_.size() < objects_.capacity() / 4) objects_.rehash(0);
    return gone;
  }

  absl::Status Put(json::Cursor object, ObjectMeta& meta, bool& changed) override {
    T fresh{};
    absl::Status projected = project_(object, meta, fresh);
    if (projected.ok() && meta.name.empty()) projected = absl::InvalidArgumentError("object without a name");
    if (meta.name.empty()) return projected;
    packed_.assign(meta.ns).append("/").append(meta.name);
    base::MutexLock lock(mu_);
    const auto it = objects_.find(packed_);
    if (it != objects_.end()) it->second.generation = generation_;
    if (!projected.ok()) return projected;
    if (it == objects_.end()) {
      objects_.emplace(std::string(packed_.data(), packed_.size()), Entry{std::move(fresh), generation_});
    } else {
      if constexpr (std::equality_comparable<T>) {
        if (it->second.value == fresh) return projected;
      }
      it->second.value = std::move(fresh);
    }
    changed = true;
    return projected;
  }

  bool Erase(const ObjectKey& key) override {
    packed_.assign(key.ns).append("/").append(key.name);
    base::MutexLock lock(mu_);
    return objects_.erase(packed_) > 0;
  }

  std::vector<ObjectKey> Keys() const override {
    std::vector<ObjectKey> keys;
    keys.reserve(size());
    ForEach([&](std::string_view ns, std::string_view name, const T&) {
      keys.push_back({std::string(ns), std::string(name)});
    });
    return keys;
  }

  const Project project_;

  // Confined to the reflector's thread.
  std::uint32_t generation_ = 0;
  std::string packed_;

  mutable base::Mutex mu_;
  absl::flat_hash_map<std::string, Entry> objects_ ABSL_GUARDED_BY(mu_);

  Reflector reflector_;  // last: its thread uses the rest
};

}  // namespace clusterpulse::kube
