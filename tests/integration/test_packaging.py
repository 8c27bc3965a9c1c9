"""The files of the Debian package agree with the rest of the tree. tools/package builds it, tools/package-try uses it."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]
DEBIAN = PROJECT_ROOT / "conf" / "debian"

# Needed to build, but not named among the build dependencies …
NOT_NAMED = {
    "g++",  # build-essential
    "ninja-build",  # meson depends on it
    "doctest-dev", "python3-pytest",  # a package is built without tests
}
# … and the other way round.
ONLY_FOR_PACKAGES = [{"debhelper-compat"}, {"systemd-dev", "systemd"}]


def text_of(path):
    return (PROJECT_ROOT / path).read_text(encoding="utf-8")


def alternatives(word, separator):
    """Names only, without versions and qualifiers: "pkgconf | pkg-config:any (>= 1)"."""
    return {re.match(r"\s*([\w.+-]+)", name).group(1) for name in word.split(separator)}


def test_build_dependencies_are_those_of_install_deps():
    words = re.search(r"^BUILD='([^']*)'", text_of("tools/install-deps"), re.MULTILINE).group(1).split()
    installed = [alternatives(word, "|") for word in words]
    field = re.search(r"^Build-Depends:(.*?)^\S", text_of(DEBIAN / "control"), re.MULTILINE | re.DOTALL).group(1)
    declared = [alternatives(word, "|") for word in field.split(",")]
    wanted = [names for names in installed if not names & NOT_NAMED] + ONLY_FOR_PACKAGES
    assert sorted(map(sorted, declared)) == sorted(map(sorted, wanted))


def test_versions_agree(command):
    version = re.search(r"version: '([^']+)'", text_of("meson.build")).group(1)
    assert re.match(r"millrace \(([^)]+)\)", text_of(DEBIAN / "changelog")).group(1) == version
    assert version in command("--version").stdout


def test_meson_knows_the_options_of_the_package():
    used = set(re.findall(r"-D(\w+)=", text_of(DEBIAN / "rules"))) - {"werror"}  # a built-in one
    assert used and used <= set(re.findall(r"^option\('(\w+)'", text_of("meson_options.txt"), re.MULTILINE))


def test_the_packaged_configuration_is_right_and_opens_nothing_to_the_network(command):
    path = DEBIAN / "millrace.toml"
    assert command("check", "-c", path).returncode == 0
    binds = re.findall(r'^bind = "([^"]*)"', path.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(binds) == 1 and binds[0].startswith("127.0.0.1:")


@pytest.mark.limit(900)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a clean root")
@pytest.mark.skipif(not all(map(shutil.which, ["dpkg-buildpackage", "lintian", "debootstrap"])),
                    reason="tools/install-deps package brings what is missing")
def test_the_package_works_in_a_clean_root(tmp_path, long_run):
    if not long_run:
        pytest.skip("takes minutes: MILLRACE_LONG=1")
    result = subprocess.run([str(PROJECT_ROOT / "tools" / "package"), "--out", str(tmp_path), "--try"],
                            capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "the package works" in result.stdout
