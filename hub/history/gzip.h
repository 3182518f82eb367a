#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace clusterpulse::history {

// Compresses lines of samples (line_encoder.h) in a fraction of the time that a general compressor needs: instead of
// searching it knows where to look. What a line begins with is in the line of the same series of the node before, its
// labels are in the line before, its time is in every line. What is found there is compared byte by byte, so any text
// comes back as it was; text that is not of this kind only grows, by at most an eighth.
//
// Each text becomes one gzip member (deflate with fixed codes, RFC 1951 and 1952); members behind one another are again
// a gzip file, of the texts behind one another. Confined to one thread.
class Gzip {
 public:
  // REQUIRES: less than 1 GiB.
  std::string Compress(std::string_view text);

 private:
  // Offsets of a line; what is behind its labels begins at `number`.
  struct Line {
    std::uint32_t start = 0, brace = 0, number = 0, stamp = 0, end = 0;
  };
  class Encoder;

  std::unique_ptr<char[]> out_;  // kept
  std::size_t capacity_ = 0;
  std::vector<Line> seen_;  // the last line of each kind
};

}  // namespace clusterpulse::history
