#include "io/setup_failure.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <set>

#include "millrace/io/uring_io.hpp"

namespace millrace::io {
namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("no io_uring in the kernel") {
  const std::string text = explain_setup_failure(ENOSYS, {.kernel_release = "4.18.0-553"});
  CHECK(contains(text, "4.18.0-553"));
  CHECK(contains(text, "CONFIG_IO_URING"));
  CHECK(contains(text, "6.1"));
}

TEST_CASE("io_uring turned off for all by the sysctl") {
  const std::string text = explain_setup_failure(EPERM, {.disabled = 2, .group = -1});
  CHECK(contains(text, "kernel.io_uring_disabled = 2"));
  CHECK(contains(text, "every process"));
  CHECK(contains(text, "sysctl -w kernel.io_uring_disabled=0"));
  CHECK(contains(text, "/proc/sys/kernel/io_uring_disabled"));
  CHECK_FALSE(contains(text, "io_uring_group"));
  CHECK_FALSE(contains(text, "seccomp"));
}

TEST_CASE("io_uring allowed to a group only") {
  const std::string text = explain_setup_failure(EPERM, {.disabled = 1, .group = 998});
  CHECK(contains(text, "kernel.io_uring_disabled = 1"));
  CHECK(contains(text, "kernel.io_uring_group"));
  CHECK(contains(text, "998"));
  CHECK(contains(text, "CAP_SYS_ADMIN"));
  const std::string no_group = explain_setup_failure(EPERM, {.disabled = 1, .group = -1});
  CHECK(contains(no_group, "none is set"));
  CHECK(contains(no_group, "kernel.io_uring_group=GID"));
}

TEST_CASE("EPERM without the sysctl is a filter of a container") {
  for (const std::optional<int> disabled : {std::optional<int>(0), std::optional<int>()}) {
    const std::string text = explain_setup_failure(EPERM, {.disabled = disabled});
    CHECK(contains(text, "seccomp"));
    CHECK(contains(text, "Docker"));
    CHECK(contains(text, "Kubernetes"));
    CHECK(contains(text, "--security-opt"));
    CHECK_FALSE(contains(text, "sysctl -w"));
  }
}

TEST_CASE("not enough memory names the limit") {
  const std::string text = explain_setup_failure(ENOMEM, {.memlock_bytes = 65536});
  CHECK(contains(text, "64 KiB"));
  CHECK(contains(text, "LimitMEMLOCK="));
  CHECK(contains(explain_setup_failure(ENOMEM, {}), "unlimited"));
}

TEST_CASE("every cause has its own words") {
  const std::set<std::string> texts = {
      explain_setup_failure(ENOSYS, {}),
      explain_setup_failure(EPERM, {.disabled = 1}),
      explain_setup_failure(EPERM, {.disabled = 2}),
      explain_setup_failure(EPERM, {}),
      explain_setup_failure(ENOMEM, {}),
      explain_setup_failure(EMFILE, {}),
      explain_setup_failure(ENFILE, {}),
      explain_setup_failure(EINVAL, {}),
  };
  CHECK(texts.size() == 8);
}

TEST_CASE("kernels whose multishot accept is unsafe") {
  CHECK(multishot_accept_is_unsafe("6.6.0"));
  CHECK(multishot_accept_is_unsafe("6.6.52-1-lts"));
  CHECK(multishot_accept_is_unsafe("6.7.12+bpo-amd64"));
  CHECK(multishot_accept_is_unsafe("6.8.0-rc1"));
  CHECK(multishot_accept_is_unsafe("6.8-rc3"));
}

TEST_CASE("kernels whose multishot accept is safe") {
  CHECK_FALSE(multishot_accept_is_unsafe("6.1.0-25-amd64"));
  CHECK_FALSE(multishot_accept_is_unsafe("6.5.0-44-generic"));
  CHECK_FALSE(multishot_accept_is_unsafe("6.8.0-rc4"));
  CHECK_FALSE(multishot_accept_is_unsafe("6.8.0-31-generic"));
  CHECK_FALSE(multishot_accept_is_unsafe("6.12.0"));
  CHECK_FALSE(multishot_accept_is_unsafe("6.60.0"));
  CHECK_FALSE(multishot_accept_is_unsafe("7.6.1"));
  CHECK_FALSE(multishot_accept_is_unsafe("5.6.0"));
  CHECK_FALSE(multishot_accept_is_unsafe("16.6.0"));
}

TEST_CASE("a release that cannot be read is taken as safe") {
  CHECK_FALSE(multishot_accept_is_unsafe(""));
  CHECK_FALSE(multishot_accept_is_unsafe("6"));
  CHECK_FALSE(multishot_accept_is_unsafe("6."));
  CHECK_FALSE(multishot_accept_is_unsafe("linux"));
  CHECK_FALSE(multishot_accept_is_unsafe("6.8-rc"));
}

TEST_CASE("features as text") {
  CHECK(UringFeatures{}.to_string() == "none");
  UringFeatures features;
  features.io_uring = true;
  CHECK(features.to_string() == "io_uring");
  features.defer_taskrun = true;
  features.min_wait = true;
  CHECK(features.to_string() == "io_uring defer_taskrun min_wait");
}

}  // namespace millrace::io
