#pragma once
// ControlClient: a connection to the control socket of a running balancer, as the commands use it. Blocks, with bounds.

#include <optional>
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

  // For who has something else to do meanwhile: one request, then wait for `descriptor` to be readable and take its
  // answer, which may need several attempts.
  void send(std::string_view request);
  [[nodiscard]] Result<std::optional<std::string>> take();
  [[nodiscard]] int descriptor() const { return fd_; }

 private:
  ControlClient(int fd, std::string path);
  /// Reads once.
  [[nodiscard]] std::optional<Error> receive(int flags);
  /// The first line of what was received.
  [[nodiscard]] std::optional<std::string> line();

  int fd_;
  std::string path_;
  std::string received_;
};

}  // namespace millrace::admin
