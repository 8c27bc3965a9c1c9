#pragma once
// The file descriptors of this process: how many it may have, and the kernel's table of them.

#include <cstdint>

namespace millrace::app {

/// Raises the soft limit of open files to the hard one, at most to kOpenFilesUsed, and returns what holds then.
[[nodiscard]] std::uint64_t raise_open_files();

/// Lets the kernel make its table of descriptors as large as `open_files` of them need, at most kTableReserved. Later
/// it would grow while connections come, and each time whoever wants a descriptor would wait for all processors (an RCU
/// grace period, expand_fdtable() in Linux fs/file.c; ten milliseconds and more) unless the process has one thread
/// only. Call it before there are threads. Without effect where it fails.
void reserve_descriptors(std::uint64_t open_files);

/// 8 bytes of kernel memory each.
inline constexpr std::uint64_t kTableReserved = 262'144;

}  // namespace millrace::app
