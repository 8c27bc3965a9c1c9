#pragma once
// The three translations.

#include <string_view>

#include "draft.hpp"

namespace millrace::importer {

void translate_haproxy(std::string_view text, Draft& draft);
void translate_nginx(std::string_view text, Draft& draft);
/// TOML, or JSON where the text begins with '{'.
void translate_gobetween(std::string_view text, Draft& draft);

}  // namespace millrace::importer
