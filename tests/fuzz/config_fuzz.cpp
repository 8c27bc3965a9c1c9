// Any bytes as a configuration file: parse() gives diagnostics, or a configuration that reads back as the same.
// Also as a quick form of either protocol, the first line being the address to listen on and the others the backends.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "millrace/base/assert.hpp"
#include "millrace/config/config.hpp"

namespace {

using millrace::config::Loaded;

void check(const Loaded& loaded) {
  MILLRACE_ASSERT(loaded.config.has_value() == loaded.diagnostics.empty(), "either a configuration or diagnostics");
  if (!loaded.config) return;
  const Loaded again = millrace::config::parse(millrace::config::to_toml(*loaded.config));
  MILLRACE_ASSERT(again.config.has_value(), "what was written can be read");
  MILLRACE_ASSERT(*again.config == *loaded.config, "what was written reads back as the same");
}

millrace::config::QuickForm quick_form(std::string_view text, bool udp) {
  millrace::config::QuickForm quick;
  quick.udp = udp;
  while (true) {
    const std::size_t end = text.find('\n');
    auto& list = quick.listen.empty() ? quick.listen : quick.backends;
    list.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return quick;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(millrace::config::parse(text));
  check(millrace::config::from_quick_form(quick_form(text, false)));
  check(millrace::config::from_quick_form(quick_form(text, true)));
  return 0;
}
