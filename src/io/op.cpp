#include "millrace/io/op.hpp"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace millrace::io {
namespace {

constexpr std::array<std::string_view, kOpKinds> kKindNames = {
    "none",       "accept",  "connect",  "recv",  "send",           "splice_in",
    "splice_out", "poll_in", "poll_out", "watch", "recv_datagrams", "send_datagrams",
};
static_assert(static_cast<unsigned>(OpKind::send_datagrams) + 1 == kOpKinds);

}  // namespace

std::string OpTag::to_string() const {
  const auto index = static_cast<std::size_t>(kind());
  const std::string name = index < kKindNames.size() ? std::string(kKindNames[index]) : fmt::format("kind{}", index);
  return fmt::format("{} side={} slot={} generation={}", name, side(), slot(), generation());
}

}  // namespace millrace::io
