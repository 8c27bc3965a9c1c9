"""Sends to an address as fast as it goes, datagrams or a stream: flood.py udp|tcp HOST PORT. Says when it has begun;
ends with its input, and after a minute in any case."""

import select
import socket
import sys
import time

SECONDS_MAX = 60
UDP_SOCKETS = 16
STREAMS = 4


def flood_datagrams(address):
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(UDP_SOCKETS)]
    data = b"f" * 200
    while True:
        for sock in sockets:
            for _ in range(16):
                sock.sendto(data, address)
        yield


def flood_streams(address):
    sockets = [socket.create_connection(address) for _ in range(STREAMS)]
    data = b"f" * (1 << 18)
    poller = select.poll()
    for sock in sockets:
        sock.setblocking(False)
        poller.register(sock, select.POLLOUT)
    by_descriptor = {sock.fileno(): sock for sock in sockets}
    while True:
        for descriptor, _ in poller.poll(100):
            by_descriptor[descriptor].send(data)
        yield


def main():
    kind, host, port = sys.argv[1:]
    flood = {"udp": flood_datagrams, "tcp": flood_streams}[kind]((host, int(port)))
    end_at = time.monotonic() + SECONDS_MAX
    for _ in range(50):
        next(flood)
    print("begun", flush=True)
    while time.monotonic() < end_at and not select.select([sys.stdin], [], [], 0)[0]:
        next(flood)


if __name__ == "__main__":
    main()
