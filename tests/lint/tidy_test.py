#!/usr/bin/env python3
"""Habits of the repository: white space, line ends, file sizes, leftover notes, scripts that at least parse.

Usage: tidy_test.py [ROOT]
"""

import os
import re
import shutil
import subprocess
import sys

import lintlib

SOURCE_BYTES_MAX = 60 * 1024
TABS_ALLOWED_NAMES = {"Makefile", "rules", ".gitmodules"}
TABS_ALLOWED_SUFFIXES = {".mk", ".go", ".patch", ".diff", ".tsv"}
BINARY_SUFFIXES = {".png", ".jpg", ".gif", ".ico", ".gz", ".xz", ".pdf", ".woff2", ".deb", ".rpm", ".bin"}
LEFTOVER = re.compile(r"\b(FIXME|XXX|TODO)\b")
BROKEN_ON_PURPOSE = "tests/config/broken"  # files that a test wants to be odd
SHELLS = ("sh", "bash", "dash")


def text_of(path):
    """The text of a file, or None for a binary one."""
    if path.suffix in BINARY_SUFFIXES:
        return None
    data = path.read_bytes()
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def tabs_allowed(path):
    return path.name in TABS_ALLOWED_NAMES or path.suffix in TABS_ALLOWED_SUFFIXES


def check_white_space(path, text):
    """(line, problem, remedy) for every line with white space that nobody wants."""
    if "\r" in text:
        yield text[: text.index("\r")].count("\n") + 1, "carriage return", "save the file with Unix line ends (LF)"
    for number, line in enumerate(text.replace("\r", "").split("\n"), start=1):
        if line != line.rstrip():
            yield number, "trailing white space", "remove it (editors with EditorConfig do it for you)"
        if "\t" in line and not tabs_allowed(path):
            yield number, "tab character", "indent with spaces"
    if text and not text.endswith("\n"):
        yield text.count("\n") + 1, "no newline at the end of the file", "add one"
    if text.endswith("\n\n"):
        yield text.count("\n"), "empty lines at the end of the file", "remove them"


def check_source(path, text):
    """What only the program's own sources must keep to."""
    size = len(text.encode())
    if size > SOURCE_BYTES_MAX:
        yield 0, f"{size} bytes, more than {SOURCE_BYTES_MAX}", "split it: a file should have one reason to change"
    for number, line in enumerate(text.split("\n"), start=1):
        match = LEFTOVER.search(line)
        if match:
            yield number, f"{match.group(1)} left in the source", "do it now, or open an issue and remove the note"
    if path.suffix == ".hpp" and "#pragma once" not in text:
        yield 1, "header without '#pragma once'", "make it the first line"


def shell_of(path, text):
    """The shell that runs a script, or None when it is not a shell script."""
    first = text.split("\n", 1)[0]
    if first.startswith("#!"):
        words = first[2:].split()
        names = [os.path.basename(word) for word in words]
        program = names[1] if len(names) > 1 and names[0] == "env" else (names or [""])[0]
        return program if program in SHELLS else None
    return "bash" if path.suffix in {".sh", ".bash"} else None


def check_script(path, text):
    """Scripts parse; what is executable says how; what says how is executable."""
    executable = os.access(path, os.X_OK)
    shebang = text.startswith("#!")
    if executable and not shebang:
        yield 1, "executable without a #! line", "add the #! line, or chmod -x"
    if shebang and not executable:
        yield 1, "has a #! line but is not executable", "chmod +x, or remove the #! line"
    shell = shell_of(path, text)
    if shell and shutil.which(shell):
        result = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            yield 1, f"'{shell} -n' rejects it: {result.stderr.strip()}", "fix the syntax error"
    if path.suffix == ".py" or (shebang and "python" in text.split("\n", 1)[0]):
        try:
            compile(text, str(path), "exec")
        except SyntaxError as error:
            yield error.lineno or 1, f"Python rejects it: {error.msg}", "fix the syntax error"


def check_file(root, path):
    text = text_of(path)
    if text is None or path.relative_to(root).as_posix().startswith(BROKEN_ON_PURPOSE + "/"):
        return
    yield from check_white_space(path, text)
    yield from check_script(path, text)
    if path.relative_to(root).parts[0] in ("src", "include"):
        yield from check_source(path, text)


def check(root):
    return [
        lintlib.finding(root, path, *problem)
        for path in lintlib.project_files(root)
        for problem in check_file(root, path)
    ]


if __name__ == "__main__":
    sys.exit(lintlib.main("tidy", check))
