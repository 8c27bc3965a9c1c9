"""The balancer as a process: its log, its ports, its end."""

import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import threading

from .sockets import parse_address
from .waiting import DEADLINE, wait_until

LEFTOVERS = ("connections", "pipes", "buffers")
_TEXT_LINE = re.compile(r"^\d{4}-\d\d-\d\dT\S+Z (error|warn|info|debug)\s+(\S+)(.*)$")
_TEXT_FIELD = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')


def parse_line(line):
    """One line of the log, JSON or text, as a dict with at least `event` and `level`; None for anything else."""
    if line.startswith("{"):
        try:
            event = json.loads(line)
        except ValueError:
            return None
        return event if "event" in event and "level" in event else None
    match = _TEXT_LINE.match(line)
    if not match:
        return None
    event = {"level": match.group(1), "event": match.group(2)}
    for key, value in _TEXT_FIELD.findall(match.group(3)):
        event[key] = json.loads(value) if value.startswith('"') else value
    return event


def state_of(process):
    """The state of a process or a thread, by its folder in /proc: "S" is asleep, "T" is stopped."""
    return (process / "stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]


class Millrace:
    """A running balancer. `close` ends it and asserts that it ended well, with nothing left behind."""

    def __init__(self, command, *, open_files=None, env=None, pass_fds=()):
        self.expected_errors = set()  # events of level error that the test provokes
        self.is_expected_line = lambda _line: False  # of lines that are no events
        self.expect_status = 0
        self.lines = []
        self.events = []
        self._changed = threading.Condition()
        self._closed = False

        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))

        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | (env or {}), pass_fds=pass_fds, preexec_fn=limit if open_files else None)
        self.pid = self.process.pid
        self._readers = [threading.Thread(target=self._read, args=(stream,), daemon=True)
                         for stream in (self.process.stderr, self.process.stdout)]
        for reader in self._readers:
            reader.start()

    def _read(self, stream):
        for raw in stream:
            line = raw.decode(errors="replace").rstrip("\n")
            event = parse_line(line)
            with self._changed:
                self.lines.append(line)
                if event:
                    self.events.append(event)
                self._changed.notify_all()

    # The log.

    def find_events(self, name, **fields):
        with self._changed:
            return [event for event in self.events
                    if event["event"] == name and all(event.get(key) == value for key, value in fields.items())]

    def wait_event(self, name, count=1, deadline=DEADLINE, **fields):
        """The count-th event of that name with those fields; fails when it does not come, or the process ends."""

        def found():
            matching = self.find_events(name, **fields)
            if len(matching) >= count:
                return matching[count - 1]
            return self.process.poll() is not None and not any(reader.is_alive() for reader in self._readers) and "gone"

        event = wait_until(found, deadline, lambda: f"event {name} {fields or ''} in the log:\n{self.tail()}")
        if event == "gone":
            raise AssertionError(f"ended with {self.process.returncode} before event {name}:\n{self.tail()}")
        return event

    def tail(self, lines=40):
        with self._changed:
            return "\n".join(self.lines[-lines:])

    def wait_ready(self):
        self.wait_event("ready")
        return self

    # Where it listens.

    def addresses(self, listener="web"):
        return [parse_address(event["address"]) for event in self.find_events("listening", listener=listener)]

    @property
    def address(self):
        """The only address of the listener `web`, or of the only listener."""
        events = self.find_events("listening")
        assert events, f"no listening event:\n{self.tail()}"
        return parse_address(events[0]["address"])

    @property
    def http_address(self):
        """Where it serves HTTP."""
        return parse_address(self.wait_event("http_listening")["address"])

    # What it uses.

    def descriptors(self):
        """Its open descriptors by kind: {"socket": 5, "pipe": 2, ...}."""
        kinds = {}
        folder = pathlib.Path(f"/proc/{self.pid}/fd")
        for entry in os.listdir(folder):
            try:
                kind = os.readlink(folder / entry).split(":")[0]
            except FileNotFoundError:
                continue
            kinds[kind] = kinds.get(kind, 0) + 1
        return kinds

    def _status(self, key):
        """A number of /proc/PID/status."""
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE).group(1))

    def rss_bytes(self):
        return self._status("VmRSS") * 1024

    def descriptor_slots(self):
        """The size of the kernel's table of its descriptors."""
        return self._status("FDSize")

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stands_still(self):
        """True once a SIGSTOP has reached all its threads."""
        return all(state_of(task) == "T" for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir())

    def thread(self, name):
        """The number of its thread of that name, e.g. worker-0."""
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            if (task / "comm").read_text(encoding="ascii").strip() == name:
                return int(task.name)
        raise AssertionError(f"no thread {name}")

    def limit_open_files(self, soft):
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (soft, hard))

    # Its end.

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait_exit(self, deadline=DEADLINE):
        try:
            status = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running {deadline:g} s later:\n{self.tail()}") from None
        for reader in self._readers:
            reader.join(DEADLINE)
        return status

    def close(self):
        """Ends it with SIGTERM if it still runs, and asserts that it ended as it should."""
        if self._closed:
            return
        self._closed = True
        try:
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
            status = self.wait_exit()
            assert status == self.expect_status, f"exit status {status}:\n{self.tail()}"
            if self.expect_status == 0:
                self.assert_clean()
        finally:
            self.kill()

    def stopped(self):
        """Ends it, and returns what its last event says: the counts of its whole life."""
        self.close()
        return {name: int(value) for name, value in self.find_events("stopped")[0].items() if str(value).isdigit()}

    def assert_clean(self):
        stopped = self.find_events("stopped")
        assert len(stopped) == 1, f"{len(stopped)} stopped events:\n{self.tail()}"
        left = {name: int(stopped[0].get(name, -1)) for name in LEFTOVERS}
        assert all(count == 0 for count in left.values()), f"left behind: {left}\n{self.tail()}"
        errors = [event for event in self.events
                  if event["level"] == "error" and event["event"] not in self.expected_errors]
        assert not errors, f"errors in the log: {errors}"
        strange = [line for line in self.lines if parse_line(line) is None and not self.is_expected_line(line)]
        assert not strange, f"lines that are no log events: {strange}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()
