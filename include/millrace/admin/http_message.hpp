#pragma once
// HTTP/1.1 as far as the balancer speaks it: small requests that have come whole, and answers. Pure.
//
// Strict: what is not clearly a request is refused, never guessed at. A body has a Content-Length; other encodings,
// trailers and continuation lines are not understood.

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::admin {

struct HttpLimits {
  std::size_t head_bytes = 8192;  // request line and header fields
  std::size_t body_bytes = 16'384;
};

struct HttpRequest {
  std::string method;  // as it came: methods are case-sensitive
  std::string path;    // begins with '/'; as it came, without the query
  std::map<std::string, std::string> query{};
  std::map<std::string, std::string> fields{};  // header fields; names in lower case, of the same name the last
  std::string body{};
  bool keep_alive = true;

  /// Empty when there is no such field.
  [[nodiscard]] std::string_view field(const std::string& lower_case_name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body{};
  std::string content_security_policy = "default-src 'none'; frame-ancestors 'none'";
  std::vector<std::pair<std::string, std::string>> fields{};  // further ones
};

/// What stands at the beginning of what has been received.
struct HttpParsed {
  enum class State { incomplete, complete, refused } state = State::incomplete;
  HttpRequest request{};   // complete
  std::size_t length = 0;  // of the request, in bytes
  HttpResponse refusal{};  // refused; nothing behind it can be understood either
};

[[nodiscard]] HttpParsed parse_http(std::string_view received, const HttpLimits& limits);

/// The answer as it is sent, with the fields that every answer has: nothing that is served may be kept, framed, sniffed
/// at or read by pages from elsewhere.
[[nodiscard]] std::string to_wire(const HttpResponse& response, bool head_only, bool keep_alive);

}  // namespace millrace::admin
