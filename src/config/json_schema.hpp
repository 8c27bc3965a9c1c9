#pragma once
// Pieces of the JSON Schema that are no values: references from one table to the next. The whole of it is
// json_schema().

#include <string>

#include "drafts.hpp"
#include "millrace/config/config.hpp"

namespace millrace::config {

/// Appends `"$ref":"#/definitions/…"`, the table that fills a T.
template <class T>
void refer_to(std::string& out);

template <>
void refer_to<Defaults>(std::string& out);
template <>
void refer_to<Runtime>(std::string& out);
template <>
void refer_to<Admin>(std::string& out);
template <>
void refer_to<Listener>(std::string& out);
template <>
void refer_to<Pool>(std::string& out);
template <>
void refer_to<Backend>(std::string& out);
template <>
void refer_to<Hash>(std::string& out);
template <>
void refer_to<Health>(std::string& out);
template <>
void refer_to<Passive>(std::string& out);

void describe_listener_defaults(std::string& out);
void describe_pool_defaults(std::string& out);
/// Text with the pattern of a name of at most so many characters.
[[nodiscard]] std::string name_schema(std::size_t bytes_max);
/// A table of tables with names of one's own.
void describe_names(std::string& out, void (*refer)(std::string&));

template <class T>
void describe_named(std::string& out) {
  describe_names(out, refer_to<T>);
}

}  // namespace millrace::config
