#include "load.hpp"

#include <utility>

#include "drafts.hpp"
#include "millrace/config/document.hpp"
#include "problems.hpp"
#include "protocols.hpp"
#include "schema.hpp"
#include "validate.hpp"

namespace millrace::config {
namespace {

Config finish(Drafts drafts) {
  Config config;
  config.runtime = drafts.runtime;
  config.admin = drafts.admin;
  for (Draft<Listener>& listener : drafts.listeners) config.listeners.push_back(std::move(listener.value));
  for (Draft<Pool>& pool : drafts.pools) {
    drop_unused_sources(pool);
    config.pools.push_back(std::move(pool.value));
  }
  return config;
}

}  // namespace

Loaded failure(Position position, std::string message) {
  Loaded loaded;
  loaded.diagnostics.push_back({position, std::move(message)});
  return loaded;
}

Loaded load(const Node& root) {
  Problems problems;
  Drafts drafts;
  read_table(Place(root), problems, drafts);
  validate(root, drafts, problems);
  if (!problems.empty()) return {std::nullopt, problems.take()};
  settle_protocols(drafts);
  return {finish(std::move(drafts)), {}};
}

Loaded parse(std::string_view toml_text) {
  const Document document = parse_document(toml_text);
  if (!document.root) return failure(document.problem.position, document.problem.message);
  return load(*document.root);
}

}  // namespace millrace::config
