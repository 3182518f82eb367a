#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/metricsource/lexer.h"
#include "common/metricsource/value.h"

namespace clusterpulse::metricsource {

// What one node of a parsed expression is.
enum class NodeType : std::uint8_t {
  kConstant,
  kName,
  kUnary,   // ! -
  kBinary,  // all others
  kCall,
  // Stands between the two sides of && || ??: whether the right side is needed is decided there.
  kBranch,
  // In place of what is missing; something has been reported.
  kMissing,
};

struct Node {
  NodeType type = NodeType::kMissing;
  Symbol symbol = Symbol::kEnd;      // the operator
  std::uint32_t begin = 0, end = 0;  // of its word in the text: the operator, the name, the constant
  // Nodes. Unary: left. Binary: both. Branch: the left side, and the operator's node in `right`.
  std::uint32_t left = 0, right = 0;
  std::uint32_t first = 0, count = 0;  // of a call: its arguments in Tree::arguments
  Value constant;                      // texts are in Tree::texts
  std::uint32_t text = 0;
};

// A parsed expression. Nodes stand in the order in which they are evaluated, operands before what uses them: a pass
// over them needs no recursion. The last is the result.
struct Tree {
  std::vector<Node> nodes;
  std::vector<std::uint32_t> arguments;
  std::vector<std::string> texts;
};

inline constexpr std::size_t kMaxExpressionBytes = 4096;
inline constexpr int kMaxExpressionDepth = 64;  // of parentheses, calls and unary operators in each other

// Reads an expression by the grammar of spec/metricsource.md 5.2. After an error the tree has something in every place,
// so that what else is wrong is found too; it may be empty.
Tree Parse(std::string_view text, Problems& problems);

}  // namespace clusterpulse::metricsource
