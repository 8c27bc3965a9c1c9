"""The targets that millrace has set itself, each held against a run."""

import statistics

from .results import HIGHER, LOWER, spread
from .tables import markdown

MILLRACE = "millrace-auto"
BETTER = "the better peer"


class Target:
    """A figure of millrace's divided by a peer's, or by another candidate's; without an opponent the figure itself."""

    def __init__(self, workload, figure, key, limit, against=None, at_least=False, candidate=MILLRACE, unit=""):
        self.workload = workload
        self.figure = figure
        self.key = key
        self.limit = limit
        self.against = against
        self.at_least = at_least
        self.candidate = candidate
        self.unit = unit

    def text(self):
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.limit:g}{self.unit}" + (f" of {self.against}" if self.against else "")

    def opponent(self, results):
        if self.against == BETTER:
            return results.better_peer(self.workload, self.key, HIGHER if self.at_least else LOWER)
        return self.against

    def measured(self, results):
        """A number for each round."""
        if self.against is None:
            return results.values(self.workload, self.candidate, self.key)
        opponent = self.opponent(results)
        return results.ratios(self.workload, self.candidate, opponent, self.key) if opponent else []

    def verdict(self, values):
        if not values:
            return "not measured"
        # What the table shows decides: 1.004 is written as 1.00.
        median = round(statistics.median(values), 0 if self.unit else 2)
        return "met" if (median >= self.limit if self.at_least else median <= self.limit) else "**not met**"

    def row(self, results):
        values = self.measured(results)
        show = (lambda v: f"{v:,.0f}{self.unit}") if self.unit else "{:.2f}".format
        opponent = f" ({self.opponent(results)})" if values and self.against == BETTER else ""
        return [self.workload, self.figure, self.text() + opponent, spread(values, show), self.verdict(values)]


def cpu(workload, unit, limit, against):
    return Target(workload, f"CPU per {unit}", "cpu_per_unit", limit, against)


def all_targets():
    bulk = [cpu(f"iperf3 {streams}", "GiB", limit, peer) for streams, of_haproxy, of_nginx in
            ((1, 0.55, 0.28), (8, 0.60, 0.30), (64, 0.60, 0.30))
            for peer, limit in (("haproxy-splice", of_haproxy), ("nginx", of_nginx))]
    unpinned = [Target(f"iperf3 {streams} unpinned", "throughput", "rate", 1.1, BETTER, at_least=True)
                for streams in (1, 8, 64)]
    small = [target for size in ("100 B", "10 KB") for connections in (64, 512) for target in (
        cpu(f"wrk {connections}, {size}", "request", 0.82, BETTER),
        Target(f"wrk {connections}, {size}", "p99", "p99", 1.0, BETTER))]
    large = [cpu(f"wrk {connections}, {size}", "request", 0.6, BETTER) for size in ("100 KB", "1 MB")
             for connections in (64, 512)]
    return [*bulk, *unpinned, *small, *large,
            cpu("one request per connection", "connection", 0.80, BETTER),
            Target("one request per connection", "rate", "rate", 1.1, BETTER, at_least=True),
            Target("ping-pong", "p50 added to direct", "added_p50", 0.9, BETTER),
            Target("ping-pong", "p50 added to direct, busy_poll_us = 50", "added_p50", 0.9, BETTER, candidate="millrace-polling"),
            Target("idle connections", "memory each", "bytes_each", 400, unit=" B"),
            Target("two workers, wrk 64, 100 B", "CPU per request", "cpu_per_unit", 1.05, MILLRACE,
                   candidate="millrace-2-workers")]


def targets_table(results):
    return markdown(["workload", "figure", "target", "measured", "verdict"],
                    [target.row(results) for target in all_targets()])
