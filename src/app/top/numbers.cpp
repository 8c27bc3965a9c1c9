#include "numbers.hpp"

#include <fmt/format.h>

#include <cmath>
#include <string_view>

namespace millrace::app::top {

namespace {

/// With the first unit that leaves at most three digits before the point.
std::string with_unit(double value, double step, std::string_view units) {
  std::size_t unit = 0;
  for (value /= step; value >= 999.5 && unit + 1 < units.size(); ++unit) value /= step;
  return fmt::format("{:.{}f}{}", value, value < 99.95 ? 1 : 0, units[unit]);
}

}  // namespace

std::string count_text(double count) {
  if (count < 0.05) return "0";
  if (count < 9.95) return fmt::format("{:.3g}", std::round(count * 10) / 10);
  if (count < 9999.5) return fmt::format("{:.0f}", count);
  return with_unit(count, 1000, "kMGT");
}

std::string bytes_text(double bytes) {
  return bytes < 999.5 ? fmt::format("{:.0f}", bytes) : with_unit(bytes, 1024, "KMGTP");
}

std::string milliseconds_text(std::optional<double> milliseconds) {
  if (!milliseconds) return "-";
  const double value = *milliseconds;
  const int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}", value, digits);
}

}  // namespace millrace::app::top
