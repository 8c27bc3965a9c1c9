"""The static program (-Dstatic=true; `tools/check static` builds it and runs this): one file that needs no other."""

import os
import shutil
import struct
import subprocess

import pytest

from harness.backends import name_server
from harness.config import make_config
from harness.sockets import ask
from harness.traffic import assert_everything_works, config_of_everything

PT_DYNAMIC, PT_INTERP = 2, 3


def segments(program):
    """The types of the segments of a 64-bit ELF file."""
    data = program.read_bytes()
    assert data[:5] == b"\x7fELF\x02", f"{program} is no 64-bit ELF file"
    (start,), (size, count) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
    return {struct.unpack_from("<I", data, start + i * size)[0] for i in range(count)}


@pytest.fixture(autouse=True)
def static(binary):
    if PT_INTERP in segments(binary):
        pytest.skip("the program under test is dynamic; `tools/check static` tests a static one")


def test_it_needs_no_library(binary):
    dynamic = subprocess.run(["readelf", "--dynamic", str(binary)], capture_output=True, text=True, check=True).stdout
    assert "NEEDED" not in dynamic
    assert PT_DYNAMIC in segments(binary), "it is loaded at a fixed address"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can chroot")
def test_it_runs_in_an_empty_root(millrace, backend, binary, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(binary, root / "millrace")
    config = make_config([backend(name_server, name="a"), backend(name_server, name="b")])
    (root / "millrace.toml").write_text(config, encoding="utf-8")
    for arguments in (["--version"], ["check", "-c", "/millrace.toml"], ["doctor", "-c", "/millrace.toml"]):
        result = subprocess.run(["chroot", str(root), "/millrace", *arguments], capture_output=True, text=True, check=False,
                                timeout=20)
        assert result.returncode == 0, result.stdout + result.stderr
    running = millrace.run_program(["chroot", str(root), "/millrace", "run", "-c", "/millrace.toml"])
    assert {ask(running.address) for _ in range(4)} == {b"a", b"b"}


def test_it_forwards_everything(millrace, backend, udp_backend, tmp_path):
    assert_everything_works(millrace(config_of_everything(backend, udp_backend, tmp_path)))
