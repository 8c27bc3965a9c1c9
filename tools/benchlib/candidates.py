"""The proxies that are measured: how each is configured, started and pinned."""

import contextlib
import subprocess
from pathlib import Path

from . import configurations, machine
from .endpoint import Endpoint
from .ports import free_port

PIPES = 1000


def connections_max():
    """That HAProxy can promise, which wants two descriptors for each and for each pipe, and some for itself."""
    return max(200, min(8500, (machine.descriptors_max() - 2 * PIPES - 200) // 2))


class Direct:
    """What the machine can do without anything in between."""

    name = "direct"

    def describe(self):
        return "no proxy at all"

    @contextlib.contextmanager
    def running(self, backends, scratch, pinned):
        yield Endpoint(int(backends[0].rsplit(":", 1)[1]), None, pinned)


class Proxy:
    """The template's @BACKENDS@ becomes the pattern `backend` once for each of them."""

    def __init__(self, name, template, backend, command, protocols=("tcp",)):
        self.name = name
        self.template = template
        self.backend = backend
        self.command = command
        self.protocols = protocols

    def describe(self):
        return self.configuration("@PORT@", ["@BACKEND@"], "@DIR@").strip()

    def configuration(self, port, backends, scratch):
        values = {"PORT": port, "DIR": scratch, "CONNECTIONS": connections_max(), "PIPES": PIPES,
                  "FILES": min(19_000, machine.descriptors_max()),
                  "BACKENDS": "\n".join(self.backend.format(address=address, number=i + 1)
                                        for i, address in enumerate(backends))}
        return filled(self.template, **values)

    @contextlib.contextmanager
    def running(self, backends, scratch, pinned):
        port = free_port()
        file = scratch / f"{self.name}.conf"
        file.write_text(self.configuration(port, backends, scratch))
        cores = [machine.proxy_core()] if pinned else machine.all_cores()
        log = open(scratch / f"{self.name}.log", "w", encoding="utf-8")
        process = subprocess.Popen(machine.on_cores(cores, self.command(file)), stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL)
        try:
            try:
                machine.wait_for_port(port, process, self.protocols)
            except RuntimeError as failure:
                said = Path(log.name).read_text(encoding="utf-8")[-2000:] or "nothing"
                raise RuntimeError(f"{self.name}: {failure}; it said: {said}") from None
            endpoint = Endpoint(port, process.pid, pinned)
            endpoint.settle()
            yield endpoint
        finally:
            machine.stop(process)
            log.close()


def filled(template, **values):
    for key, value in values.items():
        template = template.replace(f"@{key}@", str(value))
    return template


def haproxy(name, splice, polling=""):
    return Proxy(name, filled(configurations.HAPROXY, SPLICE=splice, POLLING=polling), "  server s{number} {address}",
                 lambda file: ["haproxy", "-db", "-q", "-f", str(file)])


def nginx(name, template, **options):
    return Proxy(name, template, "    server {address};",
                 lambda file: ["nginx", "-p", "/usr/share/nginx", "-e", "stderr", "-c", str(file)], **options)


def nginx_udp(name, events, listen):
    return nginx(name, filled(configurations.NGINX_UDP, EVENTS=events, LISTEN=listen), protocols=("tcp", "udp"))


class Floor(Proxy):
    """The smallest program that does what no proxy can avoid: what is left of another's cost is its own."""

    def __init__(self, program):
        super().__init__("floor", "@PORT@ @BACKENDS@", "{address}", lambda file: [program, *file.read_text().split()])

    def describe(self):
        return "tools/relay-floor, " + super().describe()


def catalogue(binary, floor, compared=None):
    """{protocol: {name: candidate}}; `compared` is another build of millrace."""
    def millrace(name, template, program=binary, **options):
        return Proxy(name, template, '  {{ address = "{address}" }},', lambda file: [program, "run", "-c", str(file)],
                     **options)

    def forwarding(name, mode, workers=1, polling=""):
        return millrace(name, filled(configurations.MILLRACE, FORWARDING=mode, WORKERS=workers, POLLING=polling))

    tcp = [Direct(), haproxy("haproxy-splice", "option splice-request\n  option splice-response"),
           haproxy("haproxy-auto", "option splice-auto"), nginx("nginx", configurations.NGINX),
           forwarding("millrace-auto", "auto"), forwarding("millrace-copy", "copy"),
           forwarding("millrace-splice", "splice"), forwarding("millrace-2-workers", "auto", workers=2),
           # Both wait for events without sleeping (millrace for so long): configuration.txt, "busy-polling".
           haproxy("haproxy-polling", "option splice-auto", "\n  busy-polling"),
           forwarding("millrace-polling", "auto", polling="\nbusy_poll_us = 50"),
           Floor(floor)]
    udp = [Direct(), nginx_udp("nginx", "multi_accept on;", " rcvbuf=4m"), nginx_udp("nginx-plain", "", ""),
           millrace("millrace", configurations.MILLRACE_UDP, protocols=("tcp", "udp"))]
    if compared:
        tcp.append(millrace("compared", filled(configurations.MILLRACE, FORWARDING="auto", WORKERS=1, POLLING=""), compared))
        udp.append(millrace("compared", configurations.MILLRACE_UDP, compared, protocols=("tcp", "udp")))
    return {"tcp": {c.name: c for c in tcp}, "udp": {c.name: c for c in udp}}
