#include "millrace/worker/adoption.hpp"

#include "millrace/worker/worker.hpp"

namespace millrace::worker {

bool Adopt::run(Worker& worker) {
  worker.adopt(adoption_);
  return true;
}

bool KeepSockets::run(Worker& worker) {
  for (const io::Fd fd : sockets_) {
    if (worker.keep_socket(fd)) kept_.push_back(fd);
  }
  return true;
}

bool Evict::run(Worker& worker) {
  worker.evict(eviction_);
  return true;
}

}  // namespace millrace::worker
