#include "json.hpp"

#include <charconv>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

namespace millrace::importer {
namespace {

using config::Node;

constexpr int kDepthMax = 64;

/// Stops at the first mistake: `failed_` is set then, and nothing more is read.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::optional<Node> parse() {
    Node root = value(0);
    skip_blanks();
    if (failed_ || at_ != text_.size()) return std::nullopt;
    return root;
  }

 private:
  void skip_blanks() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) step();
  }

  void step() {
    if (text_[at_] == '\n') ++line_;
    ++at_;
  }

  /// The next character behind blanks, without taking it; NUL at the end.
  char peek() {
    skip_blanks();
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  bool take(char wanted) {
    if (failed_ || peek() != wanted) return false;
    step();
    return true;
  }

  void expect(char wanted) {
    if (!take(wanted)) failed_ = true;
  }

  Node value(int depth) {
    Node node;
    const char c = peek();
    node.position = {line_, 1};
    if (depth > kDepthMax) {
      failed_ = true;
    } else if (c == '{') {
      object(node, depth);
    } else if (c == '[') {
      list(node, depth);
    } else if (c == '"') {
      node.kind = Node::Kind::string;
      node.text = string();
    } else {
      scalar(node);
    }
    return node;
  }

  void object(Node& node, int depth) {
    node.kind = Node::Kind::table;
    expect('{');
    if (take('}')) return;
    do {
      peek();
      const config::Position position{line_, 1};
      std::string key = string();
      expect(':');
      if (failed_) return;
      node.entries.push_back({std::move(key), position, value(depth + 1)});
    } while (take(','));
    expect('}');
  }

  void list(Node& node, int depth) {
    node.kind = Node::Kind::list;
    expect('[');
    if (take(']')) return;
    do {
      node.items.push_back(value(depth + 1));
    } while (take(','));
    expect(']');
  }

  std::string string() {
    std::string out;
    expect('"');
    while (!failed_ && at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) step();
      out += text_[at_];
      step();
    }
    if (at_ == text_.size()) failed_ = true;
    if (!failed_) step();
    return out;
  }

  void scalar(Node& node) {
    const std::size_t start = at_;
    while (at_ < text_.size() && std::string_view(",]}\r\n\t ").find(text_[at_]) == std::string_view::npos) step();
    const std::string_view word = text_.substr(start, at_ - start);
    if (word == "true" || word == "false") {
      node.kind = Node::Kind::boolean;
      node.boolean = word == "true";
      return;
    }
    if (word == "null") {
      node.kind = Node::Kind::date;  // whatever nobody asks for
      return;
    }
    const char* end = word.data() + word.size();
    node.kind = Node::Kind::integer;
    if (const auto whole = std::from_chars(word.data(), end, node.integer);
        !word.empty() && whole.ec == std::errc() && whole.ptr == end) {
      return;
    }
    node.kind = Node::Kind::real;
    const auto real = std::from_chars(word.data(), end, node.real);
    if (word.empty() || real.ec != std::errc() || real.ptr != end) failed_ = true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::uint32_t line_ = 1;
  bool failed_ = false;
};

}  // namespace

std::optional<Node> parse_json(std::string_view text) {
  return Parser(text).parse();
}

}  // namespace millrace::importer
