#pragma once
// Result<T>: a value, or an Error that a person can act on. Used at start-up and in parsers; the data path uses
// negative errno values instead. (std::expected is not usable with clang 14, which Debian 12 ships.)

#include <string>
#include <utility>
#include <variant>

#include "millrace/base/assert.hpp"

namespace millrace {

struct Error {
  std::string message;  // what went wrong, where, and what to do about it
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  [[nodiscard]] T& value() & {
    MILLRACE_ASSERT(ok(), "value of a failed result");
    return *std::get_if<0>(&state_);
  }
  [[nodiscard]] const T& value() const& {
    MILLRACE_ASSERT(ok(), "value of a failed result");
    return *std::get_if<0>(&state_);
  }
  [[nodiscard]] T&& value() && {
    MILLRACE_ASSERT(ok(), "value of a failed result");
    return std::move(*std::get_if<0>(&state_));
  }
  [[nodiscard]] const std::string& error() const {
    MILLRACE_ASSERT(!ok(), "error of a good result");
    return std::get_if<1>(&state_)->message;
  }

 private:
  std::variant<T, Error> state_;
};

}  // namespace millrace
