#include <doctest/doctest.h>

#include "millrace/admin/control_server.hpp"

namespace millrace::admin {

TEST_CASE("may_control: root, the same user, the group of the socket") {
  constexpr uid_t kOwn = 990;
  constexpr gid_t kGroup = 991;
  CHECK(may_control({.uid = 0, .groups = {}}, kOwn, kGroup));
  CHECK(may_control({.uid = kOwn, .groups = {5}}, kOwn, kGroup));
  CHECK(may_control({.uid = 1000, .groups = {1000, 27, kGroup}}, kOwn, kGroup));
}

TEST_CASE("may_control: nobody else") {
  CHECK_FALSE(may_control({.uid = 1000, .groups = {}}, 990, 991));
  CHECK_FALSE(may_control({.uid = 1000, .groups = {1000, 990}}, 990, 991));  // a group with the number of the user
  CHECK_FALSE(may_control({.uid = static_cast<uid_t>(-1), .groups = {}}, 990, 991));
  CHECK_FALSE(may_control({.uid = 1000, .groups = {1000}}, 0, 0));
}

}  // namespace millrace::admin
