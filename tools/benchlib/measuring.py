"""Runs a plan, which is [(workload, its candidates)], round by round."""

import random
import sys
import time

from .results import derived


def measure_once(workload, candidate, seconds, scratch):
    """A figure. Whatever goes wrong is an error of this one."""
    try:
        with candidate.running(workload.backends, scratch, workload.pinned) as endpoint:
            cpu, waited, begun = endpoint.cpu_seconds(), endpoint.waited_seconds(), time.monotonic()
            figure = workload.run(endpoint, seconds)
            figure.setdefault("cpu", endpoint.cpu_seconds() - cpu)
            figure["waited"] = (endpoint.waited_seconds() - waited) / (time.monotonic() - begun)
    except Exception as failure:  # pylint: disable=broad-except
        figure = workload.failed(seconds, f"{type(failure).__name__}: {failure}")
    return derived(figure)


class Progress:
    """One line on stderr, that is written over."""

    def __init__(self, total):
        self.total = total
        self.done = 0
        self.started = time.monotonic()

    def elapsed(self):
        return time.monotonic() - self.started

    def step(self, text):
        self.done += 1
        left = self.elapsed() / self.done * (self.total - self.done)
        print(f"\r[{self.done}/{self.total}] {text}; about {left:.0f} s left{' ' * 20}", end="", file=sys.stderr, flush=True)


def measure(plan, results, servers, scratch, *, rounds, seconds, budget, after_round):
    """Fills the results; returns False when it was interrupted. A round that would not end within the budget (seconds; None:
    no limit) is not begun, except for the first."""
    progress = Progress(rounds * sum(len(candidates) for _, candidates in plan))
    complete = 0
    try:
        for number in range(1, rounds + 1):
            if budget and complete and progress.elapsed() * number / complete > budget:
                break
            for workload, candidates in plan:
                for candidate in random.sample(candidates, len(candidates)):
                    figure = measure_once(workload, candidate, seconds, scratch)
                    results.figures[workload.name][candidate.name].append(figure)
                    if figure.get("failure"):
                        recover(servers, workload)
                    progress.step(f"round {number}: {workload.name} by {candidate.name}")
            complete = number
            after_round()
    except KeyboardInterrupt:
        print("\nstopped; what there is follows", file=sys.stderr)
        return False
    print(file=sys.stderr)
    return True


def recover(servers, workload):
    try:
        servers.restart(workload)
    except (OSError, RuntimeError) as failure:
        print(f"\nthe server of {workload.name} does not come back: {failure}", file=sys.stderr)
