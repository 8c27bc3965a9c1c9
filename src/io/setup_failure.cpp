#include "setup_failure.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <system_error>

namespace millrace::io {
namespace {

std::string explain_sysctl(int value, std::optional<int> group) {
  std::string text = fmt::format("io_uring is turned off by kernel.io_uring_disabled = {} ", value);
  if (value == 1) {
    text += "(only processes with CAP_SYS_ADMIN or in the group kernel.io_uring_group may use it";
    if (group && *group >= 0) {
      text +=
          fmt::format("; it is {}). Add the user that millrace runs as to that group, or allow it to all: ", *group);
    } else {
      text +=
          "; none is set). Set the group that millrace runs as, `sysctl -w kernel.io_uring_group=GID`, or allow it "
          "to all: ";
    }
  } else {
    text += "(for every process). Allow it: ";
  }
  return text +
         "`sysctl -w kernel.io_uring_disabled=0`, and to keep it `echo kernel.io_uring_disabled=0 > "
         "/etc/sysctl.d/60-millrace.conf`. The value is in /proc/sys/kernel/io_uring_disabled";
}

std::string explain_seccomp() {
  return "a seccomp filter or security module forbids io_uring (EPERM, while the sysctl kernel.io_uring_disabled does "
         "not). The default profiles of Docker (25 and later), containerd and Kubernetes (RuntimeDefault) do that. Use "
         "a "
         "profile that allows io_uring_setup, io_uring_enter and io_uring_register: Docker `--security-opt "
         "seccomp=PROFILE.json`, Kubernetes `seccompProfile: {type: Localhost, localhostProfile: PROFILE.json}`; "
         "systemd: SystemCallFilter=@system-service includes them";
}

std::string explain_missing(const std::string& release) {
  return fmt::format(
      "this kernel{}{} has no io_uring (ENOSYS): it is older than 5.1, or was built without CONFIG_IO_URING, or a "
      "sandbox such as gVisor hides it. millrace needs Linux 6.1 or later",
      release.empty() ? "" : " ", release);
}

std::string explain_memory(std::optional<std::uint64_t> memlock_bytes) {
  const std::string limit = memlock_bytes ? fmt::format("{} KiB", *memlock_bytes / 1024) : std::string("unlimited");
  return fmt::format(
      "not enough memory for the ring (ENOMEM). Locked memory is limited to {}: raise it (systemd: "
      "LimitMEMLOCK=infinity, shell: `ulimit -l unlimited`); else the memory limit of the cgroup is reached",
      limit);
}

/// Reads a decimal number and steps over it; false when there is none.
bool take_number(std::string_view& text, unsigned& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

}  // namespace

std::string explain_setup_failure(int error, const SetupContext& context) {
  switch (error) {
    case ENOSYS:
      return explain_missing(context.kernel_release);
    case EPERM:
    case EACCES:
      return context.disabled.value_or(0) > 0 ? explain_sysctl(*context.disabled, context.group) : explain_seccomp();
    case ENOMEM:
      return explain_memory(context.memlock_bytes);
    case EMFILE:
      return "this process has too many open files for a ring (EMFILE). Raise the limit (systemd: LimitNOFILE=, shell: "
             "`ulimit -n`)";
    case ENFILE:
      return "the system has too many open files for a ring (ENFILE). Raise it: `sysctl -w fs.file-max=…`";
    default:
      return fmt::format("io_uring cannot be set up: {}", std::generic_category().message(error));
  }
}

bool multishot_accept_is_unsafe(std::string_view kernel_release) {
  unsigned major = 0;
  unsigned minor = 0;
  std::string_view rest = kernel_release;
  if (!take_number(rest, major) || !rest.starts_with('.')) return false;
  rest.remove_prefix(1);
  if (!take_number(rest, minor) || major != 6) return false;
  if (minor == 6 || minor == 7) return true;
  const std::size_t candidate = rest.find("-rc");
  if (minor != 8 || candidate == std::string_view::npos) return false;
  rest.remove_prefix(candidate + 3);
  unsigned number = 0;
  return take_number(rest, number) && number <= 3;
}

}  // namespace millrace::io
