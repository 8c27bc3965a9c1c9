#pragma once
// Importers: the configuration of another program as TOML for millrace. What has no counterpart is named, line by line,
// as a comment where it would stand and as a note. What is printed loads: lines that millrace refuses (a host name, a
// key that is not built yet) are comments too. Pure; runs on the main thread.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::importer {

enum class Dialect : std::uint8_t { haproxy, nginx, gobetween };

struct Note {
  std::uint32_t line = 0;  // of the file that was read; 0: of no line
  std::string message;

  friend bool operator==(const Note&, const Note&) = default;
};

struct Imported {
  std::string toml;
  std::vector<Note> notes;  // in the order of the file
  bool complete = false;    // the TOML loads; false when nothing is left that could listen or serve
};

/// Takes any text. `file` is what comments call it.
[[nodiscard]] Imported translate(Dialect dialect, std::string_view text, std::string_view file);

/// "FILE:LINE: note: MESSAGE" a line.
[[nodiscard]] std::string render(const std::vector<Note>& notes, std::string_view file);

}  // namespace millrace::importer
