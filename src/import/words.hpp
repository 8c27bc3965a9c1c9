#pragma once
// Tokenizers: HAProxy's lines of words, nginx's directives with blocks.

#include <string>
#include <string_view>
#include <vector>

#include "draft.hpp"

namespace millrace::importer {

/// One line with words: a keyword and its arguments.
struct Statement {
  LineNumber line;
  std::vector<std::string> words;  // never empty

  /// Empty where there is no such word.
  [[nodiscard]] std::string_view word(std::size_t index) const {
    return index < words.size() ? std::string_view(words[index]) : std::string_view();
  }
  [[nodiscard]] std::string joined(std::size_t from = 0) const;
};

/// Quotes of both sorts, backslashes, comments with '#'; lines without words are left out.
[[nodiscard]] std::vector<Statement> split_lines(std::string_view text);

/// `name argument …;` or `name argument … { … }`.
struct Directive : Statement {
  std::vector<Directive> block;
  bool has_block = false;
};

/// Blocks are at most some levels deep, deeper ones are dropped; a '}' too many and a missing one are forgiven.
[[nodiscard]] std::vector<Directive> parse_blocks(std::string_view text);

}  // namespace millrace::importer
