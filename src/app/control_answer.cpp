#include "control_answer.hpp"

#include "millrace/admin/text.hpp"

namespace millrace::app {

using nlohmann::json;

namespace {

/// Of a message that may have several.
std::string printable_lines(const std::string& text) {
  std::string out;
  std::size_t from = 0;
  for (;;) {
    const std::size_t end = text.find('\n', from);
    out += admin::printable(std::string_view(text).substr(from, end - from));
    if (end == std::string::npos) return out;
    out += '\n';
    from = end + 1;
  }
}

}  // namespace

Result<json> result_of(std::string_view answer) {
  const json parsed = json::parse(answer, nullptr, false);
  if (!parsed.is_object() || !parsed.contains("ok")) {
    return Error{"the balancer's answer is not understood; are its version and this one the same?"};
  }
  if (parsed["ok"] == true && parsed.contains("result")) return parsed["result"];
  const json error = parsed.value("error", json::object());
  return Error{error.is_object() ? printable_lines(error.value("message", "it failed")) : "it failed"};
}

}  // namespace millrace::app
