#pragma once
// Valid configurations drawn from a seed.

#include "millrace/base/rng.hpp"
#include "millrace/config/config.hpp"

namespace millrace::config::test {

[[nodiscard]] Config random_config(Rng& rng);

}  // namespace millrace::config::test
