#include "common/model/labels.h"

#include <algorithm>
#include <utility>

namespace clusterpulse::model {

void LabelsBuilder::Add(std::string_view key, std::string_view value) {
  std::vector<Labels::Entry>& entries = labels_.entries_;
  std::string& text = labels_.text_;
  if (entries.empty()) {
    entries.reserve(entries_);
    text.reserve(text_);
  } else {
    ordered_ &= labels_.Key(entries.back()) < key;
  }
  Labels::Entry& entry = entries.emplace_back();
  entry.key = static_cast<std::uint32_t>(text.size());
  text.append(key);
  entry.value = static_cast<std::uint32_t>(text.size());
  text.append(value);
  entry.end = static_cast<std::uint32_t>(text.size());
}

Labels LabelsBuilder::Build() {
  if (!ordered_) {
    auto& entries = labels_.entries_;
    // Of those with one key the last added, which lies behind the others, comes first and is kept.
    std::sort(entries.begin(), entries.end(), [this](const Labels::Entry& a, const Labels::Entry& b) {
      const int order = labels_.Key(a).compare(labels_.Key(b));
      return order != 0 ? order < 0 : std::pair(a.key, a.end) > std::pair(b.key, b.end);
    });
    const auto same = [this](const Labels::Entry& a, const Labels::Entry& b) {
      return labels_.Key(a) == labels_.Key(b);
    };
    entries.erase(std::unique(entries.begin(), entries.end(), same), entries.end());
    ordered_ = true;
  }
  return std::exchange(labels_, {});
}

std::optional<std::string_view> Labels::Find(std::string_view key) const {
  const auto at = std::lower_bound(entries_.begin(), entries_.end(), key,
                                   [this](const Labels::Entry& entry, std::string_view k) { return Key(entry) < k; });
  if (at == entries_.end() || Key(*at) != key) return std::nullopt;
  return Value(*at);
}

bool Labels::operator==(const Labels& other) const {
  return size() == other.size() && std::equal(begin(), end(), other.begin());
}

}  // namespace clusterpulse::model
