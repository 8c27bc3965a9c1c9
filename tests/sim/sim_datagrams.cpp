// The datagram verbs of SimIo.

#include "sim_io.hpp"

namespace millrace::sim {

void SimIo::recv_datagrams(io::OpTag tag, io::Fd /*fd*/) {
  context_.trace.fail("not simulated yet", tag.to_string());
}

void SimIo::send_datagrams(io::OpTag tag, io::Fd /*fd*/, const io::DatagramsToSend& /*message*/) {
  context_.trace.fail("not simulated yet", tag.to_string());
}

io::FdResult SimIo::open_datagram(const io::DatagramSocketOptions& /*options*/) {
  return {};
}

io::ReceivedDatagrams SimIo::received(io::BufferId /*buffer*/) {
  return {};
}

std::optional<io::DatagramError> SimIo::take_error(io::Fd /*fd*/) {
  return std::nullopt;
}

}  // namespace millrace::sim
