"""A network namespace for the run: its ports are its own, no firewall rule is in the way, and TCP behaves as the kernel comes.

Above all its congestion control is CUBIC, the kernel's default. Where the machine's is BBR, every socket paces itself with a
timer of its own; over loopback that measures these timers: the same proxy then differs from itself by a factor of three."""

import os
import signal
import subprocess
import sys
from pathlib import Path

INSIDE = "MILLRACE_BENCH_NAMESPACE"
WANTED = "cubic"
SETTINGS = Path("/proc/sys/net/ipv4")


def is_inside():
    return os.environ.get(INSIDE) == "1"


def may_enter():
    return os.geteuid() == 0


def run_inside(arguments):
    """Runs this program again with these arguments, in a new namespace; its status."""
    allowed = SETTINGS / "tcp_allowed_congestion_control"
    before = allowed.read_text().strip()
    # What a namespace may choose is a setting of the machine, so it is changed for the time of the run.
    changed = WANTED not in before.split() and write(allowed, f"{before} {WANTED}")
    child = subprocess.Popen(["unshare", "--net", "--", sys.executable, *arguments], env={**os.environ, INSIDE: "1"})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child has it from the terminal as well, and ends in order
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        return child.wait()
    finally:
        if changed:
            write(allowed, before)


def set_up():
    """Inside: brings loopback up, and chooses the congestion control."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    write(SETTINGS / "tcp_congestion_control", WANTED)


def congestion_control():
    return (SETTINGS / "tcp_congestion_control").read_text().strip()


def write(setting, value):
    try:
        setting.write_text(value)
    except OSError:
        return False
    return True
