#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "millrace/base/log.hpp"

int main(int argc, char** argv) {
  // The tests provoke local faults by the dozen; their warnings would hide a failure.
  millrace::log::start(millrace::log::Level::error, millrace::log::Format::text);
  const int status = doctest::Context(argc, argv).run();
  millrace::log::stop();
  return status;
}
