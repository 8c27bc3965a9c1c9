#include "text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace millrace::config {
namespace {

unsigned byte_at(std::string_view text, std::size_t i) {
  return static_cast<unsigned char>(text[i]);
}

bool is_continuation(std::string_view text, std::size_t i) {
  return i < text.size() && (byte_at(text, i) & 0xc0U) == 0x80U;
}

/// The length of the well-formed sequence at the start of `text`, 0 when it is ill-formed (Unicode 15, table 3-7).
std::size_t sequence_length(std::string_view text) {
  const unsigned lead = byte_at(text, 0);
  if (lead < 0x80U) return 1;
  if (!is_continuation(text, 1)) return 0;
  const unsigned second = byte_at(text, 1);
  if (lead >= 0xc2U && lead <= 0xdfU) return 2;
  if (!is_continuation(text, 2)) return 0;
  if ((lead == 0xe0U && second < 0xa0U) || (lead == 0xedU && second > 0x9fU)) return 0;
  if (lead >= 0xe0U && lead <= 0xefU) return 3;
  if (!is_continuation(text, 3)) return 0;
  if ((lead == 0xf0U && second < 0x90U) || (lead == 0xf4U && second > 0x8fU)) return 0;
  return lead >= 0xf0U && lead <= 0xf4U ? 4 : 0;
}

enum class Quotes : bool { kept, escaped };

void append_ascii(std::string& out, char c, Quotes quotes) {
  constexpr std::string_view kNames = "\n\r\t";
  constexpr std::string_view kLetters = "nrt";
  if (const std::size_t i = kNames.find(c); i != std::string_view::npos) {
    out += '\\';
    out += kLetters[i];
  } else if (c < 0x20 || c == 0x7f) {
    fmt::format_to(std::back_inserter(out), "\\u{:04X}", static_cast<unsigned>(c));
  } else {
    if (quotes == Quotes::escaped && (c == '"' || c == '\\')) out += '\\';
    out += c;
  }
}

/// U+0080 … U+009F: control characters that some terminals obey.
bool is_c1_control(std::string_view sequence) {
  return sequence.size() == 2 && byte_at(sequence, 0) == 0xc2U && byte_at(sequence, 1) < 0xa0U;
}

std::string escape(std::string_view text, Quotes quotes) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    const std::string_view sequence = text.substr(0, std::max<std::size_t>(length, 1));
    if (length == 0) {
      out += "\xef\xbf\xbd";
    } else if (length == 1) {
      append_ascii(out, text[0], quotes);
    } else if (is_c1_control(sequence)) {
      fmt::format_to(std::back_inserter(out), "\\u{:04X}", byte_at(sequence, 1));
    } else {
      out += sequence;
    }
    text.remove_prefix(sequence.size());
  }
  return out;
}

bool is_bare(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
  std::size_t index = 0;
  while (index < text.size()) {
    const std::size_t length = sequence_length(text.substr(index));
    if (length == 0) break;
    index += length;
  }
  return index;
}

bool is_utf8(std::string_view text) {
  return utf8_length(text) == text.size();
}

std::string printable(std::string_view text) {
  return escape(text, Quotes::kept);
}

std::string escaped(std::string_view text) {
  return escape(text, Quotes::escaped);
}

std::string toml_string(std::string_view text) {
  return '"' + escaped(text) + '"';
}

std::string toml_key(std::string_view key) {
  const bool bare = !key.empty() && std::all_of(key.begin(), key.end(), is_bare);
  return bare ? std::string(key) : toml_string(key);
}

std::string quoted(std::string_view text) {
  if (text.size() <= kQuoteBytesMax) return toml_string(text);
  std::size_t cut = kQuoteBytesMax;
  while (cut > 0 && is_continuation(text, cut)) --cut;  // never through the middle of a character
  return '"' + escaped(text.substr(0, cut)) + "…\"";
}

}  // namespace millrace::config
