#pragma once
// ControlClient: a connection to the control socket of a running balancer, as the commands use it. Blocks, with bounds.

#include <string>
#include <string_view>

#include "millrace/base/result.hpp"

namespace millrace::admin {

class ControlClient {
 public:
  /// The error says whether nobody is there or who may not, and the remedy.
  [[nodiscard]] static Result<ControlClient> connect(const std::string& path);
  ControlClient(ControlClient&& other) noexcept;
  ControlClient& operator=(ControlClient&&) = delete;
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;
  ~ControlClient();

  /// Sends a request, a line without its newline, and returns the answer likewise.
  [[nodiscard]] Result<std::string> ask(std::string_view request);

 private:
  ControlClient(int fd, std::string path);

  int fd_;
  std::string path_;
  std::string received_;
};

}  // namespace millrace::admin
