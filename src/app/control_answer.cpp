#include "control_answer.hpp"

#include "millrace/admin/text.hpp"

namespace millrace::app {

using nlohmann::json;

Result<json> result_of(std::string_view answer) {
  const json parsed = json::parse(answer, nullptr, false);
  if (!parsed.is_object() || !parsed.contains("ok")) {
    return Error{"the balancer's answer is not understood; are its version and this one the same?"};
  }
  if (parsed["ok"] == true && parsed.contains("result")) return parsed["result"];
  const json error = parsed.value("error", json::object());
  return Error{error.is_object() ? admin::printable(error.value("message", "it failed")) : "it failed"};
}

}  // namespace millrace::app
