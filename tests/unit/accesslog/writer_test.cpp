#include "millrace/accesslog/writer.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <thread>

#include <nlohmann/json.hpp>

#include "temporary.hpp"

namespace millrace::accesslog::test {
namespace {

Record of_listener(std::uint32_t listener) {
  Record record;
  record.listener = listener;
  record.close_reason = "client_fin";
  record.ended = std::chrono::steady_clock::now();
  return record;
}

Target to(const std::string& listener, const std::string& path, Format format = Format::json) {
  return {.listener = listener, .path = path, .format = format};
}

void push(Writer& writer, std::uint32_t worker, const Record& record) {
  writer.queue(worker).push(record);
  writer.queue(worker).end_of_pass();
}

template <class Done>
void wait_until(Done&& done) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!done()) {
    REQUIRE(std::chrono::steady_clock::now() < limit);
    std::this_thread::yield();
  }
}

}  // namespace

TEST_CASE("Writer: names, files, formats; listeners may share a file") {
  const Folder folder;
  Writer writer(2);
  REQUIRE(writer
              .set_targets({.listeners = {to("a", folder / "one"), to("b", folder / "one"), to("off", ""),
                                          to("c", folder / "two", Format::text)},
                            .pools = {"p", "q"},
                            .backends = {"x", "y"}})
              .empty());
  for (std::uint32_t listener = 0; listener < 4; ++listener) {
    Record record = of_listener(listener);
    record.pool = listener % 2;
    if (listener != 0) record.backend = listener % 2;
    push(writer, listener % 2, record);
  }
  writer.stop();
  const std::vector<std::string> one = read_lines(folder / "one");
  REQUIRE(one.size() == 2);
  for (const std::string& line : one) {
    const auto json = nlohmann::json::parse(line);
    const bool first = json.at("listener") == "a";
    CHECK((first || json.at("listener") == "b"));
    CHECK(json.at("pool") == (first ? "p" : "q"));
    CHECK(json.at("backend") == (first ? nlohmann::json() : nlohmann::json("y")));
  }
  const std::vector<std::string> two = read_lines(folder / "two");
  REQUIRE(two.size() == 1);
  CHECK(two[0].find(" listener=c pool=q backend=y ") != std::string::npos);
  CHECK(writer.lines() == 3);
  CHECK(writer.lost() == 0);
}

TEST_CASE("Writer: a file that cannot be opened changes nothing") {
  const Folder folder;
  Writer writer(1);
  REQUIRE(writer.set_targets({.listeners = {to("a", folder / "log")}, .pools = {"p"}, .backends = {}}).empty());
  const std::string problem =
      writer.set_targets({.listeners = {to("a", ""), to("b", folder / "no/log")}, .pools = {}, .backends = {}});
  CHECK(problem.starts_with("listener b: cannot open the access log "));
  push(writer, 0, of_listener(0));
  writer.stop();
  CHECK(read_lines(folder / "log").size() == 1);
}

TEST_CASE("Writer: other targets; what was queued before goes where it would have gone") {
  const Folder folder;
  Writer writer(1);
  for (int round = 0; round < 20; ++round) {
    const std::string name = std::to_string(round);
    REQUIRE(writer.set_targets({.listeners = {to(name, folder / name)}, .pools = {}, .backends = {}}).empty());
    for (int i = 0; i < round; ++i) push(writer, 0, of_listener(0));
  }
  writer.stop();
  for (int round = 0; round < 20; ++round) {
    const std::string name = std::to_string(round);
    const std::vector<std::string> lines = read_lines(folder / name);
    CHECK(lines.size() == static_cast<std::size_t>(round));
    for (const std::string& line : lines) CHECK(nlohmann::json::parse(line).at("listener") == name);
  }
}

TEST_CASE("Writer: rotation while records flow loses nothing") {
  const Folder folder;
  Writer writer(1);
  REQUIRE(writer.set_targets({.listeners = {to("a", folder / "log")}, .pools = {}, .backends = {}}).empty());
  constexpr std::uint64_t kRecords = 20'000;
  std::thread producer([&] {
    for (std::uint64_t i = 0; i < kRecords; ++i) push(writer, 0, of_listener(0));
  });
  std::uint64_t rotations = 0;
  while (writer.lines() + writer.dropped() < kRecords) {
    if (::rename((folder / "log").c_str(), (folder / ("log." + std::to_string(rotations))).c_str()) != 0) continue;
    ++rotations;
    writer.reopen();
    struct stat status {};
    wait_until([&] { return ::stat((folder / "log").c_str(), &status) == 0; });
  }
  producer.join();
  writer.stop();
  std::size_t lines = read_lines(folder / "log").size();
  for (std::uint64_t i = 0; i < rotations; ++i) lines += read_lines(folder / ("log." + std::to_string(i))).size();
  CHECK(lines + writer.dropped() == kRecords);
  CHECK(writer.lost() == 0);
  CHECK(rotations > 0);
}

TEST_CASE("Writer: nobody reads; the producer goes on, and all is counted") {
  const Folder folder;
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  Writer writer(1, 64);
  REQUIRE(writer.set_targets({.listeners = {to("a", folder / "fifo")}, .pools = {}, .backends = {}}).empty());
  constexpr std::uint64_t kRecords = 50'000;
  for (std::uint64_t i = 0; i < kRecords; ++i) push(writer, 0, of_listener(0));
  writer.stop(std::chrono::milliseconds(1));
  CHECK(writer.lines() + writer.dropped() == kRecords);
  CHECK(writer.lost() <= writer.lines());
  CHECK(writer.dropped() + writer.lost() > 0);
}

TEST_CASE("Writer: without a target there is no thread") {
  Writer writer(1);
  REQUIRE(writer.set_targets({.listeners = {to("a", "")}, .pools = {}, .backends = {}}).empty());
  push(writer, 0, of_listener(0));
  writer.reopen();
  writer.stop();
  CHECK(writer.lines() == 0);
}

}  // namespace millrace::accesslog::test
