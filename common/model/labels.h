#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace clusterpulse::model {

// Labels or annotations of an object: a map from text to text, in the order of the keys (bytes), in two pieces of
// memory whatever its size. Objects have tens of them, which are made at once and read from front to end; a std::map
// would take a piece of memory or more for each.
//
// Immutable but for assignment; what iterators and Find give points into this. At most 4 GiB of text.
class Labels {
 public:
  using value_type = std::pair<std::string_view, std::string_view>;  // key, value

  class const_iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Labels::value_type;
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type*;
    using reference = value_type;

    const_iterator() = default;
    value_type operator*() const { return labels_->At(index_); }
    const_iterator& operator++() {
      ++index_;
      return *this;
    }
    const_iterator operator++(int) {
      const const_iterator before = *this;
      ++index_;
      return before;
    }
    bool operator==(const const_iterator&) const = default;

   private:
    friend class Labels;
    const_iterator(const Labels* labels, std::size_t index) : labels_(labels), index_(index) {}

    const Labels* labels_ = nullptr;
    std::size_t index_ = 0;
  };

  Labels() = default;
  Labels(std::initializer_list<value_type> entries) : Labels(entries.begin(), entries.end()) {}
  // Entries in any order; of several with one key the last counts.
  template <typename Iterator>
  Labels(Iterator first, Iterator last);

  const_iterator begin() const { return {this, 0}; }
  const_iterator end() const { return {this, entries_.size()}; }
  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }

  std::optional<std::string_view> Find(std::string_view key) const;

  bool operator==(const Labels& other) const;
  template <typename State>
  friend State AbslHashValue(State state, const Labels& labels) {
    for (const auto& [key, value] : labels) state = State::combine(std::move(state), key, value);
    return State::combine(std::move(state), labels.size());
  }

 private:
  friend class LabelsBuilder;
  struct Entry {
    std::uint32_t key, value, end;  // where they begin in text_, and the value ends
  };

  std::string_view Key(const Entry& entry) const { return {text_.data() + entry.key, entry.value - entry.key}; }
  std::string_view Value(const Entry& entry) const { return {text_.data() + entry.value, entry.end - entry.value}; }
  value_type At(std::size_t index) const { return {Key(entries_[index]), Value(entries_[index])}; }

  std::vector<Entry> entries_;  // ordered by key
  std::string text_;
};

// Makes Labels from entries in any order; of several with one key the last counts.
class LabelsBuilder {
 public:
  // Room made with the first entry: for so many, and so many bytes of keys and values together.
  explicit LabelsBuilder(std::size_t entries = 0, std::size_t text = 0) : entries_(entries), text_(text) {}

  void Add(std::string_view key, std::string_view value);
  // Leaves the builder empty.
  Labels Build();

 private:
  std::size_t entries_, text_;
  Labels labels_;
  bool ordered_ = true;  // as they were added
};

template <typename Iterator>
Labels::Labels(Iterator first, Iterator last) {
  LabelsBuilder builder;
  for (; first != last; ++first) builder.Add(first->first, first->second);
  *this = builder.Build();
}

}  // namespace clusterpulse::model
