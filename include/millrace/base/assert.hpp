#pragma once
// Assertions that stay on in release builds: they state what must hold whatever the outside world does.
// A violated one is a programmer's error; it prints where and what, then aborts. Never assert what a peer, the
// kernel or a configuration decides.

namespace millrace {

[[noreturn]] void assert_failed(const char* condition, const char* what, const char* file, int line) noexcept;

}  // namespace millrace

#define MILLRACE_ASSERT(condition, what) \
  (static_cast<bool>(condition) ? void() : ::millrace::assert_failed(#condition, what, __FILE__, __LINE__))
