"""What a run has measured, as plain data that goes to JSON and comes back, and the questions that tables ask of it."""

import json
import statistics
from pathlib import Path

# Who millrace is measured against. "The better peer" is, for each figure, that one of them whose median is best.
PEERS = ("haproxy-splice", "haproxy-auto", "nginx")
LOWER, HIGHER = min, max


def derived(figure):
    """The figure with what follows from the measured numbers: the rate, CPU per unit, loss in percent of what was offered."""
    figure["rate"] = figure["units"] / figure["seconds"] if figure["seconds"] else 0.0
    figure["cpu_per_unit"] = figure.get("cpu", 0.0) / figure["units"] if figure["units"] else 0.0
    if "offered" in figure:
        figure["loss"] = 100 * figure["lost"] / figure["offered"] if figure["offered"] else 100.0
    return figure


class Results:
    """`about`: how it was measured; `workloads`: name, protocol, unit and candidates of each; `figures`:
    {workload: {candidate: [a dict of numbers for each round]}}."""

    def __init__(self, about, workloads, figures=None):
        self.about = about
        self.workloads = workloads
        self.figures = figures or {w["name"]: {c: [] for c in w["candidates"]} for w in workloads}

    @classmethod
    def load(cls, file):
        data = json.loads(Path(file).read_text(encoding="utf-8"))
        return cls(data["about"], data["workloads"], data["figures"])

    def save(self, file):
        data = {"about": self.about, "workloads": self.workloads, "figures": self.figures}
        Path(file).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    def rounds(self, workload, candidate):
        return self.figures.get(workload, {}).get(candidate, [])

    def values(self, workload, candidate, key):
        """Of the rounds that have the figure; 0 stands for a failure, except where 0 can be a result."""
        return [figure[key] for figure in self.rounds(workload, candidate)
                if key in figure and not figure.get("failure")]

    def median(self, workload, candidate, key):
        values = self.values(workload, candidate, key)
        return statistics.median(values) if values else None

    def total(self, workload, candidate, key):
        return sum(figure.get(key, 0) for figure in self.rounds(workload, candidate))

    def ratios(self, workload, candidate, other, key):
        """Of candidate to other, one for each round in which both have such a figure."""
        return [mine[key] / theirs[key]
                for mine, theirs in zip(self.rounds(workload, candidate), self.rounds(workload, other))
                if mine.get(key, 0) > 0 and theirs.get(key, 0) > 0]

    def better_peer(self, workload, key, best):
        """None where no peer has the figure. Chosen by the medians of the run and not anew in each round: the best of three
        noisy figures would be better than each of the three."""
        medians = {peer: self.median(workload, peer, key) for peer in PEERS}
        medians = {peer: median for peer, median in medians.items() if median and median > 0}
        return best(medians, key=medians.get) if medians else None

    def has(self, workload, key):
        return any(key in figure for rounds in self.figures.get(workload, {}).values() for figure in rounds)

    def failures(self):
        """(workload, candidate, what was said) of every measurement without a result."""
        return [(workload, candidate, figure["failure"]) for workload, candidates in self.figures.items()
                for candidate, rounds in candidates.items() for figure in rounds if figure.get("failure")]


def spread(values, show="{:.2f}".format):
    """Median (lowest–highest); the number alone when there is only one, a dash when there is none."""
    if not values:
        return "–"
    if len(values) == 1:
        return show(values[0])
    return f"{show(statistics.median(values))} ({show(min(values))}–{show(max(values))})"
