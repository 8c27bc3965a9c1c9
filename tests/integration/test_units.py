"""The files for systemd: correct, strict, and with them everything still works. And what `meson install` installs."""

import pathlib
import re
import shutil
import subprocess

import pytest

from harness import confinement
from harness.traffic import assert_everything_works, config_of_everything

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]
CONF = PROJECT_ROOT / "conf"
UNIT = (CONF / "millrace.service").read_text(encoding="utf-8")
EXPOSURE_MAX = 2.0

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None,
                                   reason="systemd-analyze is missing; tools/install-deps test brings it")
needs_seccomp = pytest.mark.skipif(not confinement.available() or shutil.which("setpriv") is None,
                                   reason="libseccomp.so.2 or setpriv is missing")


def run(*command, **options):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=50, **options)


@needs_systemd
def test_units_are_correct(tmp_path, binary):
    for name in ["millrace.service", "millrace.socket"]:
        text = (CONF / name).read_text(encoding="utf-8")
        # Where it is not installed, there is no program to be found by its name.
        (tmp_path / name).write_text(re.sub("^(Exec[A-Za-z]+)=millrace", rf"\1={binary}", text, flags=re.MULTILINE), encoding="utf-8")
    result = run("systemd-analyze", "verify", "--man=no", tmp_path / "millrace.service", tmp_path / "millrace.socket")
    ours = [line for line in (result.stdout + result.stderr).splitlines() if "millrace" in line]
    # The unit says `notify` first, for systemd before 253, which says this of the line after it.
    ours = [line for line in ours if "ignoring: notify-reload" not in line]
    assert (result.returncode, ours) == (0, [])


@needs_systemd
def test_the_unit_is_strict():
    result = run("systemd-analyze", "security", "--offline=yes", CONF / "millrace.service")
    exposure = re.search(r"Overall exposure level for millrace.service: ([\d.]+)", result.stdout)
    assert exposure, result.stdout + result.stderr
    assert float(exposure.group(1)) <= EXPOSURE_MAX, result.stdout


def test_the_user_is_well_described():
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd-sysusers is missing; tools/install-deps test brings it")
    sysusers = run("systemd-sysusers", "--dry-run", CONF / "millrace.sysusers")
    assert sysusers.returncode == 0, sysusers.stderr


@needs_systemd
@needs_seccomp
@pytest.mark.limit(90)
def test_everything_works_in_the_unit(millrace, backend, udp_backend, binary, config_file, tmp_path):
    """Its system calls, address families and capabilities."""
    config = config_file(config_of_everything(backend, udp_backend, tmp_path))
    running = millrace.run_program(
        confinement.confined(confinement.rules_of_unit(UNIT), [str(binary), "run", "-c", str(config)]))
    assert_everything_works(running)


@needs_systemd
@needs_seccomp
def test_the_filter_of_that_test_bites():
    rules = confinement.rules_of_unit(UNIT)
    netlink = "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"
    assert "PermissionError" in run(*confinement.confined(rules, ["/usr/bin/python3", "-c", netlink])).stderr
    swap = "import ctypes; c = ctypes.CDLL(None, use_errno=True); print(c.swapoff(b'/'), ctypes.get_errno())"
    assert run(*confinement.confined(rules, ["/usr/bin/python3", "-c", swap])).stdout == "-1 1\n"


def test_logrotate_file(tmp_path):
    if shutil.which("logrotate") is None:
        pytest.skip("logrotate is missing")
    text = (CONF / "millrace.logrotate").read_text(encoding="utf-8")
    copy = tmp_path / "millrace"  # the user is not on this machine
    copy.write_text(text.replace("millrace millrace", "root root"), encoding="utf-8")
    copy.chmod(0o644)
    result = run("logrotate", "--debug", "--state", tmp_path / "state", copy)
    assert result.returncode == 0, result.stderr


# meson install.

INSTALLED = {
    "bin/millrace", "etc/logrotate.d/millrace", "lib/systemd/system/millrace.service", "lib/sysusers.d/millrace.conf",
    "lib/tmpfiles.d/millrace.conf", "share/bash-completion/completions/millrace",
    *(f"share/doc/millrace/examples/{name}" for name in
      ["consistent-hash.toml", "kubernetes.yaml", "millrace.socket", "millrace.toml", "minimal.toml", "udp.toml",
       "weighted-backup.toml"]),
    "share/man/man1/millrace.1", "share/man/man5/millrace.toml.5", "share/millrace/grafana/millrace.json",
    "share/millrace/millrace.schema.json", "share/millrace/prometheus/millrace.rules.yml", "share/millrace/seccomp.json",
    "share/zsh/site-functions/_millrace"}


def test_install(tmp_path, binary):
    build = binary.parents[2]
    if not (build / "meson-private").is_dir() or shutil.which("meson") is None:
        pytest.skip("the program under test is not in a build directory")
    result = run("meson", "install", "-C", build, "--no-rebuild", "--destdir", tmp_path)
    if "does not exist" in result.stderr + result.stdout and result.returncode != 0:
        pytest.skip("not everything is built that would be installed")
    assert result.returncode == 0, result.stdout + result.stderr
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {re.sub(r"^usr/(local/)?", "", path) for path in found} == INSTALLED
    example = next(tmp_path.rglob("examples/millrace.toml"))
    assert run(next(tmp_path.rglob("bin/millrace")), "check", "-c", example).returncode == 0
