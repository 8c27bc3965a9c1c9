"""What the lint tests share: which files count, how a finding is written, how a test reports.

Standard library only, so that the lint tests run wherever Python 3.11 or later does.
"""

import os
import pathlib
import sys

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]
HIDDEN_DIRS_KEPT = {".ci", ".github"}
SKIPPED_DIRS = {"__pycache__", "subprojects", "node_modules", "dist"}
CPP_SUFFIXES = {".hpp", ".cpp", ".h", ".c", ".cc", ".hh", ".ipp"}


def is_skipped_dir(name):
    """Build directories, caches and hidden directories are not ours to judge."""
    if name in HIDDEN_DIRS_KEPT:
        return False
    return name.startswith(".") or name.startswith("build") or name in SKIPPED_DIRS


def project_files(root):
    """Every file of the tree, sorted, so that findings come in the same order everywhere."""
    for directory, subdirs, names in os.walk(root):
        subdirs[:] = sorted(name for name in subdirs if not is_skipped_dir(name))
        for name in sorted(names):
            path = pathlib.Path(directory, name)
            if path.is_file() and not path.is_symlink():
                yield path


def cpp_files(root):
    """C and C++ files below src, include and tests."""
    for top in ("src", "include", "tests"):
        for path in project_files(root / top):
            if path.suffix in CPP_SUFFIXES:
                yield path


def finding(root, path, line, problem, remedy):
    """One finding the way compilers write them, so that editors can jump to it."""
    where = f"{path.relative_to(root)}:{line}" if line else f"{path.relative_to(root)}"
    return f"{where}: {problem}\n    remedy: {remedy}"


def main(name, check):
    """Runs `check` over the tree given on the command line (default: this one); exit status 1 when it finds anything."""
    root = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else PROJECT_ROOT
    if not (root / "src").is_dir():
        print(f"{name}: {root} has no src directory: not the tree to check")
        return 2
    findings = check(root)
    for text in findings:
        print(text)
    print(f"{name}: {len(findings)} finding(s)" if findings else f"{name}: ok")
    return 1 if findings else 0
