#include "millrace/accesslog/queue.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <system_error>
#include <type_traits>

#include "millrace/base/assert.hpp"

namespace millrace::accesslog {

static_assert(std::is_trivially_copyable_v<Record> && std::is_trivially_destructible_v<Record>);

Bell::Bell() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}

Bell::~Bell() {
  ::close(fd_);
}

void Bell::ring() {
  const std::uint64_t one = 1;
  // Fails only when it has been rung 2^64 times without an answer.
  static_cast<void>(::write(fd_, &one, sizeof one));
}

void Bell::rest(int milliseconds) {
  pollfd watched{.fd = fd_, .events = POLLIN, .revents = 0};
  if (::poll(&watched, 1, milliseconds) <= 0) return;
  std::uint64_t rings = 0;
  static_cast<void>(::read(fd_, &rings, sizeof rings));
}

Queue::Queue(std::uint32_t capacity, Bell& bell) : capacity_(capacity), bell_(bell) {
  MILLRACE_ASSERT(std::has_single_bit(capacity), "the capacity of a queue of records is a power of two");
  void* memory = ::mmap(nullptr, sizeof(Record) * capacity, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  records_ = static_cast<Record*>(memory);
}

Queue::~Queue() {
  ::munmap(records_, sizeof(Record) * capacity_);
}

}  // namespace millrace::accesslog
