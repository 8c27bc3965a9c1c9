"""A candidate that runs, and what it has used of the machine."""

import contextlib
import os
import time
from pathlib import Path

from . import machine


class Endpoint:
    """The port to connect to, and the process; None for no proxy at all."""

    def __init__(self, port, pid, pinned=True):
        self.port = port
        self.pid = pid
        self.pinned = pinned

    def processes(self):
        return [] if self.pid is None else machine.process_tree(self.pid)

    def cpu_seconds(self):
        """User + system time of all its processes, and of its core's soft interrupt thread, which works for it. A proxy that is
        not pinned has no core, and such a thread works for everybody."""
        if self.pid is None:
            return 0.0
        softirq = machine.softirq_thread(machine.proxy_core()) if self.pinned else None
        seconds = 0.0
        for pid in self.processes() + ([softirq] if softirq else []):
            with contextlib.suppress(OSError):
                seconds += machine.process_cpu_seconds(pid)
        return seconds

    def waited_seconds(self):
        """Time that its threads were ready to run, and something else had the core."""
        nanoseconds = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    nanoseconds += int((task / "schedstat").read_text().split()[1])
        return nanoseconds / 1e9

    def resident_bytes(self):
        pages = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * machine.PAGE_BYTES

    def descriptors(self):
        count = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                count += len(os.listdir(f"/proc/{pid}/fd"))
        return count

    def settle(self, deadline=1.0):
        """Waits until it has done its work of starting up, or the deadline is over."""
        end = time.monotonic() + deadline
        before = -1.0
        while self.pid is not None and time.monotonic() < end:
            now = self.cpu_seconds()
            if now - before < 0.0001:
                return
            before = now
            time.sleep(0.03)
