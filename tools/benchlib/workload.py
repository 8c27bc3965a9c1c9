"""What all workloads have in common."""

# Which candidates a workload runs through. nginx-plain is measured when it is named on the command line.
TCP = ("direct", "haproxy-splice", "haproxy-auto", "nginx", "millrace-auto", "millrace-copy", "millrace-splice")
FLOOR = (*TCP, "floor")
TCP_DEFAULT_MODE = ("direct", "haproxy-splice", "haproxy-auto", "nginx", "millrace-auto")
WORKERS = ("millrace-auto", "millrace-2-workers")
UDP = ("direct", "nginx", "millrace")
ON_REQUEST = {"udp": ("nginx-plain",), "tcp": ()}
FLOOR_DEFAULT_MODE = (*TCP_DEFAULT_MODE, "floor")
POLLING = (*FLOOR_DEFAULT_MODE, "haproxy-polling", "millrace-polling")
NOT_IN_QUICK = ("floor", "haproxy-auto", "millrace-copy", "millrace-splice")


class Workload:
    """Traffic through a candidate. `run(endpoint, seconds)` returns a figure, a dict of numbers: `units` of work done in
    `seconds`, `errors`, and what else the workload measures; times are in seconds. A failure is such a figure, too."""

    protocol = "tcp"
    unit = "request"
    candidates = TCP
    # Whether the proxy has a core for itself.
    pinned = True
    # Whether --quick has it.
    quick = False
    # What it talks to, see servers.py; None: it brings its own server.
    server = None
    # How many addresses of the server are backends.
    hosts = 1
    # The program of tools/ that it needs, and where that is.
    needs = None
    program = None
    backends = ()

    def __init__(self, name, quick=False):
        self.name = name
        self.quick = quick

    def prepare(self, scratch, programs):
        self.program = str(programs[self.needs]) if self.needs else None

    def run(self, endpoint, seconds):
        raise NotImplementedError

    def failed(self, seconds, why):
        return {"units": 0, "seconds": seconds, "errors": 1, "failure": str(why)[-500:]}
