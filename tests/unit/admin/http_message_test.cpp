#include "millrace/admin/http_message.hpp"

#include <doctest/doctest.h>

namespace millrace::admin {

namespace {

using State = HttpParsed::State;
constexpr HttpLimits kLimits{.head_bytes = 200, .body_bytes = 20};

HttpRequest good(std::string_view text) {
  const HttpParsed parsed = parse_http(text, kLimits);
  CAPTURE(text);
  REQUIRE(parsed.state == State::complete);
  CHECK(parsed.length == text.size());
  return parsed.request;
}

int refused(std::string_view text) {
  const HttpParsed parsed = parse_http(text, kLimits);
  CAPTURE(text);
  CHECK(parsed.state == State::refused);
  CHECK_FALSE(parsed.refusal.body.empty());
  return parsed.refusal.status;
}

std::string with_fields(std::string_view fields) {
  return "GET / HTTP/1.1\r\nHost: x\r\n" + std::string(fields) + "\r\n";
}

}  // namespace

TEST_CASE("a request is taken apart") {
  const HttpRequest request =
      good("GET /api/v1/why?client=10.0.0.1%3A5&listener=a+b&&flag HTTP/1.1\r\nHOST:  x:1 \r\nAccept:\r\n\r\n");
  CHECK(request.method == "GET");
  CHECK(request.path == "/api/v1/why");
  CHECK(request.query ==
        std::map<std::string, std::string>{{"client", "10.0.0.1:5"}, {"listener", "a b"}, {"flag", ""}});
  CHECK(request.field("host") == "x:1");
  CHECK(request.field("accept").empty());
  CHECK(request.field("never-sent").empty());
  CHECK(request.keep_alive);
  CHECK(request.body.empty());
}

TEST_CASE("every beginning of a request is incomplete") {
  const std::string whole = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CHECK(parse_http(std::string_view(whole).substr(0, length), kLimits).state == State::incomplete);
  }
  CHECK(good(whole).body == "hello");
  const HttpParsed two = parse_http(whole + "GET", kLimits);
  CHECK(two.state == State::complete);
  CHECK(two.length == whole.size());
}

TEST_CASE("who wants to go after the answer") {
  CHECK_FALSE(good("GET / HTTP/1.0\r\n\r\n").keep_alive);
  CHECK_FALSE(good(with_fields("Connection: Close\r\n")).keep_alive);
  CHECK(good(with_fields("Connection: keep-alive\r\n")).keep_alive);
}

TEST_CASE("what is no request") {
  for (const char* line :
       {"", "GET", "GET /", "GET / HTTP/2", "GET / http/1.1", "GET  / HTTP/1.1", "GET x HTTP/1.1",
        "GET http://x/ HTTP/1.1", "G\xc3\xa9T / HTTP/1.1", "GET /\x01 HTTP/1.1", "GET /\xff HTTP/1.1",
        "GET /?a=%zz HTTP/1.1", "GET /?a=%4 HTTP/1.1", "GET /?%-1=a HTTP/1.1", "GET /a b HTTP/1.1"}) {
    CHECK(refused(std::string(line) + "\r\nHost: x\r\n\r\n") == 400);
  }
}

TEST_CASE("header fields that are not well written") {
  CHECK(refused("GET / HTTP/1.1\r\n\r\n") == 400);  // no Host
  for (const char* field : {"no colon\r\n", ": empty\r\n", "X : blank\r\n", "X: a\r\n folded\r\n", "X: a\rb\r\n",
                            "X: a\nb\r\n", "X: a\x7f\r\n", "host: again\r\n",
                            "Content-Length: 1\r\nContent-Length: 1\r\n", "Authorization: a\r\nAuthorization: b\r\n"}) {
    CHECK(refused(with_fields(field)) == 400);
  }
  CHECK(refused(with_fields(std::string("X: a\0b\r\n", 8))) == 400);
}

TEST_CASE("sizes have bounds") {
  CHECK(refused(std::string(200, 'a')) == 431);
  CHECK(refused(with_fields("X: " + std::string(200, 'a') + "\r\n")) == 431);
  CHECK(parse_http(std::string(199, 'a'), kLimits).state == State::incomplete);
  CHECK(refused(with_fields("Content-Length: 21\r\n")) == 413);
  CHECK(refused(with_fields("Content-Length: 99999999999999999999999\r\n")) == 413);
  for (const char* length : {"", "-1", "+1", "1x", "0x1", "1, 1"}) {
    CHECK(refused(with_fields("Content-Length: " + std::string(length) + "\r\n")) == 400);
  }
  CHECK(refused(with_fields("Transfer-Encoding: chunked\r\n")) == 501);
}

TEST_CASE("an answer") {
  HttpResponse response{.status = 405, .body = "no\n"};
  response.fields.emplace_back("Allow", "GET");
  const std::string text = to_wire(response, false, true);
  CHECK(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
  CHECK(text.ends_with("\r\nAllow: GET\r\n\r\nno\n"));
  for (const char* line :
       {"Content-Length: 3", "Connection: keep-alive", "Cache-Control: no-store", "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer", "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'"}) {
    CHECK(text.find("\r\n" + std::string(line) + "\r\n") != std::string::npos);
  }
  const std::string head = to_wire(response, true, false);
  CHECK(head.ends_with("\r\n\r\n"));
  CHECK(head.find("Content-Length: 3\r\n") != std::string::npos);
  CHECK(head.find("Connection: close\r\n") != std::string::npos);
}

}  // namespace millrace::admin
