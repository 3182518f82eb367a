#include "hub/history/gzip.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include <libdeflate.h>

namespace clusterpulse::history {
namespace {

constexpr std::uint32_t kWindow = 32768, kLongest = 258;
// A shorter one costs more than its bytes.
constexpr std::uint32_t kShortest = 4;
// Where names of series differ, and how many kinds of lines are told apart by that.
constexpr std::size_t kNameOffset = 17, kNameBytes = 16, kKinds = 256;

// A code with its extra bits, first bit lowest.
struct Code {
  std::uint32_t bits = 0;
  std::uint32_t count = 0;
};

constexpr std::uint32_t Reversed(std::uint32_t code, std::uint32_t count) {
  std::uint32_t out = 0;
  for (std::uint32_t i = 0; i < count; ++i) out |= ((code >> i) & 1) << (count - 1 - i);
  return out;
}

// The fixed code of a literal or length symbol: RFC 1951, 3.2.6.
constexpr Code SymbolCode(std::uint32_t symbol) {
  if (symbol < 144) return {Reversed(0x30 + symbol, 8), 8};
  if (symbol < 256) return {Reversed(0x190 + symbol - 144, 9), 9};
  if (symbol < 280) return {Reversed(symbol - 256, 7), 7};
  return {Reversed(0xC0 + symbol - 280, 8), 8};
}

constexpr std::array<Code, 256> MakeLiterals() {
  std::array<Code, 256> codes{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) codes[byte] = SymbolCode(byte);
  return codes;
}

// RFC 1951, 3.2.5: eight lengths without extra bits, then four symbols each with one more; 258 has its own.
constexpr std::array<Code, kLongest + 1> MakeLengths() {
  std::array<Code, kLongest + 1> codes{};
  std::uint32_t length = 3;
  for (std::uint32_t symbol = 257; symbol < 285; ++symbol) {
    const std::uint32_t extra = symbol < 265 ? 0 : (symbol - 261) / 4;
    const Code code = SymbolCode(symbol);
    for (std::uint32_t i = 0; i < (1u << extra) && length < kLongest; ++i, ++length) {
      codes[length] = {code.bits | i << code.count, code.count + extra};
    }
  }
  codes[kLongest] = SymbolCode(285);
  return codes;
}

constexpr std::array<Code, 256> kLiterals = MakeLiterals();
constexpr std::array<Code, kLongest + 1> kLengths = MakeLengths();
constexpr Code kEnd = SymbolCode(256);

constexpr Code DistanceCode(std::uint32_t distance) {
  const std::uint32_t d = distance - 1;
  if (d < 4) return {Reversed(d, 5), 5};
  const auto extra = static_cast<std::uint32_t>(std::bit_width(d)) - 2;
  const std::uint32_t symbol = 2 * extra + (d >> extra);
  return {Reversed(symbol, 5) | (d & ((1u << extra) - 1)) << 5, 5 + extra};
}

std::uint64_t Load(const char* at) {
  std::uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

std::size_t KindOf(const char* name) {
  const std::uint64_t mixed = (Load(name) ^ std::rotl(Load(name + 8), 29)) * 0x9E3779B97F4A7C15;
  return static_cast<std::size_t>(mixed >> 56);
}

void AppendLittleEndian(std::string& out, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
}

}  // namespace

// One text on its way. Offsets are into it.
class Gzip::Encoder {
 public:
  // `out` has room for the worst case, and eight bytes more.
  Encoder(std::string_view text, char* out)
      : text_(text.data()), size_(static_cast<std::uint32_t>(text.size())), out_(out) {
    Put({0b011, 3});  // the last block; fixed codes
  }

  void Run(std::vector<Line>& seen) {
    seen.assign(kKinds, Line());
    Line before;
    while (at_ < size_ || before.end < size_) {
      const Line line = LineAt(before.end);
      Line* same = nullptr;
      if (line.end - line.start > kNameOffset + kNameBytes) {
        same = &seen[KindOf(text_ + line.start + kNameOffset)];
      }
      Encode(line, before, same != nullptr && same->end > 0 ? *same : before);
      if (same != nullptr) *same = line;
      before = line;
    }
    Put(kEnd);
  }

  // The end of what was written.
  char* Finish() {
    for (; count_ > 0; count_ -= std::min(count_, 8u), bits_ >>= 8) *out_++ = static_cast<char>(bits_);
    return out_;
  }

 private:
  void Put(Code code) {
    bits_ |= std::uint64_t{code.bits} << count_;
    count_ += code.count;
    // At most 7 bits stay, so that any code fits.
    const std::uint64_t whole = std::endian::native == std::endian::little ? bits_ : __builtin_bswap64(bits_);
    std::memcpy(out_, &whole, sizeof whole);
    out_ += count_ / 8;
    bits_ >>= count_ & ~7u;
    count_ &= 7;
  }

  // How much is the same at `from`, an earlier offset, and at at_.
  std::uint32_t Common(std::uint32_t from) const {
    const std::uint32_t most = std::min(kLongest, size_ - at_);
    std::uint32_t length = 0;
    while (length + 8 <= most) {
      const std::uint64_t differ = Load(text_ + from + length) ^ Load(text_ + at_ + length);
      if (differ != 0) {
        const int same =
            std::endian::native == std::endian::little ? std::countr_zero(differ) : std::countl_zero(differ);
        return length + static_cast<std::uint32_t>(same) / 8;
      }
      length += 8;
    }
    while (length < most && text_[from + length] == text_[at_ + length]) ++length;
    return length;
  }

  // Takes what is at at_ from `from`, if that pays.
  bool Match(std::uint32_t from) {
    if (from >= at_ || at_ - from > kWindow) return false;
    const std::uint32_t length = Common(from);
    if (length < kShortest) return false;
    Put(kLengths[length]);
    Put(DistanceCode(at_ - from));
    at_ += length;
    return true;
  }

  void Literals(std::uint32_t until) {
    while (at_ < until) Put(kLiterals[static_cast<unsigned char>(text_[at_++])]);
  }

  // name{labels} number stamp. Wrong offsets would only compress worse.
  Line LineAt(std::uint32_t start) const {
    const auto find = [this](char c, std::uint32_t from, std::uint32_t until) {
      const void* found = std::memchr(text_ + from, c, until - from);
      return found == nullptr ? until : static_cast<std::uint32_t>(static_cast<const char*>(found) - text_);
    };
    Line line{.start = start};
    const std::uint32_t newline = find('\n', start, size_);
    line.end = std::min(newline + 1, size_);
    line.brace = find('{', start, newline);
    line.stamp = newline;
    while (line.stamp > line.brace && text_[line.stamp - 1] != ' ') --line.stamp;
    line.stamp -= line.stamp > line.brace ? 1 : 0;  // with its blank
    line.number = line.stamp;
    while (line.number > line.brace && text_[line.number - 1] != ' ') --line.number;
    return line;
  }

  // `same`: of the same series, of the node before.
  void Encode(const Line& line, const Line& before, const Line& same) {
    if (at_ < line.brace) {
      Match(same.start + (at_ - line.start)) || Match(before.start + (at_ - line.start));
      Literals(line.brace);
    }
    while (at_ < line.number) {
      // The labels of the line before from their beginning, or to their end.
      if (Match(before.brace + (at_ - line.brace)) ||
          Match(before.number - std::min(before.number, line.number - at_))) {
        continue;
      }
      Literals(at_ + 1);
    }
    if (at_ < line.stamp) {
      Match(same.number + (at_ - line.number));
      Literals(line.stamp);
    }
    // With its end, and often what the next line begins with.
    if (at_ < line.end) {
      Match(same.stamp + (at_ - line.stamp)) || Match(before.stamp + (at_ - line.stamp));
      Literals(line.end);
    }
  }

  const char* const text_;
  const std::uint32_t size_;
  std::uint32_t at_ = 0;  // everything before it is written
  char* out_;
  std::uint64_t bits_ = 0;
  std::uint32_t count_ = 0;
};

std::string Gzip::Compress(std::string_view text) {
  // Nine bits a byte at worst, and room for whole words behind the last.
  const std::size_t bound = text.size() + text.size() / 8 + 32;
  if (bound > capacity_) {
    out_ = std::make_unique_for_overwrite<char[]>(bound);
    capacity_ = bound;
  }
  Encoder encoder(text, out_.get());
  encoder.Run(seen_);
  const std::string_view deflated(out_.get(), static_cast<std::size_t>(encoder.Finish() - out_.get()));
  // No name, no time, no comment; of an unknown system.
  constexpr std::string_view kHeader("\x1f\x8b\x08\0\0\0\0\0\x04\xff", 10);
  std::string out;
  out.reserve(kHeader.size() + deflated.size() + 8);
  out.append(kHeader).append(deflated);
  AppendLittleEndian(out, libdeflate_crc32(0, text.data(), text.size()));
  AppendLittleEndian(out, static_cast<std::uint32_t>(text.size()));
  return out;
}

}  // namespace clusterpulse::history
