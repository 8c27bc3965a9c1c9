// Traffic for the UDP workloads of tools/bench: all of it on loopback, bounded, with the figures as one line of JSON.

#include <CLI/CLI.hpp>

#include "modes.hpp"

int main(int argc, char** argv) {
  CLI::App app{"UDP traffic on loopback, counted"};
  app.require_subcommand(1);

  udp_load::AnswerOptions answer;
  CLI::App* answering = app.add_subcommand("answer", "answers every datagram (and DNS query) until it is killed");
  answering->add_option("--port", answer.port)->required();
  answering->add_option("--addresses", answer.addresses, "how many, from 127.0.0.1 on")->check(CLI::Range(1, 250));
  answering->callback([&] { udp_load::answer(answer); });

  udp_load::TrainsOptions trains;
  CLI::App* sending = app.add_subcommand("trains", "sends trains of datagrams to one port, receives on another one");
  sending->add_option("--to", trains.to, "port of the proxy")->required();
  sending->add_option("--listen", trains.listen, "port of its backend")->required();
  sending->add_option("--segments", trains.segments, "datagrams of a train")->check(CLI::Range(1, 64));
  sending->add_option("--bytes", trains.bytes, "of a datagram")->check(CLI::Range(16, 65000));
  sending->add_option("--rate", trains.rate, "datagrams a second; 0: as many as possible")
      ->check(CLI::NonNegativeNumber);
  sending->add_option("--seconds", trains.seconds)->check(CLI::Range(0.1, 600.0));
  sending->callback([&] { udp_load::trains(trains); });

  udp_load::SessionsOptions sessions;
  CLI::App* opening =
      app.add_subcommand("sessions", "opens sessions: one answered datagram from each of many addresses");
  opening->add_option("--to", sessions.to, "port of the proxy")->required();
  opening->add_option("--count", sessions.count)->check(CLI::Range(1, 4'000'000));
  opening->callback([&] { udp_load::sessions(sessions); });

  CLI11_PARSE(app, argc, argv);
  return 0;
}
