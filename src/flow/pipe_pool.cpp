#include "millrace/flow/pipe_pool.hpp"

#include "millrace/base/assert.hpp"

namespace millrace::flow {

PipePool::PipePool(io::Io& io, std::uint32_t max_open, std::uint32_t max_kept)
    : io_(io), max_open_(max_open), max_kept_(max_kept) {
  kept_.reserve(max_kept);
}

PipePool::~PipePool() {
  trim();
}

bool PipePool::take(io::Pipe& pipe) {
  MILLRACE_ASSERT(pipe.read_end == io::Fd::none, "the direction holds a pipe already");
  if (!kept_.empty()) {
    pipe = kept_.back();
    kept_.pop_back();
    return true;
  }
  if (open_ >= max_open_ || io_.open_pipe(pipe) != 0) return false;
  ++open_;
  return true;
}

void PipePool::give_back(io::Pipe& pipe, bool empty) {
  MILLRACE_ASSERT(pipe.read_end != io::Fd::none, "no pipe to give back");
  if (empty && kept_.size() < max_kept_) {
    kept_.push_back(pipe);
  } else {
    io_.close(pipe.read_end, io::CloseMode::normal);
    io_.close(pipe.write_end, io::CloseMode::normal);
    --open_;
  }
  pipe = io::Pipe{};
}

void PipePool::trim() {
  for (const io::Pipe& pipe : kept_) {
    io_.close(pipe.read_end, io::CloseMode::normal);
    io_.close(pipe.write_end, io::CloseMode::normal);
    --open_;
  }
  kept_.clear();
}

}  // namespace millrace::flow
