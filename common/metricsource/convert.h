#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/clock.h"
#include "common/metricsource/types.h"
#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

// One scalar of a document as a field of a type (spec 3.4, metricsource-decisions.md 1-3, 7). `in` is a bool, an
// integer, a double or a text; `token` is the number as it is written there (exact, for quantities), empty otherwise.
// Text that is made lives in `arena`, other text borrows from `in`. False when there is no such value of that type, and
// then a field has its default or null.
//
//   string     text as it is; numbers and booleans in the one text form
//   integer    a whole number, sign and digits in texts, beyond 64 bits the nearest; doubles are truncated
//   float      a finite number, in texts also as Go writes them (0x1p-2, 1_000)
//   boolean    true, false in any case, "1", "0"; numbers by whether they are 0
//   quantity   an amount as Kubernetes writes it, in base units (250m is 0.25, 1Ki is 1024)
//   timestamp  a text that ParseTimestamp takes, or an empty one, as it is
//   arrayLength  never: that is the size of a container
bool ConvertScalar(FieldType type, Value in, std::string_view token, TextArena& arena, Value& out);

// A default is converted like a text of the document; for arrayLength it must be an integer. nullopt: not possible.
// The result may borrow from `text`.
std::optional<Value> ConvertDefault(FieldType type, std::string_view text);

// A number token of JSON: an integer where it is written as one and fits 64 bits. False: no number, or not finite.
bool ParseJsonNumber(std::string_view token, Value& out);

// A whole decimal or hexadecimal number as Go's ParseFloat takes it (no blanks); false for others, infinity and NaN.
bool ParseFloat(std::string_view text, double& out);
// Sign and decimal digits only, clamped to 64 bits.
bool ParseInteger(std::string_view text, std::int64_t& out);
// The same two in one: what a text is as a number, an integer where that is exact.
bool ParseNumber(std::string_view text, Value& out);
bool ParseBoolean(std::string_view text, bool& out);
// An amount in base units: an integer where it is integral or too large for a double to show its fraction, else the
// nearest double.
bool ParseQuantity(std::string_view text, Value& out);

// JSON without the blanks between its tokens, and with its texts as they are: what need not be escaped is not, as API
// servers do with "<" and "&". So a list or object is a text.
void AppendCompactJson(std::string_view json, std::string& out);

// RFC 3339 as upstream reads it: upper-case T and Z, hours of one digit, a fraction behind "." or ",", offsets up to
// 24:60 (spec 3.7). Years 0000..9999; what the clock cannot count saturates.
std::optional<base::SystemTime> ParseTimestamp(std::string_view text);

}  // namespace clusterpulse::metricsource
