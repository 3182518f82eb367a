#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "common/metricsource/functions.h"
#include "common/metricsource/lexer.h"
#include "common/metricsource/parser.h"
#include "common/metricsource/types.h"
#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

// What is known of a node once names and types have been looked at.
struct Checked {
  KindSet kinds;                           // empty: always null
  std::uint32_t column = 0;                // of a name
  const FunctionInfo* function = nullptr;  // of a call
  // `+` whose one side is only ever text: a concatenation, whatever the other side is.
  bool is_join = false;
  bool is_part = false;  // its only use is as a side of a join: the two become one
};

// Finds names and functions and infers types: an error where no value is possible, a warning where one is but hardly
// the one that was meant. Gives an entry for each node of the tree.
std::vector<Checked> Check(std::string_view text, const Tree& tree, std::span<const Column> columns,
                           Problems& problems);

}  // namespace clusterpulse::metricsource
