#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "common/base/mutex.h"
#include "common/base/stop_signal.h"
#include "common/base/testing/manual_clock.h"
#include "common/kube/kube_api.h"

namespace clusterpulse::kube {

// A server of one resource whose every protocol edge can be scripted: versions, history, compaction, pages, faults.
// Objects are {"metadata": ..., "spec": {"value": N}}. Thread-safe. Does not imitate: selectors, namespaces in queries,
// anything but list and watch.
class ScriptedKubeApi final : public KubeApi {
 public:
  struct Event {
    std::int64_t version;
    WatchEventType type;
    ObjectKey key;
    int value;
  };
  // What happens to one watch; the default serves what there is and ends cleanly, or with `block` waits for more.
  struct WatchScript {
    absl::Status refuse;  // at once
    int cut_after = -1;   // this many events, then `end`
    absl::Status end;
    bool bookmark = false;                                    // at the end
    std::chrono::nanoseconds lasts{std::chrono::minutes(6)};  // by the manual clock
    std::function<void()> before;
  };

  // --- the world ---
  void Set(const ObjectKey& key, int value) {
    base::MutexLock lock(mu_);
    const bool known = objects_.count(key) > 0;
    objects_[key] = {value, ++version_};
    history_.push_back({version_, known ? WatchEventType::kModified : WatchEventType::kAdded, key, value});
    changed_.NotifyAll();
  }
  void Remove(const ObjectKey& key) {
    base::MutexLock lock(mu_);
    const auto it = objects_.find(key);
    if (it == objects_.end()) return;
    history_.push_back({++version_, WatchEventType::kDeleted, key, it->second.first});
    objects_.erase(it);
    changed_.NotifyAll();
  }
  // Other resources' changes move the version too.
  void Skip(int versions) {
    base::MutexLock lock(mu_);
    version_ += versions;
  }
  // Forgets history: watches from before now, and unfinished lists, are 410.
  void Compact() {
    base::MutexLock lock(mu_);
    floor_ = version_;
    history_.clear();
    snapshots_.clear();
  }
  std::map<ObjectKey, int> Model() const {
    base::MutexLock lock(mu_);
    std::map<ObjectKey, int> model;
    for (const auto& [key, object] : objects_) model[key] = object.first;
    return model;
  }
  std::int64_t version() const {
    base::MutexLock lock(mu_);
    return version_;
  }

  // --- the script; set before use, or from the callbacks ---
  std::deque<WatchScript> watch_scripts;          // one per watch; then the default
  std::deque<absl::Status> list_results;          // one per page; ok: serve it
  std::function<void(int page)> on_page;          // before page number `page` (from 0, over all lists) is served
  std::function<void(const ObjectKey&)> on_item;  // before each object of a page
  std::optional<ListPage> answer;                 // every page is this one, without objects
  bool block = false;                             // watches stay open
  std::optional<ObjectKey> nameless;              // this object comes without metadata
  base::ManualClock* clock = nullptr;

  // --- what was asked ---
  std::vector<ListQuery> lists() const {
    base::MutexLock lock(mu_);
    return lists_;
  }
  std::vector<WatchQuery> watches() const {
    base::MutexLock lock(mu_);
    return watches_;
  }

  // Waits until a watch has been asked to come from the newest version (all served), at most 10 s.
  bool WaitForWatch(std::size_t count) {
    base::MutexLock lock(mu_);
    for (int i = 0; i < 100 && watches_.size() < count; ++i) changed_.WaitFor(mu_, std::chrono::milliseconds(100));
    return watches_.size() >= count;
  }

  absl::StatusOr<ListPage> List(const ListQuery& query, ItemVisitor visit, const CallOptions& options) override {
    int page = 0;
    absl::Status scripted;
    {
      base::MutexLock lock(mu_);
      lists_.push_back(query);
      page = pages_++;
      changed_.NotifyAll();
      if (!list_results.empty()) {
        scripted = list_results.front();
        list_results.pop_front();
      }
    }
    if (on_page) on_page(page);
    if (options.stop.stop_requested()) return absl::CancelledError("stopped");
    if (!scripted.ok()) return scripted;
    if (answer) return *answer;
    std::vector<std::pair<ObjectKey, std::pair<int, std::int64_t>>> items;
    ListPage result;
    {
      base::MutexLock lock(mu_);
      std::int64_t at = version_;
      std::size_t offset = 0;
      if (query.continue_token.empty()) {
        snapshots_[at] = objects_;
      } else {
        const std::size_t colon = query.continue_token.find(':');
        at = std::stoll(query.continue_token.substr(0, colon));
        offset = std::stoull(query.continue_token.substr(colon + 1));
        if (snapshots_.count(at) == 0) return ToExpired("the provided continue parameter is too old");
      }
      const auto& snapshot = snapshots_[at];
      auto it = snapshot.begin();
      std::advance(it, std::min(offset, snapshot.size()));
      for (; it != snapshot.end() && items.size() < static_cast<std::size_t>(query.limit); ++it) items.push_back(*it);
      result.resource_version = std::to_string(at);
      if (it != snapshot.end()) result.continue_token = fmt::format("{}:{}", at, offset + items.size());
    }
    for (const auto& [key, object] : items) {
      if (on_item) on_item(key);
      if (options.stop.stop_requested()) return absl::CancelledError("stopped");
      RETURN_IF_ERROR(Send(key, object.first, object.second, visit));
    }
    return result;
  }

  absl::Status Watch(const WatchQuery& query, WatchVisitor visit, const CallOptions& options) override {
    WatchScript script;
    std::int64_t at = std::stoll(query.resource_version);
    {
      base::MutexLock lock(mu_);
      watches_.push_back(query);
      changed_.NotifyAll();
      if (!watch_scripts.empty()) {
        script = watch_scripts.front();
        watch_scripts.pop_front();
      }
      if (at < floor_ && script.refuse.ok()) script.refuse = ToExpired("too old resource version");
    }
    if (script.before) script.before();
    if (!script.refuse.ok()) {
      if (clock != nullptr && script.lasts < std::chrono::seconds(10)) clock->AdvanceBy(script.lasts);
      return script.refuse;
    }
    const std::stop_callback wake(options.stop, [this] {
      { base::MutexLock lock(mu_); }
      changed_.NotifyAll();
    });
    for (int sent = 0;;) {
      std::optional<Event> next;
      {
        base::MutexLock lock(mu_);
        for (;;) {
          if (options.stop.stop_requested()) return absl::CancelledError("stopped");
          if (at < floor_) return ToExpired("watch fell behind");
          for (const Event& event : history_) {
            if (event.version > at) {
              next = event;
              break;
            }
          }
          if (next || !block || sent == script.cut_after) break;
          changed_.WaitFor(mu_, std::chrono::milliseconds(200));
        }
      }
      if (!next || sent == script.cut_after) break;
      RETURN_IF_ERROR(
          Send(next->key, next->value, next->version, [&](json::Cursor object) { return visit(next->type, object); }));
      at = next->version;
      ++sent;
    }
    if (script.bookmark) {
      json::Parser parser;
      RETURN_IF_ERROR(parser.Parse(fmt::format(R"({{"kind":"Pod","metadata":{{"resourceVersion":"{}"}}}})", version()),
                                   [&](json::Cursor object) { return visit(WatchEventType::kBookmark, object); }));
    }
    if (clock != nullptr) clock->AdvanceBy(script.lasts);
    return script.end;
  }

  static absl::Status ToExpired(std::string message) { return absl::OutOfRangeError(std::move(message)); }

  absl::StatusOr<std::string> Get(const ResourceType&, const ObjectKey&, const CallOptions&) override { return None(); }
  absl::StatusOr<std::string> GetPath(std::string_view, const CallOptions&) override { return None(); }
  absl::StatusOr<std::string> Create(const ResourceType&, std::string_view, std::string_view,
                                     const CallOptions&) override {
    return None();
  }
  absl::StatusOr<std::string> Replace(const ResourceType&, const ObjectKey&, std::string_view,
                                      const CallOptions&) override {
    return None();
  }
  absl::StatusOr<std::string> Patch(const ResourceType&, const ObjectKey&, PatchType, std::string_view,
                                    const PatchOptions&, const CallOptions&) override {
    return None();
  }
  absl::Status Delete(const ResourceType&, const ObjectKey&, const DeleteOptions&, const CallOptions&) override {
    return None();
  }

 private:
  static absl::Status None() { return absl::UnimplementedError("not scripted"); }

  absl::Status Send(const ObjectKey& key, int value, std::int64_t version, ItemVisitor visit) const {
    std::string object =
        fmt::format(R"({{"metadata":{{"name":"{}","namespace":"{}","resourceVersion":"{}"}},"spec":{{"value":{}}}}})",
                    key.name, key.ns, version, value);
    if (nameless == key) object = R"({"spec":{"value":1}})";
    json::Parser parser;
    return parser.Parse(object, visit);
  }

  mutable base::Mutex mu_;
  base::CondVar changed_;
  std::map<ObjectKey, std::pair<int, std::int64_t>> objects_;
  std::deque<Event> history_;
  std::map<std::int64_t, std::map<ObjectKey, std::pair<int, std::int64_t>>> snapshots_;
  std::int64_t version_ = 1000;
  std::int64_t floor_ = 0;
  int pages_ = 0;
  std::vector<ListQuery> lists_;
  std::vector<WatchQuery> watches_;
};

}  // namespace clusterpulse::kube
