"""What the kernel tells about cores, sockets and processes."""

import contextlib
import functools
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def all_cores():
    return sorted(os.sched_getaffinity(0))


def proxy_core():
    return all_cores()[0]


def load_cores():
    """Where clients and servers run."""
    return all_cores()[1:] or all_cores()


def on_cores(cores, command):
    return ["taskset", "-c", ",".join(map(str, cores)), *command]


def descriptors_max():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1_000_000 if limit == resource.RLIM_INFINITY else limit


# What /proc/net/* shows as the state of a socket that listens; of a datagram socket: that it is not connected.
LISTENING = {"tcp": "0A", "udp": "07"}


def segments_sent():
    """By both ends of every TCP connection in this network namespace, since it began."""
    with open("/proc/net/snmp", encoding="ascii") as rows:
        names, values = (row.split() for row in rows if row.startswith("Tcp:"))
    return int(values[names.index("OutSegs")])


def listens(port, protocol="tcp"):
    """Whether some socket of this machine listens on the port. Asked of the kernel: a connection to try it out would reach
    the server behind a proxy, and iperf3 takes any connection for a test."""
    for table in (f"/proc/net/{protocol}", f"/proc/net/{protocol}6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as rows:
            for row in list(rows)[1:]:
                fields = row.split()
                if fields[3] == LISTENING[protocol] and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    return True
    return False


def wait_for_port(port, process, protocols=("tcp",), deadline=10.0):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the program on port {port} ended with status {process.returncode}")
        if all(listens(port, protocol) for protocol in protocols):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port} ({', '.join(protocols)})")


def stop(process):
    """The second signal is for millrace, which waits at the first one for what it still owes; no figure needs that."""
    for patience in (0.3, 10):
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return
    process.kill()
    process.wait()


def process_tree(pid):
    pids = [pid]
    for p in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{p}/task").iterdir():
                pids += [int(c) for c in (task / "children").read_text().split() if int(c) not in pids]
    return pids


def process_cpu_seconds(pid):
    """User + system time of a process in nanosecond steps: its threads, also those that have ended, and the kernel's workers
    of its ring. This is the process's CPU clock as clock_getcpuclockid(3) makes it, which Python does not have."""
    return time.clock_gettime((~pid << 3) | 2)


@functools.lru_cache(maxsize=None)
def softirq_thread(core):
    """The kernel's thread that does what was put off when too many packets came at once on this core; None: not visible."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if comm.read_text() == f"ksoftirqd/{core}\n":
                return int(comm.parent.name)
    return None
