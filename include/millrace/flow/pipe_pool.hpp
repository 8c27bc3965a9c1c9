#pragma once
// PipePool: kernel pipes of one worker, kept for reuse. A pipe is taken by one direction of one flow at a time and
// comes back empty, or is closed when bytes are left in it. One thread.

#include <cstdint>
#include <vector>

#include "millrace/io/io.hpp"

namespace millrace::flow {

class PipePool {
 public:
  /// At most `max_open` pipes exist at any time; at most `max_kept` empty ones are kept for reuse.
  PipePool(io::Io& io, std::uint32_t max_open, std::uint32_t max_kept);
  ~PipePool();
  PipePool(const PipePool&) = delete;
  PipePool& operator=(const PipePool&) = delete;

  /// False when the bound is reached or the kernel has no descriptor left; copying goes on then.
  [[nodiscard]] bool take(io::Pipe& pipe);
  void give_back(io::Pipe& pipe, bool empty);
  /// Closes the pipes that are kept; the ones that are out stay out.
  void trim();

  [[nodiscard]] std::uint32_t taken() const { return open_ - static_cast<std::uint32_t>(kept_.size()); }
  [[nodiscard]] std::uint32_t open() const { return open_; }

 private:
  io::Io& io_;
  std::uint32_t max_open_;
  std::uint32_t max_kept_;
  std::uint32_t open_ = 0;
  std::vector<io::Pipe> kept_;
};

}  // namespace millrace::flow
