#include "sink.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "temporary.hpp"

namespace millrace::accesslog::test {
namespace {

std::shared_ptr<Sink> open_sink(const std::string& path, Counter& lost) {
  Result<std::shared_ptr<Sink>> opened = Sink::open(path, lost);
  REQUIRE_MESSAGE(opened.ok(), (opened.ok() ? std::string() : opened.error()));
  return std::move(opened).value();
}

/// Everything that is in a FIFO now.
std::string drain(int fd) {
  std::string all;
  std::array<char, 65536> bytes{};
  for (ssize_t got = 0; (got = ::read(fd, bytes.data(), bytes.size())) > 0;) {
    all.append(bytes.data(), static_cast<std::size_t>(got));
  }
  return all;
}

}  // namespace

TEST_CASE("Sink: appends to a file, which nobody else may read") {
  const Folder folder;
  Counter lost;
  for (const char* line : {"one\n", "two\n"}) {
    const auto sink = open_sink(folder / "log", lost);
    sink->add(line);
    CHECK(sink->pending());
    CHECK(sink->write());
    CHECK_FALSE(sink->pending());
    CHECK_FALSE(sink->write());
  }
  CHECK(read_file(folder / "log") == "one\ntwo\n");
  struct stat status {};
  REQUIRE(::stat((folder / "log").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U & ~0640U) == 0);
}

TEST_CASE("Sink: what cannot be opened says why, and what helps") {
  const Folder folder;
  Counter lost;
  const auto missing = Sink::open(folder / "no/log", lost);
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error() ==
        "cannot open the access log " + (folder / "no/log") + ": No such file or directory; make its folder");
  CHECK(Sink::open("/proc", lost).error().find("name a file in it") != std::string::npos);
}

TEST_CASE("Sink: a new file after reopen; a path that is in the way leaves the old one") {
  const Folder folder;
  Counter lost;
  const auto sink = open_sink(folder / "log", lost);
  sink->add("old\n");
  REQUIRE(::rename((folder / "log").c_str(), (folder / "log.1").c_str()) == 0);
  CHECK(sink->reopen().empty());
  sink->add("new\n");
  sink->write();
  CHECK(read_file(folder / "log.1") == "old\n");
  CHECK(read_file(folder / "log") == "new\n");
  REQUIRE(::unlink((folder / "log").c_str()) == 0);
  REQUIRE(::mkdir((folder / "log").c_str(), 0700) == 0);
  CHECK(sink->reopen().find("Is a directory") != std::string::npos);
  sink->add("more\n");
  CHECK(sink->write());
  CHECK(lost.get() == 0);
}

TEST_CASE("Sink: a full device loses whole lines, and tells") {
  Counter lost;
  const auto sink = open_sink("/dev/full", lost);
  const auto now = std::chrono::steady_clock::now();
  CHECK_FALSE(sink->failure_due(now));
  for (int i = 0; i < 5; ++i) sink->add("line\n");
  CHECK_FALSE(sink->write());
  CHECK_FALSE(sink->pending());
  CHECK(lost.get() == 5);
  REQUIRE(sink->failure_due(now));
  const Sink::Failure failure = sink->take_failure(now);
  CHECK(failure.error == ENOSPC);
  CHECK(failure.lines == 5);
  sink->add("line\n");
  sink->write();
  CHECK_FALSE(sink->failure_due(now));  // not again so soon
  CHECK(sink->failure_due(now + std::chrono::minutes(1)));
  CHECK(sink->take_overrun() == 0);
  CHECK(lost.get() == 6);
}

TEST_CASE("Sink: a FIFO that nobody reads holds a bounded number of lines; none is torn when it is read again") {
  const Folder folder;
  Counter lost;
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  const auto sink = open_sink(folder / "fifo", lost);
  const std::string line = std::string(99, 'x') + '\n';
  constexpr std::uint64_t kLines = 30'000;
  for (std::uint64_t i = 0; i < kLines; ++i) sink->add(line);
  CHECK(lost.get() > 0);
  CHECK(sink->take_overrun() == lost.get());
  CHECK(sink->pending());
  const int reader = ::open((folder / "fifo").c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(reader >= 0);
  std::string all;
  while (sink->pending()) {
    all += drain(reader);
    sink->write();
  }
  all += drain(reader);
  ::close(reader);
  CHECK(all.size() % line.size() == 0);
  CHECK(all.size() / line.size() + lost.get() == kLines);
  bool whole = true;
  for (std::size_t at = 0; at < all.size(); at += line.size()) whole = whole && all.compare(at, line.size(), line) == 0;
  CHECK(whole);
}

}  // namespace millrace::accesslog::test
