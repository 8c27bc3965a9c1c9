#include "cli.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "balancer.hpp"
#include "control_commands.hpp"
#include "doctor.hpp"
#include "millrace/config/config.hpp"
#include "millrace/import/import.hpp"
#include "top/top.hpp"

namespace millrace::app {

namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;
constexpr std::size_t kImportBytesMax = std::size_t{4} << 20U;
constexpr const char* kDefaultFile = "/etc/millrace/millrace.toml";

struct Options {
  std::string file;  // empty: not given
  config::QuickForm quick;
  bool effective = false;
  bool json = false;
  importer::Dialect dialect = importer::Dialect::haproxy;
  ControlTarget control;
  double interval_seconds = 1;  // of top
  BackendOrder order;
  ConnectionsWanted connections;
  std::string connection;  // to kill
  std::string client;
  std::string listener;
  bool plan = false;
};

int refuse(std::string_view message) {
  fmt::print(stderr, "millrace: error: {}\n", message);
  return kWrongUsage;
}

/// The configuration, or nothing after every problem has been printed.
std::optional<config::Config> load(const Options& options) {
  const bool quick = !options.quick.listen.empty() || !options.quick.backends.empty();
  const std::string file = options.file.empty() ? kDefaultFile : options.file;
  config::Loaded loaded = quick ? config::from_quick_form(options.quick) : config::load_file(file);
  if (!loaded.config) {
    const std::string text = config::render(loaded.diagnostics, quick ? "command line" : file);
    fmt::print(stderr, "{}", text);
  }
  return std::move(loaded.config);
}

int run(const Options& options) {
  const bool quick = !options.quick.listen.empty() || !options.quick.backends.empty();
  if (quick && !options.file.empty()) return refuse("give either -c FILE or --listen and --backend, not both");
  if (quick && options.quick.listen.empty()) return refuse("--backend needs --listen ADDR");
  if (quick && options.quick.backends.empty()) return refuse("--listen needs at least one --backend ADDR");
  if (!quick && !options.quick.balance.empty()) return refuse("--balance goes with --listen and --backend");
  if (!quick && options.quick.udp) return refuse("--udp goes with --listen and --backend");
  const std::optional<config::Config> config = load(options);
  if (!config) return kWrongUsage;
  const std::string file = options.file.empty() ? kDefaultFile : options.file;
  return run_balancer(*config, quick ? std::string() : file);
}

int check(const Options& options) {
  const std::optional<config::Config> config = load(options);
  if (!config) return kWrongUsage;
  if (options.effective) {
    fmt::print("{}", config::to_toml(*config));
  } else {
    fmt::print("{}: good: {} listeners, {} pools\n", options.file.empty() ? kDefaultFile : options.file,
               config->listeners.size(), config->pools.size());
  }
  return kDone;
}

void add_run(CLI::App& app, Options& options) {
  CLI::App* run = app.add_subcommand("run", "Run the balancer in the foreground");
  run->add_option("-c,--config", options.file, fmt::format("Configuration file (default {})", kDefaultFile));
  run->add_option("--listen", options.quick.listen, "Without a file: address to listen on, e.g. '*:8080'");
  run->add_option("--backend", options.quick.backends,
                  "Without a file: a backend, e.g. 10.0.0.1:80 or 10.0.0.1:80,weight=3 (repeat for more)");
  run->add_option("--balance", options.quick.balance,
                  "Without a file: least_conn, source_hash, round_robin, random_two or first");
  run->add_flag("--udp", options.quick.udp, "Without a file: UDP instead of TCP");
}

void add_check(CLI::App& app, Options& options) {
  CLI::App* check = app.add_subcommand("check", "Validate a configuration, printing every problem at once");
  check->add_option("-c,--config", options.file, fmt::format("Configuration file (default {})", kDefaultFile));
  check->add_flag("--effective", options.effective, "Print the configuration with every default filled in, as TOML");
}

/// Without a file, given or in the usual place, it is about the machine alone.
int examine(const Options& options) {
  config::Config config;
  if (!options.file.empty() || std::ifstream(kDefaultFile).is_open()) {
    std::optional<config::Config> loaded = load(options);
    if (!loaded) return kWrongUsage;
    config = std::move(*loaded);
  }
  const Diagnosis diagnosis = diagnose(gather_facts(), config);
  fmt::print("{}", options.json ? to_json(diagnosis) : to_text(diagnosis));
  return diagnosis.can_run() ? kDone : kFailed;
}

void add_doctor(CLI::App& app, Options& options) {
  CLI::App* doctor = app.add_subcommand("doctor", "Check what this machine allows, and how to allow more");
  doctor->add_option("-c,--config", options.file,
                     fmt::format("Configuration file (default {}, if there is one)", kDefaultFile));
  doctor->add_flag("--json", options.json, "For scripts");
}

/// Prints what another program's file would be for millrace, and on stderr what is not in it.
int import_file(const Options& options) {
  std::ifstream file(options.file, std::ios::binary);
  std::string text(kImportBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (!file.is_open() || file.bad()) return refuse("cannot read " + options.file);
  if (text.size() > kImportBytesMax) return refuse(options.file + " is larger than 4 MiB, this is no configuration");
  const importer::Imported imported = importer::translate(options.dialect, text, options.file);
  fmt::print("{}", imported.toml);
  fmt::print(stderr, "{}", importer::render(imported.notes, options.file));
  return imported.complete ? kDone : kFailed;
}

int print_schema() {
  fmt::print("{}", config::json_schema());
  return kDone;
}

void add_import(CLI::App& app, Options& options) {
  CLI::App* command = app.add_subcommand("import", "Translate another program's configuration, printing TOML");
  const std::map<std::string, importer::Dialect> dialects = {{"haproxy", importer::Dialect::haproxy},
                                                             {"nginx", importer::Dialect::nginx},
                                                             {"gobetween", importer::Dialect::gobetween}};
  command->add_option("PROGRAM", options.dialect, "haproxy, nginx (its stream block) or gobetween")
      ->required()
      ->transform(CLI::CheckedTransformer(dialects).description("{haproxy,nginx,gobetween}"));
  command->add_option("FILE", options.file, "The file to translate; what has no counterpart is listed on stderr")
      ->required();
}

CLI::App* add_control(CLI::App& app, Options& options, const std::string& name, const std::string& about) {
  CLI::App* command = app.add_subcommand(name, about);
  command->add_option("--socket", options.control.socket, "The control socket of the balancer")->capture_default_str();
  command->add_flag("--json", options.control.json, "Print JSON, for scripts");
  return command;
}

void add_top(CLI::App& app, Options& options) {
  CLI::App* top = app.add_subcommand("top", "Watch a running balancer, live in the terminal");
  top->add_option("--socket", options.control.socket, "The control socket of the balancer")->capture_default_str();
  const std::map<std::string, double> units = {{"ms", 0.001}, {"s", 1}};
  top->add_option("--interval", options.interval_seconds, "How often to look, 100ms to 10s (default 1s)")
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_REQUIRED, "DURATION"))
      ->check(CLI::Range(0.1, 10.0));
}

void add_control_commands(CLI::App& app, Options& options) {
  add_control(app, options, "status", "Show listeners, pools and backends of a running balancer");
  add_top(app, options);
  CLI::App* backend = add_control(app, options, "backend", "Change one backend of a running balancer now");
  backend->add_option("BACKEND", options.order.backend, "POOL/NAME")->required();
  backend
      ->add_option("ACTION", options.order.action,
                   "drain or disable: no new connection, those that are there go on; enable; weight N")
      ->required()
      ->check(CLI::IsMember({"drain", "enable", "disable", "weight"}));
  backend->add_option("N", options.order.weight, "The weight, 0 to 1000");
  backend->add_flag("--wait", options.order.wait, "With drain: return when no connection is left");
  const std::map<std::string, double> units = {{"s", 1}, {"m", 60}, {"h", 3600}};
  backend
      ->add_option("--over", options.order.over_seconds,
                   "With drain: end what is left at a steady rate within this time, e.g. 10m, and wait for it")
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_REQUIRED, "DURATION"))
      ->check(CLI::PositiveNumber);
  CLI::App* connections = add_control(app, options, "connections", "List or end connections of a running balancer");
  connections->add_option("--listener", options.connections.listener, "Only those of this listener");
  connections->add_option("--pool", options.connections.pool, "Only those of this pool");
  connections->add_option("--backend", options.connections.backend, "Only those of this backend, POOL/NAME");
  CLI::App* kill = add_control(*connections, options, "kill", "Reset one connection");
  kill->add_option("ID", options.connection, "As `millrace connections` shows it")->required();
  CLI::App* reload = add_control(app, options, "reload", "Read the file again and apply it; nobody is disturbed");
  reload->add_flag("--plan", options.plan, "Only print what would change");
  CLI::App* why = add_control(app, options, "why", "Explain which backend a client gets");
  why->add_option("CLIENT", options.client, "IP address, or address and port")->required();
  why->add_option("--listener", options.listener, "Only for this listener");
}

int run_control_command(const CLI::App& app, const Options& options) {
  if (app.got_subcommand("status")) return show_status(options.control);
  if (app.got_subcommand("backend")) return change_backend(options.control, options.order);
  if (app.got_subcommand("top")) {
    return top::run_top({.socket = options.control.socket, .interval_seconds = options.interval_seconds});
  }
  if (app.got_subcommand("reload")) return reload(options.control, options.plan);
  if (app.got_subcommand("why")) return explain_choice(options.control, options.client, options.listener);
  if (!options.connection.empty()) return kill_connection(options.control, options.connection);
  return list_connections(options.control, options.connections);
}

}  // namespace

int run_command_line(int argc, char** argv) {
  CLI::App app("millrace: a TCP and UDP load balancer on io_uring", "millrace");
  app.set_version_flag("--version", std::string("millrace ") + MILLRACE_VERSION);
  app.require_subcommand(1);
  Options options;
  add_run(app, options);
  add_check(app, options);
  add_doctor(app, options);
  add_import(app, options);
  add_control_commands(app, options);
  app.add_subcommand("schema", "Print a JSON Schema of the configuration, for editors");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {  // --help, --version
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    app.exit(error, std::cout, std::cerr);
    return kWrongUsage;
  }
  if (app.got_subcommand("run")) return run(options);
  if (app.got_subcommand("doctor")) return examine(options);
  if (app.got_subcommand("import")) return import_file(options);
  if (app.got_subcommand("schema")) return print_schema();
  return app.got_subcommand("check") ? check(options) : run_control_command(app, options);
}

}  // namespace millrace::app
