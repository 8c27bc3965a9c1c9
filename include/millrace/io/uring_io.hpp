#pragma once
// UringIo: Io on one io_uring. Created and used on one thread (SINGLE_ISSUER, DEFER_TASKRUN), except wake().
// Owns the ring, its buffer group and the wake-up descriptor; does not own the descriptors it is handed.
//
// The program must ignore SIGPIPE: splice(2) into a socket whose peer is gone raises it, and has no flag against that.
// (Sends carry MSG_NOSIGNAL.)

#include <memory>
#include <string>

#include "millrace/base/result.hpp"
#include "millrace/io/io.hpp"

namespace millrace::io {

/// How a splice is issued. Both keep the contract of Io::splice().
enum class SpliceIssue : std::uint8_t {
  direct,  // splice(2) from turn(), non-blocking: no thread hand-off; the default (docs/io_uring.md has the
           // measurements)
  ring,    // IORING_OP_SPLICE: always runs on a kernel worker thread
};

struct UringOptions {
  std::uint32_t submission_entries = 1024;
  std::uint32_t completion_entries = 8192;
  std::uint32_t batch = 512;  // completions handed back by one turn() at most
  BufferGroup::Options buffers;
  std::uint32_t datagram_buffers = 0;     // for recv_datagrams; 0: this Io is not used for datagrams
  std::uint32_t pipe_bytes = 512 * 1024;  // of each pipe; less where fs.pipe-max-size or -user-pages-soft say so
  SpliceIssue splice = SpliceIssue::direct;
  /// A turn() that waits looks so long for completions before it sleeps: their latency is that of a wake-up less.
  /// Not while waits gather (set_gather_time).
  Nanos busy_poll{0};
};

/// What the running kernel offers; found by probing, never by version.
struct UringFeatures {
  bool io_uring = false;
  bool defer_taskrun = false;  // 6.1
  bool single_issuer = false;  // 6.0
  bool multishot_accept =
      false;  // 5.19; false also where it hands out wrong descriptors (6.6 to 6.8-rc3, liburing #1062)
  bool multishot_recv = false;                  // 6.0
  bool multishot_recvmsg = false;               // 6.0
  bool recv_limit = false;                      // 6.17: a multishot receive that ends after so many bytes
  bool buffer_ring = false;                     // 5.19
  bool recv_bundle = false;                     // 6.10
  bool min_wait = false;                        // 6.12
  [[nodiscard]] std::string to_string() const;  // "defer_taskrun multishot_accept …"
};

/// Probes once; the error says which of ENOSYS, the sysctl, seccomp or the memlock limit is in the way, and the remedy.
[[nodiscard]] Result<UringFeatures> probe_uring();

[[nodiscard]] Result<std::unique_ptr<Io>> make_uring_io(const UringOptions& options, const UringFeatures& features);

}  // namespace millrace::io
