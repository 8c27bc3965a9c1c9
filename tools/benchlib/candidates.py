"""The proxies that are measured: how each is configured, started, pinned and accounted."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def proxy_core():
    return sorted(os.sched_getaffinity(0))[0]


def peer_cores():
    cores = sorted(os.sched_getaffinity(0))
    return cores[1:] or cores


def free_port():
    """A port that is free for TCP and for UDP: iperf3 needs both."""
    for _ in range(100):
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                datagrams.bind(stream.getsockname())
                return stream.getsockname()[1]
    raise RuntimeError("no port is free for both TCP and UDP")


# What /proc/net/* shows as the state of a socket that listens; of a datagram socket: that it is not connected.
LISTENING = {"tcp": "0A", "udp": "07"}


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


class Endpoint:
    """A running candidate: the port to connect to, and what it has used of the machine."""

    def __init__(self, port, pid):
        self.port = port
        self.pid = pid

    def processes(self):
        return [] if self.pid is None else process_tree(self.pid)

    def cpu_seconds(self):
        """User + system time of all its processes, and of the core's soft interrupt thread, which works for it."""
        if self.pid is None:
            return 0.0
        softirq = softirq_thread(proxy_core())
        seconds = 0.0
        for pid in self.processes() + ([softirq] if softirq else []):
            with contextlib.suppress(OSError):
                seconds += process_cpu_seconds(pid)
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
        return pages * PAGE_BYTES

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


class Direct:
    name = "direct"
    on_request = False

    def describe(self):
        return "no proxy at all"

    @contextlib.contextmanager
    def running(self, backends, scratch):
        yield Endpoint(int(backends[0].rsplit(":", 1)[1]), None)


class Proxy:
    """The template's @BACKENDS@ becomes the pattern `backend` once for each of them."""

    def __init__(self, name, template, backend, command, protocols=("tcp",), on_request=False):
        self.name = name
        self.template = template
        self.backend = backend
        self.command = command
        self.protocols = protocols
        self.on_request = on_request

    def describe(self):
        return self.template.strip()

    def configuration(self, port, backends, scratch):
        listed = "\n".join(self.backend.format(address=address, number=i + 1) for i, address in enumerate(backends))
        text = self.template
        for key, value in (("@PORT@", port), ("@BACKENDS@", listed), ("@DIR@", scratch)):
            text = text.replace(key, str(value))
        return text

    @contextlib.contextmanager
    def running(self, backends, scratch):
        port = free_port()
        file = scratch / f"{self.name}.conf"
        file.write_text(self.configuration(port, backends, scratch))
        log = open(scratch / f"{self.name}.log", "w", encoding="utf-8")
        process = subprocess.Popen(["taskset", "-c", str(proxy_core())] + self.command(file), stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL)
        try:
            try:
                wait_for_port(port, process, self.protocols)
            except RuntimeError as failure:
                raise RuntimeError(f"{self.name}: {failure}; it said:\n{Path(log.name).read_text()[-2000:]}") from None
            endpoint = Endpoint(port, process.pid)
            endpoint.settle()
            yield endpoint
        finally:
            stop(process)
            log.close()


HAPROXY = """
global
  maxconn 8500
  nbthread 1
  tune.pipesize 262144
  maxpipes 1000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  @SPLICE@
listen bench
  bind 127.0.0.1:@PORT@ backlog 4096
  balance leastconn
@BACKENDS@
"""

NGINX = """
load_module modules/ngx_stream_module.so;
worker_processes 1;
worker_rlimit_nofile 19000;
daemon off;
pid @DIR@/nginx-stream.pid;
error_log @DIR@/nginx-stream.error.log crit;
events { worker_connections 18000; }
stream {
  upstream bench {
    least_conn;
@BACKENDS@
  }
  server {
    listen 127.0.0.1:@PORT@ backlog=4096;
    proxy_pass bench;
    proxy_buffer_size 64k;
    proxy_timeout 1h;
  }
}
"""

MILLRACE = """
[runtime]
workers = 1
pin_workers = false
[listeners.bench]
bind = "127.0.0.1:@PORT@"
pool = "bench"
forwarding = "@FORWARDING@"
[pools.bench]
backends = [
@BACKENDS@
]
[pools.bench.health]
type = "none"
"""


# UDP, beside TCP on the same port. The documentation of ngx_stream_core_module names "reuseport" and "rcvbuf" for UDP;
# with "multi_accept" a wake-up takes every datagram that is there instead of one, and costs a third less. A session needs
# two connections, and a descriptor.
NGINX_UDP = """
load_module modules/ngx_stream_module.so;
worker_processes 1;
worker_rlimit_nofile 19000;
daemon off;
pid @DIR@/nginx-udp.pid;
error_log @DIR@/nginx-udp.error.log crit;
events { worker_connections 38000; @EVENTS@ }
stream {
  upstream bench {
    least_conn;
@BACKENDS@
  }
  server {
    listen 127.0.0.1:@PORT@ backlog=4096;
    listen 127.0.0.1:@PORT@ udp reuseport@LISTEN@;
    proxy_pass bench;
    proxy_timeout 1h;
  }
}
"""

MILLRACE_UDP = """
[runtime]
workers = 1
pin_workers = false
[listeners.bench]
bind = "127.0.0.1:@PORT@"
pool = "bench"
[listeners.bench-udp]
protocol = "udp"
bind = "127.0.0.1:@PORT@"
pool = "bench"
[pools.bench]
backends = [
@BACKENDS@
]
[pools.bench.health]
type = "none"
"""


def all_candidates(binary):
    """{protocol: its candidates}; those that are `on_request` run only when they are named."""
    def haproxy(name, splice):
        return Proxy(name, HAPROXY.replace("@SPLICE@", splice), "  server s{number} {address}",
                     lambda file: ["haproxy", "-db", "-q", "-f", str(file)])

    def nginx(name, template, **options):
        return Proxy(name, template, "    server {address};",
                     lambda file: ["nginx", "-p", "/usr/share/nginx", "-e", "stderr", "-c", str(file)], **options)

    def nginx_udp(name, events, listen, **options):
        return nginx(name, NGINX_UDP.replace("@EVENTS@", events).replace("@LISTEN@", listen), protocols=("tcp", "udp"),
                     **options)

    def millrace(name, template, **options):
        return Proxy(name, template, '  {{ address = "{address}" }},', lambda file: [binary, "run", "-c", str(file)],
                     **options)

    def forwarding(mode):
        return millrace(f"millrace-{mode}", MILLRACE.replace("@FORWARDING@", mode))

    tcp = [haproxy("haproxy-splice", "option splice-request\n  option splice-response"),
           haproxy("haproxy-auto", "option splice-auto"), nginx("nginx", NGINX),
           forwarding("auto"), forwarding("copy"), forwarding("splice")]
    udp = [nginx_udp("nginx", "multi_accept on;", " rcvbuf=4m"), nginx_udp("nginx-plain", "", "", on_request=True),
           millrace("millrace", MILLRACE_UDP, protocols=("tcp", "udp"))]
    return {"tcp": [Direct(), *tcp], "udp": [Direct(), *udp]}
