"""Which programs a run was made with."""

import os
import re
import subprocess

COMMANDS = {"HAProxy": ["haproxy", "-v"], "nginx": ["nginx", "-v"], "iperf3": ["iperf3", "--version"], "wrk": ["wrk", "-v"]}
NUMBER = re.compile(r"\d+(\.\d+)+")


def number_in(text):
    found = NUMBER.search(text)
    return found.group() if found else "unknown"


def version_of(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL)
        return number_in(done.stdout + done.stderr)
    except (OSError, subprocess.TimeoutExpired):
        return "missing"


def versions():
    return {"Linux": number_in(os.uname().release), **{name: version_of(command) for name, command in COMMANDS.items()}}
