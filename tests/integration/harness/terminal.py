"""A program in a terminal of its own: what it shows, what is typed, and how it leaves the terminal."""

import fcntl
import html
import os
import pty
import select
import signal
import struct
import termios
import threading

import pyte

from .waiting import DEADLINE, wait_until

pyte.graphics.TEXT[2] = "+italics"  # pyte does not know dim; millrace has no use for italics
PALETTES = {
    "day": {"default": "#1f2730", "back": "#fcfcfa", "red": "#c2203a", "green": "#17784a", "brown": "#8f5a00", "blue": "#1f5fc4"},
    "night": {"default": "#d5dce3", "back": "#10161c", "red": "#ff7a8c", "green": "#52ce8f", "brown": "#f0b252", "blue": "#6ea8ff"},
}

class Terminal:
    """Runs `command` in a terminal of this size. `close` ends it, if it has not ended."""

    def __init__(self, command, rows=24, columns=80, env=None):
        self.status = None
        self.raw = b""
        self._lock = threading.Lock()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        master, slave = pty.openpty()
        self._master = master
        self._set_size(rows, columns)
        self._before = termios.tcgetattr(slave)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(master)
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for descriptor in (0, 1, 2):
                os.dup2(slave, descriptor)
            os.execve(command[0], command, os.environ | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | (env or {}))
        self._slave = slave  # stays open, so that the terminal outlives the program
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _set_size(self, rows, columns):
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self):
        while True:
            try:
                if not select.select([self._master], [], [], 0.1)[0]:
                    continue
                data = os.read(self._master, 65536)
            except (OSError, ValueError):
                return
            if not data:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)

    # What it shows.

    @property
    def lines(self):
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    @property
    def text(self):
        return "\n".join(self.lines)

    @property
    def cells(self):
        """Rows of pyte's cells: data, fg, bg, bold, reverse; dim ones have `italics`."""
        with self._lock:
            return [[self._screen.buffer[row][column] for column in range(self._screen.columns)]
                    for row in range(self._screen.lines)]

    def to_html(self, palette):
        """A picture of it, for a browser."""
        colours = PALETTES[palette]
        out = []
        for row in self.cells:
            for cell in row:
                front, back = colours.get(cell.fg, colours["default"]), "transparent"
                if cell.reverse:
                    front, back = colours["back"], front
                look = f"color:{front};background:{back}" + (";font-weight:bold" if cell.bold else "")
                text = html.escape(cell.data)
                dim = ";opacity:.62" if cell.italics else ""
                out.append(f'<i style="{look}{dim}">{text}</i>')
            out.append("\n")
        return ("<!doctype html><meta charset=utf-8><style>body{margin:0;display:inline-block;padding:14px 16px;"
                f"background:{colours['back']}}}pre{{margin:0;font:14px/17px 'DejaVu Sans Mono',monospace}}"
                "i{font-style:normal;display:inline-block;width:8.43px;height:17px;overflow:hidden;vertical-align:top}</style>"
                f"<pre>{''.join(out)}</pre>")

    def wait_for(self, text, deadline=DEADLINE):
        """Until the text is on the screen; returns its line."""
        return wait_until(lambda: next((line for line in self.lines if text in line), None), deadline,
                          lambda: f"{text!r} on the screen:\n{self.text}")

    def wait_gone(self, text, deadline=DEADLINE):
        wait_until(lambda: text not in self.text, deadline, lambda: f"{text!r} to leave the screen:\n{self.text}")

    # What is done to it.

    def type(self, keys):
        os.write(self._master, keys.encode() if isinstance(keys, str) else keys)

    def resize(self, rows, columns):
        with self._lock:
            self._screen.resize(rows, columns)
        self._set_size(rows, columns)

    def signal(self, number):
        os.kill(self.pid, number)

    def wait_exit(self, deadline=DEADLINE):
        """Its exit status; -N when signal N ended it."""

        def ended():
            if self.status is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.status = os.waitstatus_to_exitcode(status)
            return self.status is not None

        wait_until(ended, deadline, lambda: f"the end of the program:\n{self.text}")
        return self.status

    @property
    def is_restored(self):
        """The modes of the terminal are what they were, the other screen is left, the cursor is to be seen."""
        last = self.raw.rfind
        return (termios.tcgetattr(self._slave) == self._before and last(b"\x1b[?1049l") > last(b"\x1b[?1049h") >= 0
                and last(b"\x1b[?25l") < max(last(b"\x1b[?25h"), last(b"\x1b[?12;25h")))

    def close(self):
        try:
            if self.status is None:
                self.signal(signal.SIGKILL)
                self.wait_exit()
        finally:
            os.close(self._slave)
            os.close(self._master)
            self._reader.join(DEADLINE)
