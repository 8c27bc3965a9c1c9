"""The servers behind the candidates. They run during all rounds, on the cores of the load, or on all of them for workloads
in which nothing is pinned."""

import os
import subprocess

from . import clients, machine, udp
from .ports import free_port

HTTP = """
worker_processes 1;
worker_rlimit_nofile 19000;
daemon off;
pid @DIR@/nginx-http.pid;
error_log @DIR@/nginx-http.error.log crit;
events { worker_connections 18000; }
http {
  access_log off;
  sendfile on;
  open_file_cache max=16;
  keepalive_requests 1000000000;
  server { listen 127.0.0.1:@PORT@ backlog=4096; root @DIR@/www; default_type application/octet-stream; }
}
"""


def nginx_http(port, scratch, _programs):
    www = scratch / "www"
    www.mkdir(exist_ok=True)
    for name, size in (("100", 100), ("10k", 10_000), ("100k", 100_000), ("1m", 1_000_000)):
        (www / name).write_bytes(os.urandom(size))
    os.chmod(scratch, 0o755)
    file = scratch / f"nginx-http-{port}.conf"
    file.write_text(HTTP.replace("@PORT@", str(port)).replace("@DIR@", str(scratch)))
    return ["nginx", "-p", "/usr/share/nginx", "-e", "stderr", "-c", str(file)]


def iperf3(port, _scratch, _programs):
    return ["iperf3", "-s", "-p", str(port)]


def echo(port, _scratch, programs):
    return [str(programs["tcp-load"]), "echo", "--port", str(port)]


def answer(port, _scratch, programs):
    return udp.answer_command(port, programs)


COMMANDS = {"iperf3": iperf3, "nginx-http": nginx_http, "echo": echo, "answer": answer}
PROTOCOLS = {"answer": ("udp",)}


class Server:
    """One process; it can be started again on its port."""

    def __init__(self, kind, pinned, scratch, programs):
        self.port = free_port()
        self.kind = kind
        self.pinned = pinned
        self.command = COMMANDS[kind](self.port, scratch, programs)
        self.process = None

    def start(self):
        self.process = subprocess.Popen(clients.placed(self.command, self.pinned), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        machine.wait_for_port(self.port, self.process, PROTOCOLS.get(self.kind, ("tcp",)))

    def stop(self):
        if self.process is not None:
            machine.stop(self.process)
            self.process = None


class Servers:
    """What the chosen workloads need; a context manager, in which each of them knows its backends."""

    def __init__(self, workloads, scratch, programs):
        self.servers = {}
        for workload in workloads:
            key = (workload.server, workload.pinned)
            if workload.server and key not in self.servers:
                self.servers[key] = Server(*key, scratch, programs)
            if workload.server:
                workload.backends = tuple(f"127.0.0.{i + 1}:{self.servers[key].port}" for i in range(workload.hosts))
            workload.prepare(scratch, programs)

    def __enter__(self):
        try:
            for server in self.servers.values():
                server.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for server in self.servers.values():
            server.stop()

    def restart(self, workload):
        """After a failure: iperf3's may still be busy with a client that is gone, any may have ended."""
        server = self.servers.get((workload.server, workload.pinned))
        if server:
            server.stop()
            server.start()
