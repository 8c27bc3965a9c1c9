"""Clients and servers run on the cores that the proxy does not have."""

import subprocess

from . import candidates


def on_peer_cores(command):
    return ["taskset", "-c", ",".join(map(str, candidates.peer_cores()))] + command


def run(command, seconds):
    """(what it printed, its status); a client that does not end in time has failed."""
    try:
        done = subprocess.run(on_peer_cores(command), capture_output=True, text=True, timeout=seconds * 4 + 30, check=False)
    except subprocess.TimeoutExpired:
        return "", 124
    return done.stdout + done.stderr, done.returncode
