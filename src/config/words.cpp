#include "words.hpp"

#include <array>
#include <vector>

namespace millrace::config {
namespace {

constexpr std::array kLogLevels = {Choice<LogLevel>{"error", LogLevel::error}, Choice<LogLevel>{"warn", LogLevel::warn},
                                   Choice<LogLevel>{"info", LogLevel::info},
                                   Choice<LogLevel>{"debug", LogLevel::debug}};
constexpr std::array kLogFormats = {Choice<LogFormat>{"text", LogFormat::text},
                                    Choice<LogFormat>{"json", LogFormat::json}};
constexpr std::array kProtocols = {Choice<Protocol>{"tcp", Protocol::tcp}, Choice<Protocol>{"udp", Protocol::udp}};
constexpr std::array kForwardings = {Choice<Forwarding>{"auto", Forwarding::automatic},
                                     Choice<Forwarding>{"copy", Forwarding::copy},
                                     Choice<Forwarding>{"splice", Forwarding::splice}};
constexpr std::array kHashKeyWords = {Choice<HashKey>{"source_ip", HashKey::source_ip},
                                      Choice<HashKey>{"source_ip_port", HashKey::source_ip_port}};
constexpr std::array kHealthTypes = {Choice<HealthType>{"tcp", HealthType::tcp},
                                     Choice<HealthType>{"udp", HealthType::udp},
                                     Choice<HealthType>{"none", HealthType::none}};
constexpr std::array kProbeCloses = {Choice<ProbeClose>{"fin", ProbeClose::fin},
                                     Choice<ProbeClose>{"rst", ProbeClose::rst}};
constexpr std::array kOnDowns = {Choice<OnDown>{"keep", OnDown::keep}, Choice<OnDown>{"close", OnDown::close}};

}  // namespace

template <>
std::span<const Choice<LogLevel>> choices() {
  return kLogLevels;
}
template <>
std::span<const Choice<LogFormat>> choices() {
  return kLogFormats;
}
template <>
std::span<const Choice<Protocol>> choices() {
  return kProtocols;
}
template <>
std::span<const Choice<Forwarding>> choices() {
  return kForwardings;
}
template <>
std::span<const Choice<HashKey>> choices() {
  return kHashKeyWords;
}
template <>
std::span<const Choice<HealthType>> choices() {
  return kHealthTypes;
}
template <>
std::span<const Choice<ProbeClose>> choices() {
  return kProbeCloses;
}
template <>
std::span<const Choice<OnDown>> choices() {
  return kOnDowns;
}
/// The names of the algorithms are balance's own.
template <>
std::span<const Choice<balance::Algorithm>> choices() {
  static const std::vector<Choice<balance::Algorithm>> all = [] {
    std::vector<Choice<balance::Algorithm>> list;
    list.reserve(balance::kAlgorithms.size() + 1);
    for (const balance::Algorithm algorithm : balance::kAlgorithms)
      list.push_back({balance::name(algorithm), algorithm});
    list.push_back({"least_latency", std::nullopt});
    return list;
  }();
  return all;
}

}  // namespace millrace::config
