#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <system_error>
#include <variant>

#include "load.hpp"
#include "millrace/base/result.hpp"
#include "millrace/config/config.hpp"

namespace millrace::config {
namespace {

constexpr std::size_t kFileBytesMax = std::size_t{16} << 20U;

Error errno_error(const char* what) {
  return {std::string(what) + ": " + std::generic_category().message(errno)};
}

Result<std::string> read_all(int fd) {
  std::string text;
  std::array<char, 65536> chunk;
  while (true) {
    const ssize_t got = ::read(fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("cannot read");
    if (got == 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(got));
    if (text.size() > kFileBytesMax) return Error{"larger than 16 MiB, this is no configuration"};
  }
}

/// Reads until the end rather than asking for the size: the file may be a pipe.
Result<std::string> read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno_error("cannot open");
  Result<std::string> text = read_all(fd);
  ::close(fd);
  return text;
}

}  // namespace

Loaded load_file(const std::string& path) {
  const Result<std::string> text = read_file(path);
  return text ? parse(text.value()) : failure({}, text.error());
}

}  // namespace millrace::config
