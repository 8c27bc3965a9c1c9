"""All workloads, in the order of the tables."""

from . import udp, wrk
from .iperf3 import Iperf3
from .tcp_load import Fairness, Idle, PingPong


def all_workloads(connections, sessions):
    bulk = [Iperf3(1, quick=True), Iperf3(8, quick=True), Iperf3(64)]
    unpinned = [Iperf3(streams, pinned=False, quick=streams == 8) for streams in (1, 8, 64)]
    return [*bulk, *unpinned, *wrk.keep_alive(),
            wrk.Wrk("one request per connection", "/100", 64, close=True, quick=True),
            wrk.Wrk("two workers, wrk 64, 100 B", "/100", 64, workers=True, quick=True),
            PingPong("ping-pong", 64, quick=True), Idle("idle connections", connections, quick=True),
            Fairness("200 slow beside 1 bulk", 200, quick=True), *udp.all_workloads(sessions)]
