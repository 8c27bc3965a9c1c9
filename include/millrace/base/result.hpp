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

  // Asserting on the pointer, not on ok(), lets the compiler see that it is never null.
  [[nodiscard]] T& value() & {
    T* value = std::get_if<0>(&state_);
    MILLRACE_ASSERT(value != nullptr, "value of a failed result");
    return *value;
  }
  [[nodiscard]] const T& value() const& {
    const T* value = std::get_if<0>(&state_);
    MILLRACE_ASSERT(value != nullptr, "value of a failed result");
    return *value;
  }
  [[nodiscard]] T&& value() && {
    T* value = std::get_if<0>(&state_);
    MILLRACE_ASSERT(value != nullptr, "value of a failed result");
    return std::move(*value);
  }
  [[nodiscard]] const std::string& error() const {
    const Error* error = std::get_if<1>(&state_);
    MILLRACE_ASSERT(error != nullptr, "error of a good result");
    return error->message;
  }

 private:
  std::variant<T, Error> state_;
};

}  // namespace millrace
