#include "millrace/base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace millrace {

void assert_failed(const char* condition, const char* what, const char* file, int line) noexcept {
  std::fprintf(stderr, "millrace: bug: %s (%s) at %s:%d\n", what, condition, file, line);
  std::fflush(stderr);
  std::abort();
}

}  // namespace millrace
