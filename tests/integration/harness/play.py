"""A lively scene for pictures: backends that answer, and clients with a rhythm. All in one thread, and modest.

    python3 play.py BACKENDS PORT…   serves on so many ports, which it prints, then sends clients to the ports it reads
"""

import asyncio
import contextlib
import math
import random
import sys

BLOCK = b"x" * 65536


async def answer(reader, writer):
    """A request is a line with the size of the answer and the seconds that it takes."""
    with contextlib.suppress(OSError, ValueError):
        while line := await reader.readline():
            size, seconds = line.split()
            await asyncio.sleep(float(seconds))
            left = int(size)
            while left > 0:
                writer.write(BLOCK[:left])
                left -= len(BLOCK)
                await writer.drain()
    writer.close()


async def visit(port, dice):
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        size = int(dice.lognormvariate(9.5, 1.3))
        writer.write(b"%d %f\n" % (size, dice.expovariate(2)))
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readexactly(size)
        writer.close()


async def send_clients(ports, per_second):
    dice = random.Random(7)
    visits = set()
    begun = asyncio.get_running_loop().time()
    while True:
        now = asyncio.get_running_loop().time() - begun
        wave = 1 + 0.55 * math.sin(now / 7) + 0.25 * math.sin(now / 2.3)
        burst = 2.2 if int(now) % 23 in (11, 12) else 1
        rate = per_second * wave * burst
        for port, share in ports:
            if dice.random() < share:
                visit_ = asyncio.ensure_future(visit(port, dice))
                visits.add(visit_)
                visit_.add_done_callback(visits.discard)
        await asyncio.sleep(dice.expovariate(1) / rate)


async def main(backends, per_second):
    servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(backends)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    ports = [(int(port), float(share)) for port, share in (word.split("=") for word in line.split())]
    clients = asyncio.ensure_future(send_clients(ports, per_second))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until whoever started this ends
    clients.cancel()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
