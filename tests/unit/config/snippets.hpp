#pragma once
// Configurations that are good but for what a test adds to them.

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace millrace::config::test {

inline const std::string kGoodListener = "[listeners.web]\nbind = \"*:80\"\npool = \"web\"\n";  // lines 1 to 3
inline const std::string kGoodPool = "[pools.web]\nbackends = [\"10.0.0.1:80\"]\n";

/// The paths of the examples that come with millrace.
inline std::vector<std::string> examples() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(MILLRACE_CONF_DIR)) {
    if (entry.path().extension() == ".toml") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// `extra` goes into the listener, from line 4 on.
inline std::string with_listener(const std::string& extra) {
  return kGoodListener + extra + "\n" + kGoodPool;
}
/// `extra` goes into the pool, from line 6 on, behind its only backend 10.0.0.1:80.
inline std::string with_pool(const std::string& extra) {
  return kGoodListener + kGoodPool + extra + "\n";
}
/// `backends` is the value of `backends`, which begins in column 12 of line 5.
inline std::string with_backends(const std::string& backends) {
  return kGoodListener + "[pools.web]\nbackends = " + backends + "\n";
}
/// `runtime` goes into the table of that name, from line 7 on.
inline std::string with_runtime(const std::string& extra) {
  return kGoodListener + kGoodPool + "[runtime]\n" + extra + "\n";
}

}  // namespace millrace::config::test
