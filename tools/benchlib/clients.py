"""Clients run on the cores that the proxy does not have, or on all of them where nothing is pinned."""

import subprocess

from . import machine


def placed(command, pinned=True):
    return machine.on_cores(machine.load_cores() if pinned else machine.all_cores(), command)


def run(command, seconds, pinned=True):
    """(what it printed, its status); a client that does not end in time has failed."""
    try:
        done = subprocess.run(placed(command, pinned), capture_output=True, text=True, timeout=seconds * 4 + 30, check=False,
                              stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return "it did not end in time", 124
    return done.stdout + done.stderr, done.returncode
