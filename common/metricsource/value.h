#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace clusterpulse::metricsource {

// The kinds a value can have. One kind is one bit, so that a set of them (what a column or an expression may give) is
// their sum.
enum class Kind : std::uint8_t { kNull = 1, kBool = 2, kInt = 4, kDouble = 8, kText = 16 };

// Which kinds a column or an expression may give. A compile-time fact; null is always possible and not part of it.
class KindSet {
 public:
  constexpr KindSet() = default;
  constexpr KindSet(Kind kind) : bits_(kind == Kind::kNull ? 0 : static_cast<std::uint8_t>(kind)) {}
  constexpr bool Has(Kind kind) const { return (bits_ & static_cast<std::uint8_t>(kind)) != 0; }
  constexpr bool HasAny(KindSet other) const { return (bits_ & other.bits_) != 0; }
  constexpr bool IsEmpty() const { return bits_ == 0; }
  constexpr bool IsOnly(KindSet other) const { return (bits_ & ~other.bits_) == 0; }
  friend constexpr KindSet operator|(KindSet a, KindSet b) {
    return KindSet(static_cast<std::uint8_t>(a.bits_ | b.bits_), 0);
  }
  friend constexpr KindSet operator&(KindSet a, KindSet b) {
    return KindSet(static_cast<std::uint8_t>(a.bits_ & b.bits_), 0);
  }
  constexpr bool operator==(const KindSet&) const = default;

 private:
  constexpr KindSet(std::uint8_t bits, int) : bits_(bits) {}
  std::uint8_t bits_ = 0;
};

inline constexpr KindSet kNumbers = KindSet(Kind::kInt) | KindSet(Kind::kDouble);
inline constexpr KindSet kAnyKind = kNumbers | KindSet(Kind::kBool) | KindSet(Kind::kText);

// One value of a row: null, bool, 64-bit integer, finite double or text. Two words; text is borrowed (from the row's
// TextArena, the document that is being read, or the compiled source) and must outlive the value.
class Value {
 public:
  constexpr Value() : head_(Head(Kind::kNull)), int_(0) {}
  static constexpr Value Null() { return {}; }
  static constexpr Value Bool(bool value) { return {Head(Kind::kBool), std::int64_t{value}}; }
  static constexpr Value Int(std::int64_t value) { return {Head(Kind::kInt), value}; }
  // Infinity and NaN, which no document can hold, become null.
  static constexpr Value Double(double value) {
    Value v(Head(value - value == 0 ? Kind::kDouble : Kind::kNull), 0);
    v.double_ = value;
    return v;
  }
  // Of more than 4 GiB only the beginning.
  static constexpr Value Text(std::string_view text) {
    const std::uint64_t size = text.size() < UINT32_MAX ? text.size() : UINT32_MAX;
    Value v(Head(Kind::kText) | size << 32, 0);
    v.text_ = text.data();
    return v;
  }

  constexpr Kind kind() const { return static_cast<Kind>(head_ & 0xFF); }
  constexpr bool IsNull() const { return kind() == Kind::kNull; }
  constexpr bool IsNumber() const { return kind() == Kind::kInt || kind() == Kind::kDouble; }
  constexpr bool IsText() const { return kind() == Kind::kText; }

  // REQUIRES: the kind of the name.
  constexpr bool AsBool() const { return int_ != 0; }
  constexpr std::int64_t AsInt() const { return int_; }
  constexpr double AsDouble() const { return double_; }
  constexpr std::string_view AsText() const { return {text_, head_ >> 32}; }
  // REQUIRES: IsNumber(). The nearest double.
  constexpr double Number() const { return kind() == Kind::kInt ? static_cast<double>(int_) : double_; }

 private:
  static constexpr std::uint64_t Head(Kind kind) { return static_cast<std::uint64_t>(kind); }
  constexpr Value(std::uint64_t head, std::int64_t value) : head_(head), int_(value) {}

  // The kind, and the size of a text above it: one word, so that a value is written and read as two words, whole.
  std::uint64_t head_;
  union {
    std::int64_t int_;
    double double_;
    const char* text_;
  };
};
static_assert(sizeof(Value) == 16);

// Equality across kinds, as `==` of expressions, `equals` of filters and `distinct` have it: an integer equals a double
// of exactly that value; a number never equals a text, nor a bool a number; null equals only null. Exact beyond 2^53.
bool SameValue(Value a, Value b);
// Exact order of two numbers (an integer against a double too). REQUIRES: both IsNumber().
int CompareNumbers(Value a, Value b);
// Toward zero; what is beyond 64 bits is the nearest limit. REQUIRES: IsNumber().
std::int64_t TruncateToInt(Value number);

// The one text form (metricsource-decisions.md 10): integers and integral doubles within int64 plain, other doubles
// shortest round-trip, without an exponent between 1e-6 and 1e21; true, false; text as it is; null: nothing.
void AppendText(std::string& out, Value value);
// The same of a number, into a buffer; gives the number of bytes written, at most kMaxNumberText. REQUIRES: IsNumber().
inline constexpr std::size_t kMaxNumberText = 32;
std::size_t WriteNumber(char* out, Value number);

// Text that a row makes: bump-allocated, given back all at once, so that a row costs no allocation once the first rows
// have shown how much is needed. Confined to one thread.
class TextArena {
 public:
  // What one row may hold (metricsource-decisions.md 20).
  static constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

  TextArena();
  ~TextArena();
  TextArena(const TextArena&) = delete;
  TextArena& operator=(const TextArena&) = delete;

  // `size` bytes that live until Reset; null when the row's bound would be passed.
  char* Allocate(std::size_t size);
  // Takes back the last `size` bytes of what the latest Allocate gave: for texts whose size shows as they are made.
  void GiveBack(std::size_t size);
  // A copy that lives until Reset; false (and `out` untouched) when the row's bound would be passed.
  bool Copy(std::string_view text, std::string_view& out);
  // Forgets every text and keeps at most 64 KiB of memory for the next row.
  void Reset();

 private:
  struct Block {
    char* data;
    std::size_t size;
  };
  std::vector<Block> blocks_;
  std::size_t block_ = 0, used_ = 0;  // within blocks_[block_]
  std::size_t total_ = 0;             // given out since Reset
};

}  // namespace clusterpulse::metricsource
