#pragma once
// "Did you mean": the candidate that a person most likely wanted to type.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::config {

/// Edits (insert, delete, replace, swap of neighbours) from `a` to `b`; `limit + 1` for anything above `limit`.
/// Algorithm: optimal string alignment, the restricted Damerau-Levenshtein distance (Damerau, CACM 7(3), 1964;
/// Wagner and Lowrance, J. ACM 22(2), 1975).
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b, std::size_t limit);

/// A candidate one edit away, else the shortest one that `word` (of three letters or more) is the beginning of, else,
/// for words of five letters or more, one that is two edits away. Upper case and lower case, '-' and '_' count as the
/// same. The first of equals wins. Among more than a thousand candidates nothing is suggested.
[[nodiscard]] std::optional<std::string_view> suggest(std::string_view word,
                                                      const std::vector<std::string_view>& candidates);

/// The candidate that other programs, or people, call `word`: bind for listen, idle_timeout for timeout.
[[nodiscard]] std::optional<std::string_view> translate(std::string_view word,
                                                        const std::vector<std::string_view>& candidates);

/// `, did you mean "…"?` or nothing.
[[nodiscard]] std::string did_you_mean(std::optional<std::string_view> suggestion);

}  // namespace millrace::config
