#pragma once
// Constants of kernels newer than the liburing that we build with (2.3, from Linux 6.1). The kernel's ABI is stable, so
// they are written down here once; whether the running kernel knows them is asked at run time (probe.cpp).

#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#ifndef IORING_FEAT_RECVSEND_BUNDLE
#define IORING_FEAT_RECVSEND_BUNDLE (1U << 14)  // 6.10
#endif
#ifndef IORING_FEAT_MIN_TIMEOUT
#define IORING_FEAT_MIN_TIMEOUT (1U << 15)  // 6.12
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)  // 6.15
#endif
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)  // 6.15
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103  // 4.18
#endif
#ifndef UDP_GRO
#define UDP_GRO 104  // 5.0
#endif
#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24  // 4.2; absent from some libc headers
#endif

namespace millrace::io {

/// `optlen` of a multishot receive, since 6.17: it ends once it has brought so many bytes; 0: it does not.
inline void set_receive_limit(io_uring_sqe& entry, std::uint32_t bytes) {
  entry.file_index = bytes;  // the same place
}

}  // namespace millrace::io
