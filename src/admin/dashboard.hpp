#pragma once
// The dashboard: a page that was embedded at build time, with what its Content-Security-Policy has to allow.

#include <string_view>

namespace millrace::admin {

[[nodiscard]] std::string_view dashboard_html();
/// "script-src 'sha256-…'; style-src 'sha256-…'": the page's own, and nothing else.
[[nodiscard]] std::string_view dashboard_sources();

}  // namespace millrace::admin
