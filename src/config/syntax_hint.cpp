#include "syntax_hint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "scanner.hpp"
#include "text.hpp"

namespace millrace::config {
namespace {

constexpr std::string_view kPrefix = "Error while parsing ";

/// What the library found, and where.
struct Finding {
  std::string_view text;
  std::string_view scope;  // what it was reading: "value", "table header", …
  std::string_view reason;
  std::size_t index;  // of the character that it did not want; the size of the text at its end

  [[nodiscard]] char character() const { return index < text.size() ? text[index] : '\n'; }
};

/// What to say instead.
struct Answer {
  std::size_t index;
  std::string message;
};

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_line_end(char c) {
  return c == '\n' || c == '\r';
}
bool is_control(char c) {
  return (c >= 0 && c < 0x20) || c == 0x7f;
}

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view line_around(std::string_view text, std::size_t index) {
  const std::size_t start = text.substr(0, index).rfind('\n') + 1;  // npos + 1 is 0
  return text.substr(start, text.substr(start).find('\n'));
}

/// What the library says, where it speaks of itself or of what a person need not know.
std::string_view plain_reason(std::string_view scope, std::string_view reason) {
  if (scope == "inline table" && reason.ends_with(R"(saw '\n')")) return "a table in braces must be on one line";
  if (reason.ends_with("(dangling comma)")) return "there is a comma before the '}'";
  if (reason.starts_with("tables with blank")) return "the name is missing";
  if (reason.starts_with("[[array-of-table]]")) return "the brackets of [[NAME]] must touch each other";
  if (reason.starts_with("expected '\\n' after '\\r'")) return "a carriage return alone is no line end";
  if (reason.starts_with("multi-line strings are prohibited")) return "a key cannot be a string of several lines";
  if (reason.starts_with("exceeded maximum nested value depth")) return "lists and tables are nested too deep";
  return reason;
}

// ---- values ----

/// What the library was reading when something other than a number, a boolean or a date turned up.
bool reads_bare_value(std::string_view scope) {
  return is_one_of(scope, {"value", "boolean", "decimal integer", "hexadecimal integer", "octal integer",
                           "binary integer", "floating-point", "time", "date", "date-time"});
}

/// Where the value that the index is in begins: behind the last '=', bracket, comma or blank.
std::size_t value_start(std::string_view text, std::size_t index) {
  const std::size_t before = text.substr(0, index).find_last_of("=[{, \t\r\n");
  return before == std::string_view::npos ? 0 : before + 1;
}

std::string_view value_at(std::string_view text, std::size_t start) {
  return text.substr(start, text.substr(start).find_first_of(",]} \t\r\n#;"));
}

bool is_number(std::string_view value) {
  if (!value.empty() && (value[0] == '-' || value[0] == '+')) value.remove_prefix(1);
  if (value.empty() || (!is_digit(value[0]) && value[0] != '.')) return false;
  if (value.size() > 1 && value[0] == '0' && is_letter(value[1])) return value.find(':') == std::string::npos;
  return value.find_first_not_of("0123456789_.eE+-") == std::string_view::npos &&
         std::count(value.begin(), value.end(), '.') <= 1;
}

/// Text that was meant as a string: it has a letter, or it is most of an address.
bool is_text(std::string_view value) {
  if (value.empty() || value.find_first_of("\"'=") != std::string_view::npos || is_number(value)) return false;
  const auto belongs = [](char c) { return is_letter(c) || c == ':' || c == '*'; };
  return std::any_of(value.begin(), value.end(), belongs) || std::count(value.begin(), value.end(), '.') > 1;
}

/// What to write instead of a value that is none.
std::string value_hint(std::string_view value) {
  if (!is_text(value)) return {};
  const std::string word = lower(value.substr(0, 10));
  if (is_one_of(word, {"yes", "no", "on", "off", "true", "false"})) return ", write true or false";
  if (value[0] == '$') return ", there are no variables in a configuration";
  if (is_one_of(word, {"null", "nil", "none", "undefined", "default"})) return ", leave the key out for its default";
  return ", text needs quotes: " + quoted(value);
}

std::string_view value_reason(const Finding& finding, std::string_view value) {
  if (value.starts_with('=')) return "one '=' is enough";
  if (is_number(value) && (value.starts_with('.') || value.ends_with('.'))) {
    return "a fraction has digits on both sides of its point";
  }
  if (finding.reason.starts_with("numeric value too long")) return "the number is too large";
  if (finding.reason.starts_with("could not determine value type")) return "this is no value";
  if (finding.reason.starts_with("leading zeroes")) return "a number has no zeros in front";
  if (finding.reason.ends_with("is not representable in 64 bits") ||
      finding.reason.ends_with("could not be interpreted as a value")) {
    return "the number is too large";
  }
  return plain_reason(finding.scope, finding.reason);
}

/// A list that was never closed swallows the header of the next table: `[pools.b]` is then a list with a strange value.
std::optional<Answer> swallowed_header(const Finding& finding) {
  const std::string_view line = line_around(finding.text, finding.index);
  if (!line.starts_with('[')) return std::nullopt;
  const std::size_t line_start = static_cast<std::size_t>(line.data() - finding.text.data());
  const std::vector<std::size_t> open = still_open(finding.text.substr(0, line_start));
  if (open.empty()) return std::nullopt;
  const char closing = finding.text[open.back()] == '{' ? '}' : ']';
  return Answer{open.back(), fmt::format("in {}: it has no '{}' before the table in line {}",
                                         closing == '}' ? "inline table" : "array", closing,
                                         position_of(finding.text, line_start).line)};
}

Answer bare_value(const Finding& finding) {
  if (auto answer = swallowed_header(finding)) return *std::move(answer);
  const std::size_t start = value_start(finding.text, finding.index);
  const std::string_view value = value_at(finding.text, start);
  if (finding.character() == ';' && finding.index > start) {
    return {finding.index, "in value: a line does not end with ';'"};
  }
  const std::string hint = value_hint(value);
  if (!hint.empty()) return {start, "in value: this is no value" + hint};
  return {start, fmt::format("in {}: {}", finding.scope, printable(value_reason(finding, value)))};
}

// ---- strings and comments ----

std::string control_name(char c) {
  return fmt::format("U+{:04X}", static_cast<unsigned>(c));
}

Answer control_character(const Finding& finding) {
  const char c = finding.character();
  if (finding.scope == "comment") {
    return {finding.index, fmt::format("in comment: it holds the control character {}", control_name(c))};
  }
  if (is_line_end(c) || !is_control(c)) return {finding.index, "in string: a string must end on its line"};
  return {finding.index, fmt::format("in string: the control character {} is written \"\\u{:04X}\" in a string with "
                                     "double quotes",
                                     control_name(c), static_cast<unsigned>(c))};
}

Answer escape_sequence(const Finding& finding) {
  const std::string_view hint = R"(; a backslash itself is written \\, any character \uHHHH)";
  const std::string_view reason =
      finding.reason.starts_with("expected hex digit") ? R"(\u takes four hexadecimal digits, \U eight)"
      : finding.reason.ends_with("1.0.0 and earlier")  ? finding.reason.substr(0, finding.reason.find(" is not"))
                                                       : finding.reason;
  return {finding.index, fmt::format("in string: {}{}{}", printable(reason),
                                     finding.reason.ends_with("1.0.0 and earlier") ? " does not exist" : "", hint)};
}

// ---- ends and second definitions ----

std::string_view closing_of(std::string_view text, std::size_t open) {
  const std::string_view rest = text.substr(open);
  if (rest.starts_with(R"(""")")) return R"(""")";
  if (rest.starts_with("'''")) return "'''";
  if (rest[0] == '[') return "]";
  if (rest[0] == '{') return "}";
  return rest.substr(0, 1);
}

Answer unexpected_end(const Finding& finding) {
  const std::vector<std::size_t> open = still_open(finding.text);
  if (open.empty()) return {finding.index, fmt::format("in {}: the file ends in the middle of it", finding.scope)};
  return {open.back(), fmt::format("in {}: the file ends before the {} that belongs to this", finding.scope,
                                   closing_of(finding.text, open.back()))};
}

/// The key in front of the '=' before the index.
std::size_t key_start(std::string_view text, std::size_t index) {
  const std::size_t equals = text.substr(0, index).rfind('=');
  if (equals == std::string_view::npos) return index;
  const std::size_t last = text.substr(0, equals).find_last_not_of(" \t");
  if (last == std::string_view::npos) return index;
  const std::size_t before = text.substr(0, last).find_last_of(" \t\r\n,{");
  return before == std::string_view::npos ? 0 : before + 1;
}

/// The library's: "cannot redefine existing TYPE ['NAME'] [as WHAT]".
Answer second_definition(const Finding& finding) {
  const std::size_t quote = finding.reason.find('\'');
  const std::size_t end = finding.reason.rfind('\'');
  const std::string name(quote == std::string_view::npos ? "" : finding.reason.substr(quote + 1, end - quote - 1));
  const bool list = finding.reason.find("existing array") != std::string_view::npos;
  const bool table = finding.reason.find("existing table") != std::string_view::npos;
  if (finding.reason.ends_with("as dotted key-value pair")) {
    return {finding.index, "in key: it has a value already, it cannot be a table as well"};
  }
  if (finding.scope != "table header") {
    const char* hint = table ? "is a table already, it cannot have a value" : "is given twice, keep one";
    return {key_start(finding.text, finding.index), fmt::format("in key-value pair: {} {}", quoted(name), hint)};
  }
  std::string message = fmt::format("[{}] is defined already, put the keys there", printable(name));
  if (list) message = fmt::format("{} is a list already, put the new item there", quoted(name));
  if (!list && !table) message = fmt::format("{} has a value already, it cannot be a table", quoted(name));
  if (table && finding.reason.ends_with("as array-of-tables")) {
    message = fmt::format("{} is a table already, it cannot be a list", quoted(name));
  }
  return {finding.index, "in table header: " + message};
}

// ---- the rest ----

/// Files of other programs begin with words that tell whose they are.
std::string foreign_file(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::size_t start = line.find_first_not_of(" \t\r");
    if (start == std::string_view::npos || line[start] == '#') continue;
    const std::string_view word = line.substr(start).substr(0, line.substr(start).find_first_of(" \t\r;{:"));
    if (is_one_of(word, {"global", "defaults", "frontend", "backend", "listen"})) {
      return "; this looks like HAProxy's, try: millrace import haproxy FILE";
    }
    if (is_one_of(word, {"stream", "http", "events", "user", "worker_processes", "upstream", "load_module"})) {
      return "; this looks like nginx's, try: millrace import nginx FILE";
    }
    return line[start] == '{' ? "; this looks like JSON, a configuration is TOML" : std::string();
  }
  return {};
}

void replace(std::string& text, std::string_view from, std::string_view to) {
  if (const std::size_t at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
}

/// More on the line of a value.
std::string behind_value(const Finding& finding) {
  const std::string_view rest = finding.text.substr(finding.index);
  if (rest.substr(0, rest.find('\n')).find('=') != std::string_view::npos) return "; every key has a line of its own";
  if (rest[0] == ',') return "; a list needs brackets, and a number has no commas";
  return is_letter(rest[0]) ? "; text needs quotes" : std::string();
}

std::string character_hint(const Finding& finding) {
  const char c = finding.character();
  const bool new_statement = finding.scope == "root table" || finding.scope == "key-value pair";
  if (new_statement && finding.text.substr(finding.index).starts_with("//")) return "; a comment begins with #";
  if (new_statement && finding.text.substr(finding.index).starts_with("/*")) return "; a comment begins with #";
  if (c == ';') return "; a comment begins with #, and no line ends with ';'";
  if (finding.scope == "table header" && finding.reason.starts_with("expected ']'") && !is_line_end(c) && c != ' ') {
    return "; a name of more than letters, digits, - and _ needs quotes";
  }
  if (finding.scope == "key-value pair" && finding.reason.starts_with("expected a comment"))
    return behind_value(finding);
  return new_statement ? foreign_file(finding.text) : std::string();
}

Answer other(const Finding& finding) {
  std::string reason = printable(plain_reason(finding.scope, finding.reason));
  replace(reason, "a comment or whitespace", "the end of the line");
  replace(reason, "keys, tables, whitespace or comments", "a key or a [table]");
  replace(reason, "bare key starting character or string delimiter", "a key");
  return {finding.index, fmt::format("in {}: {}{}", finding.scope, reason, character_hint(finding))};
}

Answer answer_to(const Finding& finding) {
  const std::string_view reason = finding.reason;
  if (reason.starts_with("encountered end-of-file") || reason.ends_with("saw EOF")) return unexpected_end(finding);
  if (reason.find("control characters other than TAB") != std::string_view::npos) return control_character(finding);
  if (reason.starts_with("cannot redefine")) return second_definition(finding);
  if (finding.scope == "unicode scalar sequence" || reason.find("escape sequence") != std::string_view::npos) {
    return escape_sequence(finding);
  }
  return reads_bare_value(finding.scope) ? bare_value(finding) : other(finding);
}

}  // namespace

Diagnostic syntax_problem(std::string_view text, Position position, std::string_view description) {
  text = without_byte_order_mark(text);
  const std::size_t colon = description.find(": ");
  if (!description.starts_with(kPrefix) || colon == std::string_view::npos) {
    return {position, fmt::format("syntax error: {}", printable(description))};
  }
  const std::string_view scope = description.substr(kPrefix.size(), colon - kPrefix.size());
  const Finding finding{text, scope, description.substr(colon + 2), index_of(text, position)};
  const Answer answer = answer_to(finding);
  return {position_of(text, answer.index), "syntax error " + answer.message};
}

}  // namespace millrace::config
