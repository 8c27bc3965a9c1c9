#pragma once
// The names of the balancing algorithms. One enum, used by config, pool, logs and metrics.

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace millrace::balance {

enum class Algorithm : std::uint8_t { least_conn, source_hash, round_robin, random_two, first };

inline constexpr std::array kAlgorithms = {Algorithm::least_conn, Algorithm::source_hash, Algorithm::round_robin,
                                           Algorithm::random_two, Algorithm::first};

[[nodiscard]] std::string_view name(Algorithm algorithm);
[[nodiscard]] std::optional<Algorithm> parse_algorithm(std::string_view text);

}  // namespace millrace::balance
