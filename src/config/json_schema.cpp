#include "json_schema.hpp"

#include <fmt/format.h>

#include <string_view>

#include "names.hpp"
#include "schema.hpp"
#include "text.hpp"

namespace millrace::config {
namespace {

void refer(std::string& out, std::string_view definition) {
  out += fmt::format(R"("$ref":"#/definitions/{}")", definition);
}

/// `"KEY":{…}`: what TOML and JSON write differently (dates, infinity) is no default of any key.
template <class T>
void append_property(std::string& out, const Key<T>& key) {
  out += fmt::format(R"("{}":{{"description":{},)", key.name, toml_string(key.about));
  key.describe(out);
  if (key.has_default) {
    out += R"(,"default":)";
    key.write(out, T{});
  }
  out += '}';
}

template <class T>
void append_properties(std::string& out, std::string_view left_out = {}) {
  out += R"("type":"object","additionalProperties":false,"properties":{)";
  std::string_view comma;
  for (const Key<T>& key : keys<T>()) {
    if (key.describe == nullptr || key.name == left_out) continue;
    out += comma;
    append_property(out, key);
    comma = ",";
  }
  out += '}';
}

template <class T>
void append_definition(std::string& out, std::string_view name, std::string_view more = {}) {
  out += fmt::format(R"("{}":{{)", name);
  append_properties<T>(out);
  out += more;
  out += "},";
}

/// With this protocol the keys of the other one cannot be given.
std::string only_keys_of(Protocol protocol, std::string_view name) {
  std::string out = fmt::format(
      R"({{"if":{{"properties":{{"protocol":{{"const":"{}"}}}},"required":["protocol"]}},"then":{{"properties":{{)",
      name);
  Listener listener;
  listener.protocol = protocol;
  std::string_view comma;
  for (const Key<Listener>& key : keys<Listener>()) {
    if (applies(key, listener)) continue;
    out += fmt::format(R"({}"{}":false)", comma, key.name);
    comma = ",";
  }
  return out + "}}}";
}

std::string compact_schema() {
  std::string out = R"({"$schema":"http://json-schema.org/draft-07/schema#","title":"millrace",)"
                    R"("description":"The configuration of millrace, a TCP and UDP load balancer.",)";
  append_properties<Drafts>(out);
  out += R"(,"required":["listeners","pools"],"definitions":{)";
  append_definition<Runtime>(out, "runtime");
  append_definition<Admin>(out, "admin");
  append_definition<Defaults>(out, "defaults");
  out += R"("listener_defaults":{)";
  append_properties<Listener>(out);
  out += R"(},"pool_defaults":{)";
  append_properties<Pool>(out, "backends");
  out += "},";
  append_definition<Listener>(
      out, "listener",
      R"(,"allOf":[)" + only_keys_of(Protocol::tcp, "tcp") + ',' + only_keys_of(Protocol::udp, "udp") + ']');
  append_definition<Pool>(out, "pool", R"(,"required":["backends"])");
  append_definition<Backend>(out, "backend", R"(,"required":["address"])");
  append_definition<Hash>(out, "hash");
  append_definition<Health>(out, "health");
  append_definition<Passive>(out, "passive");
  out.pop_back();  // the last comma
  return out + "}}";
}

/// The text as JSON with a line for each thing; lists without objects stay on theirs.
class Printer {
 public:
  explicit Printer(std::string_view json) : json_(json) {}

  std::string print() {
    while (at_ < json_.size()) step(json_[at_]);
    return out_ + '\n';
  }

 private:
  void step(char c) {
    if (c == '"') {
      copy_string();
    } else if (c == '{' || c == '[') {
      open(c);
    } else if (c == '}' || c == ']') {
      --depth_;
      break_line();
      put(c);
    } else if (c == ',') {
      put(c);
      break_line();
    } else {
      put(c);
      if (c == ':') out_ += ' ';
    }
  }

  void open(char c) {
    const std::string_view list = json_.substr(at_, json_.substr(at_).find(']') + 1);
    if (c == '[' && list.find('{') == std::string_view::npos) {
      for (const char inner : list) {
        put(inner);
        if (inner == ',') out_ += ' ';
      }
      return;
    }
    put(c);
    ++depth_;
    break_line();
  }

  void copy_string() {
    do {
      if (json_[at_] == '\\') put(json_[at_]);
      put(json_[at_]);
    } while (json_[at_] != '"');
    put('"');
  }

  void put(char c) {
    out_ += c;
    ++at_;
  }

  void break_line() {
    out_ += '\n';
    out_.append(depth_ * 2, ' ');
  }

  std::string_view json_;
  std::size_t at_ = 0;
  std::size_t depth_ = 0;
  std::string out_;
};

}  // namespace

template <>
void refer_to<Defaults>(std::string& out) {
  refer(out, "defaults");
}
template <>
void refer_to<Runtime>(std::string& out) {
  refer(out, "runtime");
}
template <>
void refer_to<Admin>(std::string& out) {
  refer(out, "admin");
}
template <>
void refer_to<Listener>(std::string& out) {
  refer(out, "listener");
}
template <>
void refer_to<Pool>(std::string& out) {
  refer(out, "pool");
}
template <>
void refer_to<Backend>(std::string& out) {
  refer(out, "backend");
}
template <>
void refer_to<Hash>(std::string& out) {
  refer(out, "hash");
}
template <>
void refer_to<Health>(std::string& out) {
  refer(out, "health");
}
template <>
void refer_to<Passive>(std::string& out) {
  refer(out, "passive");
}

void describe_listener_defaults(std::string& out) {
  refer(out, "listener_defaults");
}

void describe_pool_defaults(std::string& out) {
  refer(out, "pool_defaults");
}

std::string name_schema(std::size_t bytes_max) {
  return fmt::format(R"("pattern":"^[ !#-&(-\\[\\]-~]{{1,{}}}$")", bytes_max);
}

void describe_names(std::string& out, void (*refer)(std::string&)) {
  out += fmt::format(R"("type":"object","minProperties":1,"propertyNames":{{{}}},"additionalProperties":{{)",
                     name_schema(kNameBytesMax));
  refer(out);
  out += '}';
}

std::string json_schema() {
  return Printer(compact_schema()).print();
}

}  // namespace millrace::config
