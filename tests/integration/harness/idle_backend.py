"""Accepts and holds connections until their peers leave. Prints its port; then, for every line it is given, how many it
holds. Ends with its input."""

import contextlib
import resource
import selectors
import socket
import sys


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    selector = selectors.EpollSelector()
    selector.register(listener, selectors.EVENT_READ, "listener")
    selector.register(sys.stdin, selectors.EVENT_READ, "question")
    held = 0
    while True:
        for key, _ in selector.select():
            if key.data == "question":
                if not sys.stdin.readline():
                    return
                print(held, flush=True)
            elif key.data == "listener":
                with contextlib.suppress(BlockingIOError):
                    while True:
                        connection, _ = listener.accept()
                        connection.setblocking(False)
                        selector.register(connection, selectors.EVENT_READ, "connection")
                        held += 1
            elif ended(key.fileobj):
                selector.unregister(key.fileobj)
                key.fileobj.close()
                held -= 1


def ended(connection):
    try:
        return connection.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


if __name__ == "__main__":
    main()
