#include "suggest.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "text.hpp"

namespace millrace::config {
namespace {

struct OtherName {
  std::string_view word;
  std::string_view meant;
};
/// The first whose meaning is a candidate counts.
constexpr std::array kOtherNames = {
    // keys
    OtherName{"listen", "bind"},
    OtherName{"addr", "address"},
    OtherName{"address", "bind"},
    OtherName{"host", "address"},
    OtherName{"ip", "address"},
    OtherName{"server", "address"},
    OtherName{"port", "bind"},
    OtherName{"port", "address"},
    OtherName{"backend", "pool"},
    OtherName{"default_backend", "pool"},
    OtherName{"upstream", "pool"},
    OtherName{"target", "pool"},
    OtherName{"server", "backends"},
    OtherName{"servers", "backends"},
    OtherName{"upstreams", "backends"},
    OtherName{"members", "backends"},
    OtherName{"targets", "backends"},
    OtherName{"nodes", "backends"},
    OtherName{"algorithm", "balance"},
    OtherName{"method", "balance"},
    OtherName{"policy", "balance"},
    OtherName{"strategy", "balance"},
    OtherName{"lb_policy", "balance"},
    OtherName{"timeout", "idle_timeout"},
    OtherName{"timeout", "connect_timeout"},
    OtherName{"client_timeout", "idle_timeout"},
    OtherName{"proxy_timeout", "idle_timeout"},
    OtherName{"maxconn", "max_connections"},
    OtherName{"maxconn", "max_connections_per_backend"},
    OtherName{"max_conns", "max_connections"},
    OtherName{"max_connections", "max_connections_per_backend"},
    OtherName{"limit", "max_connections"},
    OtherName{"mode", "protocol"},
    OtherName{"proto", "protocol"},
    OtherName{"type", "protocol"},
    OtherName{"check", "health"},
    OtherName{"healthcheck", "health"},
    OtherName{"health_check", "health"},
    OtherName{"probe", "health"},
    OtherName{"inter", "interval"},
    OtherName{"threads", "workers"},
    OtherName{"nbthread", "workers"},
    OtherName{"worker_processes", "workers"},
    OtherName{"log", "log_level"},
    OtherName{"level", "log_level"},
    OtherName{"format", "log_format"},
    OtherName{"whitelist", "allow"},
    OtherName{"allowlist", "allow"},
    OtherName{"blacklist", "deny"},
    OtherName{"denylist", "deny"},
    OtherName{"rate_limit", "connection_rate_per_ip"},
    OtherName{"log_file", "access_log"},
    OtherName{"log_path", "access_log"},
    // tables
    OtherName{"servers", "listeners"},
    OtherName{"frontend", "listeners"},
    OtherName{"frontends", "listeners"},
    OtherName{"backends", "pools"},
    OtherName{"upstream", "pools"},
    OtherName{"upstreams", "pools"},
    OtherName{"global", "runtime"},
    OtherName{"default", "defaults"},
    // values
    OtherName{"maglev", "source_hash"},
    OtherName{"ip_hash", "source_hash"},
    OtherName{"iphash", "source_hash"},
    OtherName{"source", "source_hash"},
    OtherName{"hash", "source_hash"},
    OtherName{"consistent_hash", "source_hash"},
    OtherName{"rr", "round_robin"},
    OtherName{"wrr", "round_robin"},
    OtherName{"weight", "round_robin"},
    OtherName{"static_rr", "round_robin"},
    OtherName{"p2c", "random_two"},
    OtherName{"random", "random_two"},
    OtherName{"power_of_two", "random_two"},
    OtherName{"leastconn", "least_conn"},
    OtherName{"lc", "least_conn"},
    OtherName{"least_connections", "least_conn"},
    OtherName{"least_request", "least_conn"},
    OtherName{"warning", "warn"},
    OtherName{"trace", "debug"},
    OtherName{"notice", "info"},
    OtherName{"verbose", "debug"},
    OtherName{"http", "tcp"},
    OtherName{"https", "tcp"},
    OtherName{"tls", "tcp"},
    OtherName{"ssl", "tcp"},
    OtherName{"quic", "udp"},
    OtherName{"datagram", "udp"},
    OtherName{"off", "none"},
    OtherName{"plain", "text"},
};

constexpr std::size_t kTwoEditsFrom = 5;      // two edits make any short word of any other
constexpr std::size_t kCandidatesMax = 1000;  // a file with very many pools may have as many wrong names of them
constexpr std::size_t kWordBytesMax = 128;    // longer words are not typing errors, and the work is quadratic

std::string folded(std::string_view word) {
  std::string out(word);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '-') c = '_';
  }
  return out;
}

std::optional<std::string_view> nearest(const std::string& word, const std::vector<std::string_view>& candidates,
                                        std::size_t limit) {
  std::size_t best_distance = limit + 1;
  std::optional<std::string_view> best;
  for (const std::string_view candidate : candidates) {
    if (best_distance == 0) break;
    const std::size_t distance = edit_distance(word, folded(candidate), best_distance - 1);
    if (distance >= best_distance) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

std::optional<std::string_view> shortest_completion(const std::string& word,
                                                    const std::vector<std::string_view>& candidates) {
  std::optional<std::string_view> best;
  if (word.size() < 3) return best;
  for (const std::string_view candidate : candidates) {
    if (folded(candidate).starts_with(word) && (!best || candidate.size() < best->size())) best = candidate;
  }
  return best;
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b, std::size_t limit) {
  const std::size_t above = limit + 1;
  if (std::max(a.size(), b.size()) - std::min(a.size(), b.size()) > limit) return above;
  // Three rows of the matrix: the one being filled, the one before it, and the one before that (for swaps).
  std::array<std::vector<std::size_t>, 3> rows;
  rows.fill(std::vector<std::size_t>(b.size() + 1));
  std::iota(rows[1].begin(), rows[1].end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::swap(rows[0], rows[1]);  // rows[0] is row i-1, rows[1] the one before it
    std::swap(rows[1], rows[2]);  // rows[2] is now row i-2, rows[1] is free for row i
    const auto& before = rows[0];
    auto& row = rows[1];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = before[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replaced, before[j] + 1, row[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], rows[2][j - 2] + 1);
    }
  }
  return std::min(rows[1][b.size()], above);
}

std::optional<std::string_view> suggest(std::string_view word, const std::vector<std::string_view>& candidates) {
  if (word.empty() || word.size() > kWordBytesMax || candidates.size() > kCandidatesMax) return std::nullopt;
  const std::string wanted = folded(word);
  if (const auto near = nearest(wanted, candidates, 1)) return near;
  if (const auto completion = shortest_completion(wanted, candidates)) return completion;
  return word.size() < kTwoEditsFrom ? std::nullopt : nearest(wanted, candidates, 2);
}

std::optional<std::string_view> translate(std::string_view word, const std::vector<std::string_view>& candidates) {
  if (word.size() > kWordBytesMax) return std::nullopt;
  const std::string wanted = folded(word);
  for (const OtherName& other : kOtherNames) {
    if (other.word != wanted) continue;
    const auto found = std::find(candidates.begin(), candidates.end(), other.meant);
    if (found != candidates.end()) return *found;
  }
  return std::nullopt;
}

std::string did_you_mean(std::optional<std::string_view> suggestion) {
  return suggestion ? ", did you mean " + quoted(*suggestion) + "?" : std::string();
}

}  // namespace millrace::config
