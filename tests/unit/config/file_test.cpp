#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>

#include "millrace/config/config.hpp"
#include "snippets.hpp"

namespace millrace::config::test {
namespace {

/// An unnamed temporary file, reached by the path of its descriptor.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) : file_(std::tmpfile()) {
    REQUIRE(file_ != nullptr);
    REQUIRE(std::fwrite(text.data(), 1, text.size(), file_) == text.size());
    REQUIRE(std::fflush(file_) == 0);
  }
  ~TemporaryFile() { std::fclose(file_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(fileno(file_)); }

 private:
  std::FILE* file_;
};

std::string only_problem(const std::string& path) {
  const Loaded loaded = load_file(path);
  CHECK_FALSE(loaded.config.has_value());
  REQUIRE(loaded.diagnostics.size() == 1);
  CHECK(loaded.diagnostics[0].position == Position{});
  return loaded.diagnostics[0].message;
}

TEST_CASE("a file is read and parsed") {
  const TemporaryFile file(with_pool("retries = 9"));
  const Loaded loaded = load_file(file.path());
  REQUIRE(loaded.config.has_value());
  CHECK(loaded.config->pools[0].retries == 9);
}

TEST_CASE("a configuration may come through a pipe") {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const std::string text = with_pool("");
  REQUIRE(::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  ::close(ends[1]);
  CHECK(load_file("/proc/self/fd/" + std::to_string(ends[0])).config.has_value());
  ::close(ends[0]);
}

TEST_CASE("a file that cannot be read says why") {
  CHECK(only_problem("/nonexistent/millrace.toml") == "cannot open: No such file or directory");
  CHECK(only_problem("/") == "cannot read: Is a directory");
  CHECK(only_problem("") == "cannot open: No such file or directory");
}

TEST_CASE("a file of any size is refused before it fills the memory") {
  CHECK(only_problem("/dev/zero") == "larger than 16 MiB, this is no configuration");
}

TEST_CASE("a file of 16 MiB is still read") {
  std::string text = with_pool("");
  text += '#';
  text.resize((std::size_t{16} << 20U) - 1, 'x');
  text += '\n';
  const TemporaryFile file(text);
  CHECK(load_file(file.path()).config.has_value());
  const TemporaryFile larger(text + '\n');
  CHECK(only_problem(larger.path()) == "larger than 16 MiB, this is no configuration");
}

}  // namespace
}  // namespace millrace::config::test
