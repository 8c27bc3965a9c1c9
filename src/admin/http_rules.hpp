#pragma once
// Who is behind an HTTP request, as far as its header fields tell. Pure.

#include <string_view>

#include "millrace/admin/http_message.hpp"

namespace millrace::admin {

/// Whether a Host field names this machine itself: localhost, or an address. A page from elsewhere can make its own
/// name lead to 127.0.0.1 (DNS rebinding), but then it is its own name that stands there.
[[nodiscard]] bool names_this_machine(std::string_view host);

/// False when a browser says that the request was made by a page from elsewhere.
[[nodiscard]] bool same_origin(const HttpRequest& request);

/// Whether the request has "Authorization: Bearer TOKEN". How long it takes does not tell how much of it is right.
[[nodiscard]] bool has_token(const HttpRequest& request, std::string_view token);

}  // namespace millrace::admin
