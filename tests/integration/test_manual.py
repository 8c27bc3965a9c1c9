"""The manual page of the configuration names every key that works, with its default, and nothing else."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = PROJECT_ROOT / "docs" / "man" / "millrace.toml.5"
SECTIONS = {"runtime": "RUNTIME", "admin": "ADMIN", "listener": "LISTENERS", "pool": "POOLS", "backend": "Backends", "hash": "Hash",
            "health": "Health", "passive": "Passive", "defaults": "DEFAULTS"}
TABLES = {"hash", "health", "passive"}  # have sections of their own


def definitions():
    schema = json.loads((PROJECT_ROOT / "conf" / "millrace.schema.json").read_text(encoding="utf-8"))
    return {name: schema["definitions"][name]["properties"] for name in SECTIONS}


def entries():
    """{section: {key: text}} of the page."""
    found = {}
    for part in re.split(r"^\.S[hs] ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        items = re.split(r"^\.It Ic ", body.split("\n.El", 1)[0], flags=re.MULTILINE)[1:]
        found[title] = {item.split("\n", 1)[0]: " ".join(item.split("\n")[1:]).replace("\\(dq", '"') for item in items}
    return found


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_is_in_the_page(name):
    assert set(entries()[SECTIONS[name]]) == set(definitions()[name]) - TABLES


@pytest.mark.parametrize("name", SECTIONS)
def test_defaults_are_those_of_the_parser(name):
    for key, text in entries()[SECTIONS[name]].items():
        value = definitions()[name][key]
        if "default" in value:
            assert f"default {json.dumps(value['default'])})" in text, key
        for word in value.get("enum", []):
            assert f'"{word}"' in text, key


def test_the_page_is_good_mdoc():
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is missing; tools/install-deps test brings it")
    result = subprocess.run(["mandoc", "-T", "lint", "-W", "style", str(PAGE)], capture_output=True, text=True, check=False)
    assert result.stdout + result.stderr == ""
