#include "common/metricsource/parser.h"

#include <array>
#include <utility>

#include <fmt/format.h>

#include "common/base/utf8.h"

namespace clusterpulse::metricsource {
namespace {

// Of binary operators; 0: none.
int Level(Symbol symbol) {
  switch (symbol) {
    case Symbol::kElse:
      return 1;
    case Symbol::kOr:
      return 2;
    case Symbol::kAnd:
      return 3;
    case Symbol::kEqual:
    case Symbol::kNotEqual:
      return 4;
    case Symbol::kLess:
    case Symbol::kLessEqual:
    case Symbol::kGreater:
    case Symbol::kGreaterEqual:
      return 5;
    case Symbol::kPlus:
    case Symbol::kMinus:
      return 6;
    case Symbol::kTimes:
    case Symbol::kDivide:
    case Symbol::kRemainder:
      return 7;
    case Symbol::kEnd:
    case Symbol::kNumber:
    case Symbol::kText:
    case Symbol::kName:
    case Symbol::kTrue:
    case Symbol::kFalse:
    case Symbol::kNull:
    case Symbol::kOpen:
    case Symbol::kClose:
    case Symbol::kComma:
    case Symbol::kNot:
      return 0;
  }
  return 0;
}

bool IsBranching(Symbol symbol) { return symbol == Symbol::kElse || symbol == Symbol::kOr || symbol == Symbol::kAnd; }

class Parser {
 public:
  Parser(std::string_view text, Problems& problems)
      : text_(text), problems_(problems), tokens_(Tokenize(text, problems)) {}

  Tree Run() {
    if (tokens_.size() == 1) {
      if (!problems_.has_errors()) problems_.Error(0, "the expression is empty");
      return {};
    }
    Expression(1);
    if (!is_stopped_ && Peek().symbol != Symbol::kEnd) LeftOver();
    return std::move(tree_);
  }

 private:
  const Token& Peek() const { return tokens_[next_]; }
  std::string_view Word(const Token& token) const { return text_.substr(token.begin, token.end - token.begin); }
  bool Accept(Symbol symbol) {
    if (Peek().symbol != symbol) return false;
    ++next_;
    return true;
  }
  // What follows would be about the same mistake.
  void Stop() {
    is_stopped_ = true;
    next_ = tokens_.size() - 1;
  }

  std::uint32_t Add(Node node) {
    tree_.nodes.push_back(node);
    return static_cast<std::uint32_t>(tree_.nodes.size() - 1);
  }
  static Node At(NodeType type, const Token& token) {
    Node node;
    node.type = type;
    node.symbol = token.symbol;
    node.begin = token.begin;
    node.end = token.end;
    return node;
  }

  std::uint32_t Expression(int level) {
    std::uint32_t left = Unary();
    while (Level(Peek().symbol) >= level) {
      const Token& token = tokens_[next_++];
      std::uint32_t branch = 0;
      if (IsBranching(token.symbol)) {
        Node node = At(NodeType::kBranch, token);
        node.left = left;
        branch = Add(node);
      }
      Node node = At(NodeType::kBinary, token);
      node.left = left;
      node.right = Expression(Level(token.symbol) + 1);
      left = Add(node);
      if (IsBranching(token.symbol)) tree_.nodes[branch].right = left;
    }
    return left;
  }

  std::uint32_t Unary() {
    const Token& token = Peek();
    if (token.symbol != Symbol::kNot && token.symbol != Symbol::kMinus) return Primary();
    if (!Enter(token)) return Missing();
    ++next_;
    Node node = At(NodeType::kUnary, token);
    node.left = Unary();
    --depth_;
    return Add(node);
  }

  std::uint32_t Primary() {
    const Token& token = Peek();
    switch (token.symbol) {
      case Symbol::kNumber:
      case Symbol::kTrue:
      case Symbol::kFalse:
      case Symbol::kNull: {
        ++next_;
        if (token.symbol == Symbol::kNumber && token.number.IsNull()) return Missing();  // malformed
        Node node = At(NodeType::kConstant, token);
        if (token.symbol == Symbol::kNumber) node.constant = token.number;
        if (token.symbol == Symbol::kTrue || token.symbol == Symbol::kFalse) {
          node.constant = Value::Bool(token.symbol == Symbol::kTrue);
        }
        return Add(node);
      }
      case Symbol::kText: {
        ++next_;
        Node node = At(NodeType::kConstant, token);
        node.text = static_cast<std::uint32_t>(tree_.texts.size());
        tree_.texts.push_back(token.text);
        return Add(node);
      }
      case Symbol::kName: {
        ++next_;
        if (Peek().symbol == Symbol::kOpen) return Call(token);
        return Add(At(NodeType::kName, token));
      }
      case Symbol::kOpen: {
        if (!Enter(token)) return Missing();
        ++next_;
        const std::uint32_t inner = Expression(1);
        Close(token);
        --depth_;
        return inner;
      }
      case Symbol::kPlus:
        problems_.Error(token.begin, "there is no unary \"+\"");
        ++next_;
        return Unary();
      default:
        return NoOperand();
    }
  }

  std::uint32_t Call(const Token& name) {
    const Token& open = Peek();
    if (!Enter(open)) return Missing();
    ++next_;
    std::vector<std::uint32_t> arguments;
    if (Peek().symbol != Symbol::kClose) {
      do {
        arguments.push_back(Expression(1));
      } while (Accept(Symbol::kComma));
    }
    Close(open);
    --depth_;
    Node node = At(NodeType::kCall, name);
    node.first = static_cast<std::uint32_t>(tree_.arguments.size());
    node.count = static_cast<std::uint32_t>(arguments.size());
    tree_.arguments.insert(tree_.arguments.end(), arguments.begin(), arguments.end());
    return Add(node);
  }

  void Close(const Token& open) {
    if (is_stopped_ || Accept(Symbol::kClose)) return;
    const Token& token = Peek();
    if (token.symbol == Symbol::kEnd) {
      problems_.Error(open.begin, "this \"(\" has no \")\"");
    } else {
      problems_.Error(token.begin,
                      fmt::format("unexpected {} where an operator or \")\" is needed", Quoted(Word(token))),
                      Meant(token));
    }
    Stop();
  }

  std::uint32_t Missing() { return Add({}); }

  std::uint32_t NoOperand() {
    if (is_stopped_) return Missing();
    const Token& token = Peek();
    if (next_ == 0) {
      problems_.Error(token.begin, fmt::format("unexpected {} where a value is needed", Quoted(Word(token))));
    } else {
      const Token& before = tokens_[next_ - 1];
      problems_.Error(before.begin, fmt::format("a value is missing behind {}", Quoted(Word(before))));
    }
    // An operator or a closing parenthesis goes on from here; two words in a row would not.
    return Missing();
  }

  void LeftOver() {
    const Token& token = Peek();
    if (token.symbol == Symbol::kClose) {
      problems_.Error(token.begin, "this \")\" has no \"(\"");
    } else if (token.symbol == Symbol::kOpen) {
      problems_.Error(token.begin, "unexpected \"(\": only a function's name can be called");
    } else {
      problems_.Error(token.begin, fmt::format("unexpected {} behind the end of the expression", Quoted(Word(token))),
                      Meant(token));
    }
  }

  // The operator that other languages write as a word.
  std::string Meant(const Token& token) const {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kWords = {
        {{"and", "&&"}, {"or", "||"}, {"AND", "&&"}, {"OR", "||"}}};
    for (const auto& [word, meant] : kWords) {
      if (Word(token) == word) return std::string(meant);
    }
    return "";
  }

  bool Enter(const Token& token) {
    if (++depth_ <= kMaxExpressionDepth) return true;
    --depth_;
    if (!is_stopped_) {
      problems_.Error(token.begin, fmt::format("nested deeper than {}", kMaxExpressionDepth));
      Stop();
    }
    return false;
  }

  std::string_view text_;
  Problems& problems_;
  std::vector<Token> tokens_;
  std::size_t next_ = 0;
  int depth_ = 0;
  bool is_stopped_ = false;
  Tree tree_;
};

}  // namespace

Tree Parse(std::string_view text, Problems& problems) {
  if (text.size() > kMaxExpressionBytes) {
    problems.Error(0, fmt::format("the expression has {} bytes, more than {}", text.size(), kMaxExpressionBytes));
    return {};
  }
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = base::Utf8SequenceLength(text, i);
    if (length == 0) {
      problems.Error(i, "the expression is not valid UTF-8 from here");
      return {};
    }
    i += length;
  }
  return Parser(text, problems).Run();
}

}  // namespace clusterpulse::metricsource
