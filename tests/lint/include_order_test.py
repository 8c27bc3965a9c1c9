#!/usr/bin/env python3
"""Holds the direction of the dependencies between modules: who may include what.

A module sees itself and what stands beside it in MAY_INCLUDE; third-party headers stay in the one module that wraps
them; private headers stay in their folder. Usage: include_order_test.py [ROOT]
"""

import re
import sys

import lintlib

ALL = frozenset({"base", "net", "accesslog", "io", "balance", "config", "import", "pool", "health", "flow", "worker", "admin", "app"})
MAY_INCLUDE = {
    "base": frozenset(),
    "net": frozenset({"base"}),
    "accesslog": frozenset({"net", "base"}),
    "balance": frozenset({"base"}),
    "io": frozenset({"net", "base"}),
    "config": frozenset({"balance", "net", "base"}),
    "import": frozenset({"config", "net", "base"}),
    "pool": frozenset({"config", "balance", "net", "base"}),
    "health": frozenset({"pool", "io", "net", "base"}),
    # A flow is given an endpoint and returns a verdict: it knows nothing of pools, balancing, health or config.
    "flow": frozenset({"io", "net", "base"}),
    # What the worker needs of the configuration, it gets from the snapshot.
    "worker": frozenset({"flow", "pool", "balance", "io", "accesslog", "net", "base"}),
    "admin": ALL - {"app", "config"},
    "app": ALL,
}

# (what the include looks like, where it is at home, why)
WRAPPED = (
    (re.compile(r"^liburing(\.h$|/)"), ("src/io/", "tests/contract/"),
     "only the io module speaks io_uring; go through millrace::io::Io"),
    (re.compile(r"^linux/io_uring\.h$"), ("src/io/", "tests/contract/"),
     "only the io module speaks io_uring; go through millrace::io::Io"),
    (re.compile(r"^toml\+\+|^toml\.hpp$"), ("src/config/",),
     "only the config module knows TOML; use millrace::config"),
    (re.compile(r"^CLI(11)?(/|\.hpp$)"), ("src/app/",),
     "only the app module parses command lines"),
    (re.compile(r"^spdlog/"), ("src/base/",),
     "log through millrace/base/log.hpp"),
)

INCLUDE = re.compile(r'^\s*#\s*(?:include|include_next|import)\s*([<"])([^>"]+)[>"]')


def module_of(relative):
    """The module a file belongs to, or None: include/millrace/<m>/..., src/<m>/..."""
    parts = relative.split("/")
    if parts[:2] == ["include", "millrace"] and len(parts) > 3:
        return parts[2]
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return None


def check_module_edge(module, target):
    """Why `module` must not include `millrace/<target>/...`, or None when it may."""
    if module not in MAY_INCLUDE:
        return (f"module '{module}' is not in the table of modules",
                "add it to MAY_INCLUDE in tests/lint/include_order_test.py and to the table in ARCHITECTURE.md")
    if target == module or target in MAY_INCLUDE[module]:
        return None
    allowed = ", ".join(sorted(MAY_INCLUDE[module])) or "nothing but itself"
    return (f"module '{module}' must not include module '{target}'",
            f"'{module}' may include: {allowed}. Pass what you need as an argument, or move it to a lower module")


def check_wrapped(relative, name):
    """Why a third-party header must not be included here, or None."""
    for pattern, homes, remedy in WRAPPED:
        if pattern.search(name) and not relative.startswith(homes):
            return f"<{name}> belongs to {' and '.join(homes)} only", remedy
    return None


def check_private(root, path, relative, name):
    """Why a header outside include/ must not be included here, or None. Looks where the compiler would look first."""
    candidates = [path.parent / name, root / "src" / name, root / name]
    target = next((c.resolve() for c in candidates if c.is_file()), None)
    if target is None or not target.is_relative_to(root.resolve() / "src"):
        return None
    home = target.relative_to(root.resolve()).parts[1]
    # A module's own unit tests may look inside it; nobody else may.
    if relative.startswith((f"src/{home}/", f"tests/unit/{home}/")):
        return None
    return (f"'{name}' is a private header of module '{home}'",
            f"include a header of include/millrace/{home}/, or move what you need there")


def check_include(root, path, bracket, name):
    """The first problem of one include line as (problem, remedy), or None."""
    relative = path.relative_to(root).as_posix()
    module = module_of(relative)
    if name.startswith("millrace/"):
        if bracket == "<":
            return f"<{name}> is a header of this project", f'write #include "{name}"'
        if not (root / "include" / name).is_file():
            return f'"{name}" does not exist', "public headers are include/millrace/<module>/<name>.hpp"
        return check_module_edge(module, name.split("/")[1]) if module else None
    problem = check_wrapped(relative, name)
    if problem:
        return problem
    return check_private(root, path, relative, name) if bracket == '"' else None


def check(root):
    findings = []
    for path in lintlib.cpp_files(root):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            match = INCLUDE.match(line)
            if not match:
                continue
            problem = check_include(root, path, match.group(1), match.group(2))
            if problem:
                findings.append(lintlib.finding(root, path, number, *problem))
    return findings


if __name__ == "__main__":
    sys.exit(lintlib.main("include order", check))
