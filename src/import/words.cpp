#include "words.hpp"

#include <charconv>
#include <cstddef>
#include <system_error>
#include <utility>

namespace millrace::importer {
namespace {

constexpr int kBlocksMax = 16;

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

/// Reads words; what ends one besides blanks and line ends is given.
class Scanner {
 public:
  Scanner(std::string_view text, std::string_view separators) : text_(text), separators_(separators) {}

  [[nodiscard]] bool done() const { return at_ == text_.size(); }
  [[nodiscard]] char peek() const { return text_[at_]; }
  [[nodiscard]] LineNumber line() const { return line_; }

  void step() {
    if (text_[at_] == '\n') ++line_;
    ++at_;
  }

  void skip_comment() {
    while (!done() && peek() != '\n') step();
  }

  std::string word() {
    std::string out;
    while (!done() && !ends_word(peek())) {
      if (peek() == '"' || peek() == '\'') {
        quoted(out);
      } else {
        out += one();
      }
    }
    return out;
  }

 private:
  [[nodiscard]] bool ends_word(char c) const {
    return is_blank(c) || c == '\n' || separators_.find(c) != std::string_view::npos;
  }

  /// A character, or what a backslash and the next one stand for.
  char one() {
    const bool escaped = peek() == '\\' && at_ + 1 < text_.size() && text_[at_ + 1] != '\n';
    if (escaped) step();
    const char c = peek();
    step();
    if (!escaped) return c;
    if (c == 'x') return hexadecimal();
    return c == 'n' ? '\n' : (c == 'r' ? '\r' : (c == 't' ? '\t' : c));
  }

  char hexadecimal() {
    unsigned byte = 0;
    const auto digits = text_.substr(at_, 2);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (error != std::errc()) return 'x';
    at_ += static_cast<std::size_t>(end - digits.data());
    return static_cast<char>(byte);
  }

  void quoted(std::string& out) {
    const char quote = peek();
    step();
    while (!done() && peek() != quote) {
      if (quote == '\'') {
        out += peek();
        step();
      } else {
        out += one();
      }
    }
    if (!done()) step();
  }

  std::string_view text_;
  std::string_view separators_;
  std::size_t at_ = 0;
  LineNumber line_ = 1;
};

std::vector<Directive> parse_block(Scanner& scanner, int depth) {
  std::vector<Directive> out;
  Directive current;
  const auto flush = [&] {
    if (!current.words.empty() && depth < kBlocksMax) out.push_back(std::move(current));
    current = Directive{};
  };
  while (!scanner.done()) {
    const char c = scanner.peek();
    if (c == '#') {
      scanner.skip_comment();
    } else if (c == ';') {
      scanner.step();
      flush();
    } else if (c == '{') {
      scanner.step();
      current.has_block = true;
      if (current.words.empty()) current.line = scanner.line();
      // Not deeper than the stack allows: further braces are read as if they were not there.
      if (depth < kBlocksMax) current.block = parse_block(scanner, depth + 1);
      flush();
    } else if (c == '}') {
      scanner.step();
      flush();
      if (depth > 0) return out;
    } else if (is_blank(c) || c == '\n') {
      scanner.step();
    } else {
      if (current.words.empty()) current.line = scanner.line();
      current.words.push_back(scanner.word());
    }
  }
  flush();
  return out;
}

}  // namespace

std::string Statement::joined(std::size_t from) const {
  std::string out;
  for (std::size_t i = from; i < words.size(); ++i) {
    if (i != from) out += ' ';
    out += words[i];
  }
  return out;
}

std::vector<Statement> split_lines(std::string_view text) {
  std::vector<Statement> out;
  Scanner scanner(text, "#");
  Statement current{1, {}};
  const auto flush = [&] {
    if (!current.words.empty()) out.push_back(std::move(current));
    current = Statement{scanner.line(), {}};
  };
  while (!scanner.done()) {
    const char c = scanner.peek();
    if (c == '#') {
      scanner.skip_comment();
    } else if (c == '\n') {
      scanner.step();
      flush();
    } else if (is_blank(c)) {
      scanner.step();
    } else {
      current.words.push_back(scanner.word());
    }
  }
  flush();
  return out;
}

std::vector<Directive> parse_blocks(std::string_view text) {
  Scanner scanner(text, ";{}");
  return parse_block(scanner, 0);
}

}  // namespace millrace::importer
