// Any bytes as a file of each program that can be imported: what comes out loads, or says that nothing is left.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "millrace/base/assert.hpp"
#include "millrace/config/config.hpp"
#include "millrace/import/import.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace millrace;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto dialect : {importer::Dialect::haproxy, importer::Dialect::nginx, importer::Dialect::gobetween}) {
    const importer::Imported imported = importer::translate(dialect, text, "file");
    const config::Loaded loaded = config::parse(imported.toml);
    MILLRACE_ASSERT(loaded.config.has_value() == imported.complete, "complete is what loads");
    // What is left out is commented out; the text as such is always TOML with tables, or has nothing to listen on.
    for (const config::Diagnostic& diagnostic : loaded.diagnostics) {
      MILLRACE_ASSERT(diagnostic.message.find("syntax") == std::string::npos, "what is written is TOML");
    }
  }
  return 0;
}
