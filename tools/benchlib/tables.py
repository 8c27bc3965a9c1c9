"""The Markdown tables. A table is a list of columns, a column a title and a function that makes the cell of a workload (as
described in the results) and a candidate."""

from . import units
from .results import HIGHER, LOWER, spread

AGAINST = {"haproxy-splice": "against HAProxy (splice forced)", "nginx": "against nginx",
           "nginx-plain": "against nginx, plain"}


class Columns:
    """Makes columns that read from one run's results."""

    def __init__(self, results):
        self.results = results

    def median(self, title, key, show):
        return title, lambda w, c: show(self.results.median(w["name"], c, key))

    def against(self, peer, key="cpu_per_unit"):
        return AGAINST[peer], lambda w, c: spread(self.results.ratios(w["name"], c, peer, key))

    def against_better(self, title, key, best):
        def cell(w, c):
            peer = self.results.better_peer(w["name"], key, best)
            return spread(self.results.ratios(w["name"], c, peer, key)) if peer else "–"
        return title, cell

    def cost(self):
        return "CPU per unit", lambda w, c: units.cost(w["unit"], self.results.median(w["name"], c, "cpu_per_unit"))

    def rate(self, title="rate"):
        return title, lambda w, c: units.rate(w["unit"], self.results.median(w["name"], c, "rate"))

    def errors(self):
        return "errors", lambda w, c: str(self.results.total(w["name"], c, "errors"))

    def per_unit(self, title, key, show):
        def cell(w, c):
            opened = self.results.median(w["name"], c, "units")
            return show(self.results.median(w["name"], c, key) / opened) if opened else "–"
        return title, cell


def markdown(titles, rows):
    return "\n".join(["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"] +
                     ["| " + " | ".join(row) + " |" for row in rows])


def table(workloads, columns, with_direct=True):
    """One row for each workload and candidate; an empty text where there are none."""
    rows = [[w["name"], c, *(cell(w, c) for _, cell in columns)]
            for w in workloads for c in w["candidates"] if with_direct or c != "direct"]
    return markdown(["workload", "candidate", *(title for title, _ in columns)], rows) if rows else ""


def tcp_table(results, column):
    chosen = [w for w in results.workloads if w["protocol"] == "tcp"]
    return table(chosen, [column.cost(), column.against_better("against the better peer", "cpu_per_unit", LOWER),
                          column.against("haproxy-splice"), column.against("nginx"), column.rate(),
                          column.against_better("rate against the better peer", "rate", HIGHER), column.errors()])


def latency_table(results, column):
    chosen = [w for w in results.workloads if results.has(w["name"], "p99")]
    return table(chosen, [column.median("p50", "p50", units.latency), column.median("p99", "p99", units.latency),
                          column.median("p99.9", "p999", units.latency),
                          column.against_better("p99 against the better peer", "p99", LOWER),
                          column.against_better("p99.9 against the better peer", "p999", LOWER)])


def added_table(results, column):
    chosen = [w for w in results.workloads if results.has(w["name"], "added_p50")]
    return table(chosen, [column.median("p50 of direct, in turns", "direct_p50", units.latency),
                          column.median("p50 added to direct", "added_p50", units.latency),
                          column.against_better("added p50 against the better peer", "added_p50", LOWER)], with_direct=False)


def udp_table(results, column):
    chosen = [w for w in results.workloads if w["protocol"] == "udp"]
    plain = [column.against("nginx-plain")] if any("nginx-plain" in w["candidates"] for w in chosen) else []

    def beyond(w, c):
        pairs = zip(results.rounds(w["name"], c), results.rounds(w["name"], "nginx"))
        return spread([mine["loss"] - theirs["loss"] for mine, theirs in pairs if c != "direct"], "{:+.2f}".format)

    return table(chosen, [column.cost(), column.against("nginx"), *plain,
                          ("offered/s", lambda w, c: units.number(offered_rate(results, w, c))), column.rate("delivered"),
                          column.median("loss", "loss", lambda v: units.number(v, "{:.2f} %")),
                          ("loss beyond nginx's, points", beyond), column.errors()])


def offered_rate(results, workload, candidate):
    offered = results.median(workload["name"], candidate, "offered")
    seconds = results.median(workload["name"], candidate, "seconds")
    return offered / seconds if offered is not None and seconds else None


def memory_table(results, column):
    chosen = [w for w in results.workloads if results.has(w["name"], "resident_growth")]
    return table(chosen, [column.median("open", "units", units.number),
                          column.median("RSS before", "resident_before", lambda v: units.number(v and v / 2**20, "{:.1f} MiB")),
                          column.median("RSS growth each", "bytes_each", lambda v: units.number(v, "{:,.0f} bytes")),
                          column.per_unit("descriptors each", "descriptors", "{:.3f}".format)], with_direct=False)


def noise(results):
    """How much the proxies had to wait for others on their core: what loses more for that, and runs with colder caches."""
    shares = [100 * figure["waited"] for w in results.workloads if w["pinned"] for c in w["candidates"] if c != "direct"
              for figure in results.rounds(w["name"], c) if "waited" in figure]
    return f"the proxies waited {spread(shares, '{:.1f}'.format)} % of the time for their core"


def all_tables(results):
    """The title of each, and its text."""
    column = Columns(results)
    tables = [("TCP", tcp_table), ("Latency", latency_table), ("Latency that the proxy adds", added_table), ("UDP", udp_table),
              ("Memory", memory_table)]
    return [(title, text) for title, make in tables if (text := make(results, column))]
