#pragma once
// Words: the values that are one of a few names, each list once.

#include <optional>
#include <span>
#include <string_view>

#include "millrace/config/config.hpp"

namespace millrace::config {

template <class E>
struct Choice {
  std::string_view name;
  std::optional<E> value;  // none: the contract has this word, millrace does not yet
};

template <class E>
[[nodiscard]] std::span<const Choice<E>> choices();

template <>
std::span<const Choice<LogLevel>> choices();
template <>
std::span<const Choice<LogFormat>> choices();
template <>
std::span<const Choice<Protocol>> choices();
template <>
std::span<const Choice<Forwarding>> choices();
template <>
std::span<const Choice<HashKey>> choices();
template <>
std::span<const Choice<HealthType>> choices();
template <>
std::span<const Choice<ProbeClose>> choices();
template <>
std::span<const Choice<OnDown>> choices();
template <>
std::span<const Choice<balance::Algorithm>> choices();

}  // namespace millrace::config
