#include "access_log.hpp"

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
  const pool::Snapshot& snapshot = *directory.snapshot();
  targets.listeners.resize(snapshot.listeners.size());
  for (const config::Listener& listener : config.listeners) {
    if (const auto place = snapshot.find_listener(listener.name)) targets.listeners[*place] = target_of(listener);
  }
  for (const auto& pool : snapshot.pools) targets.pools.push_back(pool->name);
  for (const pool::Directory::Owner& owner : directory.owners()) targets.backends.push_back(owner.name);
  return targets;
}

}  // namespace millrace::app
