#include "millrace/flow/pipe_pool.hpp"

#include <algorithm>

#include "millrace/base/assert.hpp"

namespace millrace::flow {

PipePool::PipePool(io::Io& io, const PipeLimits& limits) : io_(io), limits_(limits) {
  MILLRACE_ASSERT(limits.moving > 0, "somebody moves");
  kept_.reserve(std::min(limits.kept, limits.open));
}

PipePool::~PipePool() {
  trim();
}

bool PipePool::take(io::Pipe& pipe) {
  MILLRACE_ASSERT(pipe.read_end == io::Fd::none, "the direction holds a pipe already");
  if (!kept_.empty()) {
    pipe = kept_.back();
    kept_.pop_back();
  } else {
    if (open_ >= limits_.open || io_.open_pipe(pipe) != 0) return false;
    ++open_;
  }
  ++moving_;
  return true;
}

std::optional<DirectionId> PipePool::next_turn() {
  if (!turn_due()) return std::nullopt;
  const DirectionId next = waiting_.front();
  waiting_.pop_front();
  return next;
}

void PipePool::give_back(io::Pipe& pipe, bool empty) {
  MILLRACE_ASSERT(pipe.read_end != io::Fd::none, "no pipe to give back");
  if (empty && kept_.size() < limits_.kept) {
    kept_.push_back(pipe);
  } else {
    io_.close(pipe.read_end, io::CloseMode::normal);
    io_.close(pipe.write_end, io::CloseMode::normal);
    --open_;
  }
  pipe = io::Pipe{};
  --moving_;
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
