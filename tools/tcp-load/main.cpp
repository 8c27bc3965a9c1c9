// Traffic for some TCP workloads of tools/bench: all of it on loopback, bounded, with the figures as one line of JSON.

#include <CLI/CLI.hpp>

#include "modes.hpp"

int main(int argc, char** argv) {
  CLI::App app{"TCP traffic on loopback, measured"};
  app.require_subcommand(1);
  const CLI::Range seconds(0.1, 600.0);
  const CLI::Range message(1, 16 * 1024);

  tcp_load::EchoOptions echo;
  CLI::App* serving = app.add_subcommand("echo", "the server of the others, until it is killed");
  serving->add_option("--port", echo.port)->required();
  serving->callback([&] { tcp_load::echo(echo); });

  tcp_load::PingPongOptions pingpong;
  CLI::App* exchanging = app.add_subcommand("pingpong", "one message at a time, proxied and directly in turns");
  exchanging->add_option("--to", pingpong.to, "port of the proxy")->required();
  exchanging->add_option("--direct", pingpong.direct, "port of the server")->required();
  exchanging->add_option("--bytes", pingpong.bytes, "of a message")->check(message);
  exchanging->add_option("--seconds", pingpong.seconds, "for both together")->check(seconds);
  exchanging->callback([&] { tcp_load::pingpong(pingpong); });

  tcp_load::IdleOptions idle;
  CLI::App* holding = app.add_subcommand("idle", "opens connections, and holds them until stdin ends");
  holding->add_option("--to", idle.to, "port of the proxy")->required();
  holding->add_option("--count", idle.count)->check(CLI::Range(1, 1'000'000));
  holding->add_option("--bytes", idle.bytes, "echoed once on each")->check(message);
  holding->callback([&] { tcp_load::idle(idle); });

  tcp_load::FairOptions fair;
  CLI::App* sharing = app.add_subcommand("fair", "connections that ask at a fixed pace, beside one bulk flow");
  sharing->add_option("--to", fair.to, "port of the proxy")->required();
  sharing->add_option("--connections", fair.connections)->check(CLI::Range(1, 10'000));
  sharing->add_option("--bytes", fair.bytes, "of a request, and of its answer")->check(message);
  sharing->add_option("--period", fair.period_seconds, "of each connection")->check(CLI::Range(0.001, 0.9));
  sharing->add_option("--seconds", fair.seconds)->check(seconds);
  sharing->callback([&] { tcp_load::fair(fair); });

  CLI11_PARSE(app, argc, argv);
  return 0;
}
