#include "backends.hpp"

#include <fmt/format.h>

#include "addresses.hpp"
#include "json_schema.hpp"
#include "names.hpp"
#include "schema.hpp"
#include "text.hpp"

namespace millrace::config {
namespace {

/// The name of a backend that was not given one.
void name_after_address(const Place& address, Problems& problems, Backend& backend) {
  const std::string& written = address.node().text;
  if (problems.bad(address.node())) return;
  if (name_problem(written, kBackendNameBytesMax)) {
    problems.add(address, "this address makes no good name, give the backend one: name = \"…\"");
  } else {
    backend.name = written;
  }
}

void read_backend_table(const Place& place, Problems& problems, Backend& backend) {
  read_table(place, problems, backend);
  const Node& table = place.node();
  if (problems.bad(table)) return;
  const Entry* address = table.find("address");
  if (address == nullptr) {
    if (!problems.misspelt(table, "address")) problems.add(place, R"(address is missing, add address = "IP:PORT")");
    return;
  }
  const bool named = table.find("name") != nullptr || problems.misspelt(table, "name");
  if (!named) name_after_address(place.child(*address), problems, backend);
}

void read_backend(const Place& place, Problems& problems, Backend& backend) {
  if (place.node().kind == Node::Kind::string) {
    BackendAddress::read(place, problems, backend.address);
    name_after_address(place, problems, backend);
  } else if (place.node().kind == Node::Kind::table) {
    read_backend_table(place, problems, backend);
  } else {
    problems.add(place, fmt::format(R"(expected an address or a table, {{ address = "10.0.0.1:80" }}, found {})",
                                    description(place.node().kind)));
  }
}

void write_backend(std::string& out, const Backend& backend) {
  out += "  { ";
  std::string_view separator;
  for (const Key<Backend>& key : keys<Backend>()) {
    if (key.write == nullptr) continue;
    out += separator;
    out += key.name;
    out += " = ";
    key.write(out, backend);
    separator = ", ";
  }
  out += " },\n";
}

}  // namespace

void BackendName::read(const Place& place, Problems& problems, std::string& out) {
  if (!expect(place, Node::Kind::string, problems)) return;
  if (const auto problem = name_problem(place.node().text, kBackendNameBytesMax)) {
    problems.add(place, *problem);
  } else {
    out = place.node().text;
  }
}

void BackendName::write(std::string& out, const std::string& name) {
  out += toml_string(name);
}

void BackendName::describe(std::string& out) {
  out += R"("type":"string",)" + name_schema(kBackendNameBytesMax);
}

void Backends::read(const Place& place, Problems& problems, std::vector<Backend>& out) {
  if (!expect(place, Node::Kind::list, problems, R"(; write [{ address = "IP:PORT" }, …])")) return;
  out.clear();
  for (std::size_t i = 0; i < place.node().items.size(); ++i) {
    read_backend(place.item(i), problems, out.emplace_back());
  }
}

void Backends::write(std::string& out, const std::vector<Backend>& backends) {
  out += "[\n";
  for (const Backend& backend : backends) write_backend(out, backend);
  out += ']';
}

void Backends::describe(std::string& out) {
  out += R"("type":"array","minItems":1,"items":{"anyOf":[{"type":"string","minLength":1},{)";
  refer_to<Backend>(out);
  out += "}]}";
}

}  // namespace millrace::config
