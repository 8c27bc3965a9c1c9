#include "millrace/admin/http_message.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace millrace::admin {

namespace {

constexpr std::string_view kLineEnd = "\r\n";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// RFC 9110: what methods and names of fields are made of.
bool is_token(std::string_view text) {
  constexpr std::string_view kSigns = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return is_digit(c) || is_letter(c) || kSigns.find(c) != std::string_view::npos;
  });
}

bool is_visible(char c) {
  return c > 0x20 && c < 0x7f;
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

HttpParsed refuse(int status, std::string why) {
  HttpParsed parsed;
  parsed.state = HttpParsed::State::refused;
  parsed.refusal.status = status;
  parsed.refusal.body = std::move(why) + '\n';
  return parsed;
}

/// "%41+b" is "A b"; empty when it is not well written.
std::optional<std::string> decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i] == '+' ? ' ' : text[i];
      continue;
    }
    unsigned value = 0;
    if (i + 2 >= text.size()) return std::nullopt;
    const char* const digits = text.data() + i + 1;
    const auto [end, error] = std::from_chars(digits, digits + 2, value, 16);
    if (error != std::errc() || end != digits + 2) return std::nullopt;
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

bool read_query(std::string_view text, HttpRequest& request) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('&'), text.size());
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (pair.empty()) continue;
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const auto key = decoded(pair.substr(0, equals));
    const auto value = decoded(pair.substr(std::min(equals + 1, pair.size())));
    if (!key || !value) return false;
    request.query[*key] = *value;
  }
  return true;
}

/// "GET /path?query HTTP/1.1"; empty, or what is wrong.
std::string read_request_line(std::string_view line, HttpRequest& request) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return "this is no HTTP request";
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return "HTTP/1.1 is spoken here";
  request.method = line.substr(0, first);
  request.keep_alive = version == "HTTP/1.1";
  const bool plain = target.starts_with('/') && std::all_of(target.begin(), target.end(), is_visible);
  if (!is_token(request.method) || !plain) return "the request line is not well written";
  const std::size_t mark = std::min(target.find('?'), target.size());
  request.path = target.substr(0, mark);
  if (!read_query(target.substr(std::min(mark + 1, target.size())), request)) return "the query is not well written";
  return {};
}

std::string read_field(std::string_view line, HttpRequest& request) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return "a header field is not well written";
  const std::string name = lower_case(line.substr(0, colon));
  const std::string_view value = trimmed(line.substr(colon + 1));
  const bool has_control =
      std::any_of(value.begin(), value.end(), [](char c) { return (c >= 0 && c < 0x20 && c != '\t') || c == 0x7f; });
  if (has_control) return "a header field has control characters";
  const bool once = name == "host" || name == "content-length" || name == "authorization" || name == "origin";
  if (once && request.fields.contains(name)) return name + " is given twice";
  request.fields[name] = value;
  return {};
}

}  // namespace

std::string_view HttpRequest::field(const std::string& lower_case_name) const {
  const auto found = fields.find(lower_case_name);
  return found == fields.end() ? std::string_view() : std::string_view(found->second);
}

HttpParsed parse_http(std::string_view received, const HttpLimits& limits) {
  constexpr std::string_view kHeadEnd = "\r\n\r\n";
  const std::size_t head = received.substr(0, limits.head_bytes).find(kHeadEnd);
  if (head == std::string_view::npos) {
    if (received.size() >= limits.head_bytes) {
      return refuse(431, fmt::format("the head of a request is at most {} bytes long", limits.head_bytes));
    }
    return {};
  }
  HttpParsed parsed;
  HttpRequest& request = parsed.request;
  std::string_view lines = received.substr(0, head + kLineEnd.size());
  for (bool first = true; !lines.empty(); first = false) {
    const std::size_t end = lines.find(kLineEnd);
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(end + kLineEnd.size());
    std::string problem = first ? read_request_line(line, request) : read_field(line, request);
    if (!problem.empty()) return refuse(400, std::move(problem));
  }
  if (request.keep_alive && !request.fields.contains("host")) return refuse(400, "the Host field is missing");
  if (request.fields.contains("transfer-encoding")) return refuse(501, "send a Content-Length instead");
  if (lower_case(request.field("connection")) == "close") request.keep_alive = false;

  std::size_t body = 0;
  if (const auto given = request.fields.find("content-length"); given != request.fields.end()) {
    const std::string& text = given->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), body);
    const bool number = !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
    if (!number) return refuse(400, "the Content-Length is no number");
    if (error != std::errc() || body > limits.body_bytes) {
      return refuse(413, fmt::format("a body is at most {} bytes long", limits.body_bytes));
    }
  }
  const std::size_t begin = head + kHeadEnd.size();
  if (received.size() - begin < body) return {};
  request.body = received.substr(begin, body);
  parsed.length = begin + body;
  parsed.state = HttpParsed::State::complete;
  return parsed;
}

namespace {

std::string_view reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 421:
      return "Misdirected Request";
    case 422:
      return "Unprocessable Content";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    default:
      return "Status";
  }
}

}  // namespace

std::string to_wire(const HttpResponse& response, bool head_only, bool keep_alive) {
  std::string out = fmt::format(
      "HTTP/1.1 {} {}\r\n"
      "Content-Type: {}\r\n"
      "Content-Length: {}\r\n"
      "Connection: {}\r\n"
      "Cache-Control: no-store\r\n"
      "Content-Security-Policy: {}\r\n"
      "Cross-Origin-Resource-Policy: same-origin\r\n"
      "Referrer-Policy: no-referrer\r\n"
      "X-Content-Type-Options: nosniff\r\n"
      "X-Frame-Options: DENY\r\n",
      response.status, reason_of(response.status), response.content_type, response.body.size(),
      keep_alive ? "keep-alive" : "close", response.content_security_policy);
  for (const auto& [name, value] : response.fields) out += fmt::format("{}: {}\r\n", name, value);
  out += kLineEnd;
  if (!head_only) out += response.body;
  return out;
}

}  // namespace millrace::admin
