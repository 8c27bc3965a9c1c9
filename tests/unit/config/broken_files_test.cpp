// Every way of getting a configuration wrong: the files in tests/config/broken, each of which begins with what has to
// be said about it, a comment for each problem: "# expect: LINE:COLUMN: error: MESSAGE", as `millrace check` prints it
// behind the name of the file.

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "millrace/config/config.hpp"
#include "snippets.hpp"

namespace millrace::config::test {
namespace {

std::vector<std::string> broken_files() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(MILLRACE_BROKEN_DIR)) {
    paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// The expectations at the head of the file, each as a line without its "# expect: ".
std::string expectations(const std::string& path) {
  const std::string prefix = "# expect: ";
  const std::string byte_order_mark = "\xef\xbb\xbf";
  std::ifstream file(path, std::ios::binary);
  std::string expected;
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with(byte_order_mark)) line.erase(0, byte_order_mark.size());
    if (!line.starts_with(prefix)) break;
    if (line.ends_with('\r')) line.pop_back();
    expected += line.substr(prefix.size()) + "\n";
  }
  return expected;
}

/// "NAME:7:1: error: …" and "NAME: error: …" without the name.
std::string without_name(const std::string& rendered, const std::string& name) {
  std::istringstream lines(rendered);
  std::string out;
  std::string line;
  while (std::getline(lines, line)) {
    const std::string rest = line.substr(name.size() + 1);
    out += rest.substr(rest.starts_with(' ') ? 1 : 0) + "\n";
  }
  return out;
}

TEST_CASE("every broken file gives the problems that it names") {
  const std::vector<std::string> paths = broken_files();
  CHECK(paths.size() >= 500);
  for (const std::string& path : paths) {
    CAPTURE(path);
    const std::string expected = expectations(path);
    CHECK_FALSE(expected.empty());
    const Loaded loaded = load_file(path);
    CHECK_FALSE(loaded.config.has_value());
    CHECK(without_name(render(loaded.diagnostics, path), path) == expected);
  }
}

// ---- what cannot stand in a file with comments at its head, or should not stand in the tree ----

std::string problems_of(const std::string& text) {
  return render(parse(text).diagnostics, "m.toml");
}

TEST_CASE("a file that is UTF-16 says so") {
  using namespace std::string_literals;
  const std::string expected = "m.toml:1:1: error: syntax error: the file is UTF-16, save it as UTF-8\n";
  CHECK(problems_of("\xff\xfe[\0l\0]\0\n\0"s) == expected);
  CHECK(problems_of("\xfe\xff\0[\0l\0]\0\n"s) == expected);
}

TEST_CASE("an empty file has no listener") {
  const std::string expected = "m.toml: error: there is no listener, add [listeners.NAME] with a bind and a pool\n";
  CHECK(problems_of("") == expected);
  CHECK(problems_of("\xef\xbb\xbf") == expected);
  CHECK(problems_of("\n\r\n\t\n") == expected);
}

TEST_CASE("files that end in the middle of the first thing") {
  CHECK(problems_of("[") ==
        "m.toml:1:1: error: syntax error in table header: the file ends before the ] that belongs "
        "to this\n");
  CHECK(problems_of("a = \"x") ==
        "m.toml:1:5: error: syntax error in string: the file ends before the \" that belongs to this\n");
  CHECK(problems_of("a") == "m.toml:1:2: error: syntax error in key-value pair: the file ends in the middle of it\n");
}

TEST_CASE("one mistake in a large file is found where it is") {
  std::string text = kGoodListener;
  for (int i = 0; i < 10'000; ++i) {
    text += "[pools.p" + std::to_string(i) + "]\nbackends = [\"10.0.0.1:80\"]\n";
  }
  CHECK(problems_of(text + kGoodPool + "retires = 1\n") ==
        "m.toml:20006:1: error: pools.web: unknown key \"retires\", did you mean \"retries\"?\n");
  CHECK(problems_of(text + kGoodPool + "retries = \n") ==
        "m.toml:20006:11: error: syntax error in key-value pair: expected value, saw '\\n'\n");
}

TEST_CASE("very many mistakes are all found, in the order of the file") {
  std::string text = kGoodListener + kGoodPool;
  for (int i = 0; i < 2'000; ++i) text += "x" + std::to_string(i) + " = 1\n";
  const Loaded loaded = parse(text);
  CHECK(loaded.diagnostics.size() == 2'000);
  CHECK(std::is_sorted(loaded.diagnostics.begin(), loaded.diagnostics.end(),
                       [](const Diagnostic& a, const Diagnostic& b) { return a.position.line < b.position.line; }));
}

TEST_CASE("a diagnostic without a position names only the file") {
  CHECK(render({{{}, "cannot open"}}, "x.toml") == "x.toml: error: cannot open\n");
  CHECK(render({}, "x.toml").empty());
}

}  // namespace
}  // namespace millrace::config::test
