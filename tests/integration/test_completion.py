"""Completion in shells, and millrace(1): both know the commands and options that the program has."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]
BASH = PROJECT_ROOT / "conf" / "completions" / "millrace.bash"
ZSH = PROJECT_ROOT / "conf" / "completions" / "_millrace"
PAGE = PROJECT_ROOT / "docs" / "man" / "millrace.1"


def section(text, title):
    match = re.search(rf"^{title}:\n((?:  .*\n)+)", text, flags=re.MULTILINE)
    return [name for line in re.findall(r"^  (\S+)", match.group(1), flags=re.MULTILINE) for name in line.split(",")]


@pytest.fixture
def subcommands(command):
    names = section(command("--help").stdout, "Subcommands")
    assert {"run", "check", "doctor"} <= set(names)
    return names


@pytest.fixture
def complete(binary, tmp_path):
    """complete("millrace", "ru") -> what bash would offer for the last word"""

    def ask(*words):
        script = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_millrace
printf '%s\\n' "${COMPREPLY[@]}"
"""
        path = f"{binary.parent}:{os.environ['PATH']}"
        result = subprocess.run(["bash", "-c", script, "bash", BASH, *words], capture_output=True, text=True, timeout=20,
                                cwd=tmp_path, env=os.environ | {"PATH": path}, check=False)
        assert result.stderr == ""
        return [line for line in result.stdout.splitlines() if line]

    return ask


def test_bash_offers_every_command(complete, subcommands):
    assert set(subcommands) <= set(complete("millrace", ""))
    for name in subcommands:
        assert complete("millrace", name) == [name]


def test_bash_offers_every_option(complete, command, subcommands):
    for name in subcommands:
        assert set(complete("millrace", name, "-")) == set(section(command(name, "--help").stdout, "Options")), name


def test_bash_offers_words_and_files(complete, tmp_path):
    (tmp_path / "millrace.toml").touch()
    assert complete("millrace", "run", "-c", "mill") == ["millrace.toml"]
    assert complete("millrace", "run", "--balance", "r") == ["round_robin", "random_two"]
    assert complete("millrace", "import", "h") == ["haproxy"]
    assert complete("millrace", "import", "haproxy", "mill") == ["millrace.toml"]
    assert complete("millrace", "run", "--listen", "") == []


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is missing")
def test_zsh_can_read_it():
    result = subprocess.run(["zsh", "-n", ZSH], capture_output=True, text=True, timeout=20, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_page_has_every_command_and_option(command, subcommands):
    page = PAGE.read_text(encoding="utf-8")
    entries = dict(re.findall(r"^\.It Cm (\w+)(?: Ar [^\n]*)?\n(.*?)(?=^\.It Cm|^\.Sh)", page, flags=re.MULTILINE | re.DOTALL))
    assert list(entries) == subcommands
    for name, text in entries.items():
        options = {option[2:] for option in section(command(name, "--help").stdout, "Options") if option.startswith("--")}
        assert set(re.findall(r"^\.It Fl -([\w-]+)", text, flags=re.MULTILINE)) == options - {"help", "config"}, name


def test_the_page_is_good_mdoc():
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is missing; tools/install-deps test brings it")
    result = subprocess.run(["mandoc", "-T", "lint", "-W", "style", str(PAGE)], capture_output=True, text=True, check=False)
    # Which pages of others are installed here is of no interest.
    found = [line for line in (result.stdout + result.stderr).splitlines()
             if "mandoc.db" not in line and "referenced manual not found" not in line]
    assert found == []
