#include "millrace/import/import.hpp"

#include <fmt/format.h>

#include <iterator>

#include "dialects.hpp"
#include "draft.hpp"
#include "values.hpp"

namespace millrace::importer {

Imported translate(Dialect dialect, std::string_view text, std::string_view file) {
  Draft draft;
  switch (dialect) {
    case Dialect::haproxy:
      translate_haproxy(text, draft);
      break;
    case Dialect::nginx:
      translate_nginx(text, draft);
      break;
    case Dialect::gobetween:
      translate_gobetween(text, draft);
      break;
  }
  return draft.finish(file);
}

std::string render(const std::vector<Note>& notes, std::string_view file) {
  std::string out;
  for (const Note& note : notes) {
    if (note.line == 0) {
      fmt::format_to(std::back_inserter(out), "{}: note: {}\n", file, one_line(note.message));
    } else {
      fmt::format_to(std::back_inserter(out), "{}:{}: note: {}\n", file, note.line, one_line(note.message));
    }
  }
  return out;
}

}  // namespace millrace::importer
