#include "access_log.hpp"

#include <algorithm>

namespace millrace::app {

namespace {

accesslog::Target target_of(const config::Listener& listener) {
  const bool text = listener.access_log_format == config::LogFormat::text;
  return {.listener = listener.name,
          .path = listener.access_log == "off" ? "" : listener.access_log,
          .format = text ? accesslog::Format::text : accesslog::Format::json};
}

}  // namespace

accesslog::Targets access_log_targets(const config::Config& config, const pool::Directory& directory,
                                      const accesslog::Targets& before) {
  accesslog::Targets targets;
  targets.listeners = before.listeners;
  const std::vector<pool::Listener>& listeners = directory.snapshot()->listeners;
  targets.listeners.resize(listeners.size());
  for (std::size_t place = 0; place < listeners.size(); ++place) {
    const auto found =
        std::find_if(config.listeners.begin(), config.listeners.end(),
                     [&](const config::Listener& listener) { return listener.name == listeners[place].name; });
    if (found != config.listeners.end()) targets.listeners[place] = target_of(*found);
  }
  for (const auto& pool : directory.snapshot()->pools) targets.pools.push_back(pool->name);
  for (const pool::Directory::Owner& owner : directory.owners()) targets.backends.push_back(owner.name);
  return targets;
}

}  // namespace millrace::app
