#pragma once
// Picker: chooses a backend of one pool for one worker. Owns the worker's cursors (round robin positions); everything
// shared is read through the BackendTable. One thread. No allocation after construction.
//
// Order of preference: healthy primaries, then healthy backups; when no backend is healthy, fail_open takes primaries
// and backups whatever their health. Within a tier the pool's algorithm decides. Backends that were tried already for
// this connection come again only when no other is left. Primaries that are merely full do not bring in the backups.
// What the operator bars is never taken.

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "millrace/balance/least_conn.hpp"
#include "millrace/balance/random_two.hpp"
#include "millrace/balance/smooth_wrr.hpp"
#include "millrace/pool/backend_table.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::pool {

/// The backends that one connection has tried: exact for pools of up to 64, for larger ones a backend that was not
/// tried may be taken for one that was (which only means that another is preferred).
class TriedSet {
 public:
  TriedSet() = default;
  /// What bits() has told.
  explicit TriedSet(std::uint64_t bits) : bits_(bits) {}
  [[nodiscard]] std::uint64_t bits() const { return bits_; }
  void add(std::uint32_t index) { bits_ |= bit(index); }
  [[nodiscard]] bool contains(std::uint32_t index) const { return (bits_ & bit(index)) != 0; }
  [[nodiscard]] bool empty() const { return bits_ == 0; }
  void clear() { bits_ = 0; }

 private:
  static std::uint64_t bit(std::uint32_t index) { return std::uint64_t{1} << (index & 63U); }
  std::uint64_t bits_ = 0;
};

struct PickRequest {
  std::uint64_t client_hash = 0;  // source_hash only
  std::uint64_t random = 0;       // random_two only
  TriedSet tried;
};

enum class PickOutcome : std::uint8_t {
  picked,
  picked_again,  // every candidate was tried already; this one comes round a second time
  all_full,      // candidates exist, all at their max_connections
  none,          // no candidate: all down without fail_open, or every weight is 0
};

struct Pick {
  PickOutcome outcome = PickOutcome::none;
  std::uint32_t index = 0;  // into Pool::backends
};

class Picker {
 public:
  /// `pool` and `table` must outlive it.
  Picker(const Pool& pool, BackendTable& table);

  /// On picked and picked_again the backend's active count has been raised: call table.release(id) exactly once.
  [[nodiscard]] Pick pick(const PickRequest& request);
  /// Moves the cursors on as so many picks would, without counting anything.
  void skip(std::uint32_t picks);
  /// Whether the last pick had to ignore health (fail_open).
  [[nodiscard]] bool failing_open() const { return failing_open_; }

 private:
  using Cursor = std::variant<balance::LeastConn, balance::SmoothWrr, balance::RandomTwo, std::monostate>;

  /// What a pick asks for of each backend, close together: a Backend is large, and there may be a thousand.
  struct Place {
    BackendId id{};
    std::uint32_t limit = 0;  // of connections
  };
  /// So that a standing below the limit is that of a backend which is up, not barred and not full.
  static constexpr std::uint32_t kNoLimit = BackendTable::kOut;

  /// A run of backends that are equal in preference, with this worker's cursor over them.
  struct Tier {
    std::uint32_t begin = 0;  // into Pool::backends
    std::vector<Place> places;
    std::vector<std::uint32_t> weights;
    const balance::Maglev* hashes = nullptr;
    Cursor cursor;
  };
  enum class Health : std::uint8_t { respected, ignored };
  /// What the algorithms see of a tier: active connections, with kOut or more for those that take none, so that they
  /// look busy. The whole standing counts, or without health all but that.
  struct View {
    const BackendTable& table;
    const Place* places;
    std::uint32_t counted;
    [[nodiscard]] std::uint32_t operator()(std::uint32_t i) const { return table.standing(places[i].id) & counted; }
  };

  [[nodiscard]] Tier make_tier(std::uint32_t begin, std::uint32_t end,
                               const std::optional<balance::Maglev>& hashes) const;
  [[nodiscard]] bool usable(std::uint32_t index, Health health) const;
  [[nodiscard]] bool any_up() const;
  [[nodiscard]] Pick pick_home(std::uint64_t client_hash);
  [[nodiscard]] bool acquire(const Place& place);
  [[nodiscard]] Pick pick_untried(const PickRequest& request, TriedSet tried);
  [[nodiscard]] Pick pick_in(Tier& tier, const PickRequest& request, TriedSet tried, Health health);
  template <class Eligible>
  [[nodiscard]] std::optional<std::uint32_t> choose(Tier& tier, const PickRequest& request, View active,
                                                    Eligible&& eligible) const;
  template <class Eligible>
  [[nodiscard]] std::optional<std::uint32_t> choose_by_hash(Tier& tier, std::uint64_t hash, View active,
                                                            Eligible&& eligible) const;

  const Pool* pool_;
  BackendTable* table_;
  Tier primary_;
  Tier backup_;
  bool hash_decides_;  // source_hash over primaries, and nothing but health and limits keeps a client from its backend
  bool failing_open_ = false;
};

}  // namespace millrace::pool
