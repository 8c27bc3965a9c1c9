#include "millrace/admin/text.hpp"

#include <doctest/doctest.h>

namespace millrace::admin {

TEST_CASE("bytes_text: three or four digits and a unit") {
  CHECK(bytes_text(0) == "0 B");
  CHECK(bytes_text(999) == "999 B");
  CHECK(bytes_text(1000) == "1.0 KiB");
  CHECK(bytes_text(1536) == "1.5 KiB");
  CHECK(bytes_text(std::uint64_t{5} << 30U) == "5.0 GiB");
}

TEST_CASE("time_text: the two largest units") {
  CHECK(time_text(0.44) == "0.4s");
  CHECK(time_text(59.9) == "59s");
  CHECK(time_text(200) == "3m20s");
  CHECK(time_text(18120) == "5h02m");
  CHECK(time_text(86400 * 12 + 3 * 3600) == "12d03h");
}

TEST_CASE("to_text: columns stand below each other, no escape gets through, no colour unless asked") {
  Status status;
  status.version = "1\x1b[2J";
  status.pools = {{.name = "web",
                   .balance = "first",
                   .backends = {{.name = "a", .address = "10.0.0.1:80", .state = "up", .health = "up"},
                                {.name = "longer", .address = "10.0.0.2:80", .state = "down", .health = "down"}}}};
  const std::string plain = to_text(status, false);
  CHECK(plain.find('\x1b') == std::string::npos);
  CHECK(plain.find("a        10.0.0.1:80  up") != std::string::npos);
  CHECK(plain.find("longer   10.0.0.2:80  down") != std::string::npos);
  CHECK(to_text(status, true).find("\x1b[31m") != std::string::npos);
}

}  // namespace millrace::admin
