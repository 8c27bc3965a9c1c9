#pragma once
// The protocol of the control socket (docs/control.md): a request is a line of JSON, and so is its answer.

#include <string>
#include <string_view>

namespace millrace::admin {

class Operator;

inline constexpr int kProtocolVersion = 1;
/// The longest request, without its newline.
inline constexpr std::size_t kRequestBytesMax = 16'384;

/// Does what a request asks for and returns the answer, with its newline. Never throws, whatever the request is.
[[nodiscard]] std::string answer(std::string_view request, Operator& desk);
/// The answer to what is no request.
[[nodiscard]] std::string refusal(std::string_view code, std::string_view message);

}  // namespace millrace::admin
