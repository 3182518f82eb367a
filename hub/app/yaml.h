#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "common/json/value.h"

namespace clusterpulse::app {

// A YAML text that is read once: its documents as JSON, and where in the text their values are.
//
// Read as kubectl reads it (sigs.k8s.io/yaml, YAML 1.1): plain y, yes, on, n, no, off are booleans, numbers may be
// 0x1F, 017, 0o17, 0b11, 1_000; times are texts; everything quoted is a text. Keys become texts: `1: x` is {"1":"x"}.
// Aliases and merge keys (<<) are followed, up to a bound; an object's own members win.
//
// A value type, moved only; not synchronised.
class YamlText {
 public:
  // kInvalidArgument names line and column: broken YAML, what JSON cannot say, a key that is no scalar, a member that
  // is there twice (also one before the << that would overwrite it: kubectl lets that win, YAML does not), values
  // nested deeper than 100, more than two million of them, text after the end of a document.
  static absl::StatusOr<YamlText> Parse(std::string_view text);
  YamlText(YamlText&&) noexcept;
  YamlText& operator=(YamlText&&) noexcept;
  ~YamlText();

  // Empty documents are left out.
  const std::vector<json::Value>& documents() const { return documents_; }

  // The line, from 1, at which the value at `path` ("spec.fields[2].path", "matchLabels[app]") begins in the document
  // of that number (from 0); of what is not there, the line of the nearest value above it. 0: no such document.
  int Line(std::size_t document, std::string_view path) const;

  // What stands at `path` when that is something which quotes would make a text: "n", which is false without.
  std::optional<std::string> Unquoted(std::size_t document, std::string_view path) const;

 private:
  struct Tree;
  explicit YamlText(std::unique_ptr<Tree> tree);

  std::vector<json::Value> documents_;
  std::unique_ptr<Tree> tree_;
};

// Its documents alone.
absl::StatusOr<std::vector<json::Value>> YamlToJson(std::string_view text);

}  // namespace clusterpulse::app
