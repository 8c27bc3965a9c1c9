#pragma once
// The command line: parses it, runs the subcommand, returns the exit status (0 done, 1 failed while running, 2 the
// command line or the configuration is wrong).

namespace millrace::app {

[[nodiscard]] int run_command_line(int argc, char** argv);

}  // namespace millrace::app
