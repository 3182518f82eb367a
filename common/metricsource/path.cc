#include "common/metricsource/path.h"

#include <charconv>

#include <fmt/format.h>

#include "common/base/printable.h"
#include "common/base/utf8.h"

namespace clusterpulse::metricsource {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// An optionally signed base-10 integer; what is beyond 64 bits is an index that no list has.
bool ReadIndex(std::string_view text, std::int64_t& out) {
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty()) return false;
  for (const char c : text) {
    if (!IsDigit(c)) return false;
  }
  if (std::from_chars(text.data(), text.data() + text.size(), out).ec != std::errc()) out = INT64_MAX;
  if (negative) out = out == 0 ? 0 : -out;
  return true;
}

class PathReader {
 public:
  PathReader(std::string_view text, std::string_view diagnostic_path, Diagnostics& diagnostics)
      : text_(text), diagnostic_path_(diagnostic_path), diagnostics_(diagnostics) {}

  bool Read(std::vector<Path::Segment>& out) {
    WarnOfOtherDialects();
    if (at_ < text_.size() && text_[at_] == '.') ++at_;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '.') {
        End(out);
        ++at_;
      } else if (c == '[') {
        End(out);
        if (!ReadBracket(out)) return false;
      } else if (c == '\\' && at_ + 1 < text_.size() && IsEscapable(text_[at_ + 1])) {
        key_ += text_[at_ + 1];
        at_ += 2;
      } else {
        if (c == ']') Warn(at_, "\"]\" without \"[\" is read as part of the key");
        key_ += c;
        ++at_;
      }
    }
    End(out);
    return true;
  }

 private:
  static bool IsEscapable(char c) { return c == '.' || c == '[' || c == ']' || c == '\\'; }

  int ColumnOf(std::size_t at) const {
    int column = 1;
    for (std::size_t i = 0; i < at; ++i) column += (static_cast<unsigned char>(text_[i]) & 0xC0) != 0x80 ? 1 : 0;
    return column;
  }
  bool Fail(std::size_t at, std::string message, std::string suggestion = "") {
    diagnostics_.ErrorAt(diagnostic_path_, ColumnOf(at), std::move(message), std::move(suggestion));
    return false;
  }
  void Warn(std::size_t at, std::string message, std::string suggestion = "") {
    diagnostics_.WarningAt(diagnostic_path_, ColumnOf(at), std::move(message), std::move(suggestion));
  }

  void WarnOfOtherDialects() {
    if (text_.starts_with("$.") || text_.starts_with("$[") || text_ == "$") {
      Warn(0, "\"$\" is read as a key; paths start at the object", std::string(text_.substr(1)));
    } else if (text_.starts_with('{') && text_.ends_with('}')) {
      Warn(0, "braces are read as part of the keys", std::string(text_.substr(1, text_.size() - 2)));
    }
  }

  void End(std::vector<Path::Segment>& out) {
    if (!key_.empty()) out.push_back({.type = Path::Segment::Type::kKey, .key = std::move(key_)});
    key_.clear();
  }

  // At a "[".
  bool ReadBracket(std::vector<Path::Segment>& out) {
    const std::size_t open = at_;
    if (open + 1 < text_.size() && (text_[open + 1] == '\'' || text_[open + 1] == '"')) return ReadQuoted(out);
    const std::size_t close = text_.find(']', open);
    if (close == std::string_view::npos) {
      Warn(open, "\"[\" without \"]\": what follows is read as a key");
      ++at_;
      return true;
    }
    const std::string_view inside = text_.substr(open + 1, close - open - 1);
    Path::Segment segment;
    if (inside == "*") {
      segment.type = Path::Segment::Type::kAll;
    } else if (ReadIndex(inside, segment.index)) {
      segment.type = Path::Segment::Type::kIndex;
    } else {
      std::string suggestion = inside.empty() ? "[*]" : fmt::format("['{}']", inside);
      return Fail(open + 1,
                  fmt::format("\"[{}]\" is neither an index nor [*] nor a quoted key",
                              base::Printable(std::string(inside), 64)),
                  std::move(suggestion));
    }
    out.push_back(std::move(segment));
    at_ = close + 1;
    return true;
  }

  // At a "[" before a quote.
  bool ReadQuoted(std::vector<Path::Segment>& out) {
    const std::size_t open = at_;
    const char quote = text_[open + 1];
    Path::Segment segment;
    for (std::size_t i = open + 2; i < text_.size(); ++i) {
      if (text_[i] == '\\' && i + 1 < text_.size() && (text_[i + 1] == quote || text_[i + 1] == '\\')) {
        segment.key += text_[++i];
      } else if (text_[i] != quote) {
        segment.key += text_[i];
      } else if (i + 1 < text_.size() && text_[i + 1] == ']') {
        out.push_back(std::move(segment));
        at_ = i + 2;
        return true;
      } else {
        return Fail(i + 1, "a quoted key ends with a quote and \"]\"");
      }
    }
    return Fail(open + 1, "the quote is not closed");
  }

  const std::string_view text_, diagnostic_path_;
  Diagnostics& diagnostics_;
  std::size_t at_ = 0;
  std::string key_;
};

void AppendLatin1(std::string& out, char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte < 0x80) {
    out += c;
  } else {
    out += static_cast<char>(0xC0 | (byte >> 6));
    out += static_cast<char>(0x80 | (byte & 0x3F));
  }
}

}  // namespace

std::optional<Path> Path::Compile(std::string_view text, std::string_view diagnostic_path, Diagnostics& diagnostics) {
  if (text.empty()) {
    diagnostics.Error(diagnostic_path, "the path is empty");
    return std::nullopt;
  }
  if (text.size() > kMaxBytes) {
    diagnostics.Error(diagnostic_path, fmt::format("the path is longer than {} bytes", kMaxBytes));
    return std::nullopt;
  }
  if (!base::IsUtf8(text)) {
    diagnostics.Error(diagnostic_path, "the path is not valid UTF-8");
    return std::nullopt;
  }
  Path path;
  path.text_ = text;
  if (!PathReader(text, diagnostic_path, diagnostics).Read(path.segments_)) return std::nullopt;
  if (path.segments_.size() > kMaxSegments) {
    diagnostics.Error(diagnostic_path, fmt::format("the path has more than {} segments", kMaxSegments));
    return std::nullopt;
  }
  for (const Segment& segment : path.segments_) path.fans_out_ |= segment.type == Segment::Type::kAll;
  return path;
}

std::vector<std::string> UpstreamPathSegments(std::string_view text) {
  std::vector<std::string> out;
  std::string segment;
  const auto end = [&] {
    if (!segment.empty()) out.push_back(std::move(segment));
    segment.clear();
  };
  for (std::size_t i = text.starts_with('.') ? 1 : 0; i < text.size(); ++i) {
    if (text[i] == '.') {
      end();
    } else if (text[i] == '[') {
      end();
      const std::size_t close = text.find(']', i);
      if (close == std::string_view::npos) continue;
      for (; i < close; ++i) AppendLatin1(segment, text[i]);
      segment += ']';
      end();
    } else {
      AppendLatin1(segment, text[i]);
    }
  }
  end();
  return out;
}

bool CheckReadable(const Path& path, bool is_secret, std::string_view diagnostic_path, Diagnostics& diagnostics) {
  const auto& segments = path.segments();
  const auto is = [&](std::size_t i, std::string_view key) {
    return i < segments.size() && segments[i].type == Path::Segment::Type::kKey && segments[i].key == key;
  };
  if (is(0, "metadata") && is(1, "annotations") && is(2, kLastAppliedAnnotation)) {
    diagnostics.Error(diagnostic_path, fmt::format("the annotation {} cannot be read: it can hold the object's secrets",
                                                   kLastAppliedAnnotation));
    return false;
  }
  if (is_secret && !segments.empty() && !is(0, "metadata") && !is(0, "type")) {
    diagnostics.Error(diagnostic_path, "of Secrets only .metadata and .type can be read");
    return false;
  }
  return true;
}

}  // namespace clusterpulse::metricsource
