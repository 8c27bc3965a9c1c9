"""What is in conf/containers: readable, consistent, and the profile lets millrace do everything and others little."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

from harness import confinement
from harness.traffic import assert_everything_works, config_of_everything

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTAINERS = PROJECT_ROOT / "conf" / "containers"
CONTAINERFILE = (CONTAINERS / "Containerfile").read_text(encoding="utf-8")
NAMES_THAT_DO_HARM = {"bpf", "init_module", "keyctl", "mount", "perf_event_open", "process_vm_writev", "ptrace", "setns",
                      "unshare", "userfaultfd"}

needs_seccomp = pytest.mark.skipif(not confinement.available() or shutil.which("setpriv") is None,
                                   reason="libseccomp.so.2 or setpriv is missing")


@pytest.fixture(scope="module")
def profile():
    return json.loads((CONTAINERS / "seccomp.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def manifests():
    """{kind: manifest}"""
    yaml = pytest.importorskip("yaml", reason="python3-yaml is missing; tools/install-deps test brings it")
    documents = yaml.safe_load_all((CONTAINERS / "kubernetes.yaml").read_text(encoding="utf-8"))
    return {document["kind"]: document for document in documents}


# The profile.


def test_the_profile_says_why(profile):
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    for entry in profile["syscalls"][:-1]:
        assert entry["comment"] and entry["action"] == "SCMP_ACT_ALLOW"
    assert profile["syscalls"][-1]["names"] == ["clone3"]


def test_the_profile_has_no_name_twice_and_none_that_does_harm(profile):
    names = [name for entry in profile["syscalls"] if not entry.get("args") for name in entry["names"]]
    assert len(names) == len(set(names))
    assert not NAMES_THAT_DO_HARM & set(names)
    assert {"io_uring_setup", "io_uring_enter", "io_uring_register", "splice", "sched_setaffinity"} <= set(names)


@needs_seccomp
@pytest.mark.limit(90)
def test_everything_works_under_the_profile(profile, millrace, backend, udp_backend, binary, config_file, tmp_path):
    config = config_file(config_of_everything(backend, udp_backend, tmp_path))
    running = millrace.run_program(
        confinement.confined(confinement.from_profile(profile), [str(binary), "run", "-c", str(config)], capabilities=()))
    assert_everything_works(running)


@needs_seccomp
def test_the_doctor_sees_the_profile(profile, binary):
    command = confinement.confined(confinement.from_profile(profile), [str(binary), "doctor", "--json"])
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    findings = {finding["topic"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert "it lets io_uring through" in findings["sandbox"]["text"], result.stderr


@needs_seccomp
def test_the_profile_bites(profile):
    rules = confinement.from_profile(profile)
    tries = {"import os, ctypes; print(ctypes.CDLL(None).unshare(0x10000000))": "-1",
             "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)": "PermissionError"}
    for program, expected in tries.items():
        result = subprocess.run(confinement.confined(rules, ["/usr/bin/python3", "-c", program]), capture_output=True,
                                text=True, timeout=20, check=False)
        assert expected in result.stdout + result.stderr


# The image.


def test_the_image_is_made_of_what_there_is():
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, flags=re.MULTILINE):
        for source in line.split():
            assert (PROJECT_ROOT / source).exists(), source
    assert re.search(r"^USER \d+", CONTAINERFILE, flags=re.MULTILINE)


def test_the_image_has_the_libraries(binary, sanitized):
    if sanitized or shutil.which("dpkg-query") is None or shutil.which("ldd") is None:
        pytest.skip("needs dpkg, and a program as it would be installed")
    version = dict(re.findall(r"^(\w+)=\"?([^\"\n]*)", pathlib.Path("/etc/os-release").read_text(encoding="utf-8"), re.M))
    if (version.get("ID"), version.get("VERSION_ID")) != ("debian", "12"):
        pytest.skip("the packages have other names on this system")
    needed = subprocess.run(["readelf", "-d", binary], capture_output=True, text=True, check=False).stdout
    sonames = re.findall(r"NEEDED.*\[(\S+)\]", needed)
    if not sonames:
        pytest.skip("readelf is missing")
    installed = set(CONTAINERFILE.rsplit("FROM", 1)[1].split())
    always_there = {"libc6", "libgcc-s1"}
    for soname in sonames:
        owner = subprocess.run(["dpkg-query", "-S", f"*/{soname}"], capture_output=True, text=True, check=False).stdout
        packages = {line.split(":")[0] for line in owner.splitlines()}
        assert packages & (installed | always_there), f"{soname} of {packages}"


# The manifests.


def test_the_configuration_of_the_manifest_is_good(manifests, command, config_file):
    path = config_file(manifests["ConfigMap"]["data"]["millrace.toml"])
    result = command("check", "-c", path)
    assert result.returncode == 0, result.stderr


def test_the_manifests_fit_together(manifests, command, config_file):
    pod = manifests["Deployment"]["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert manifests["Service"]["spec"]["selector"].items() <= labels.items()
    container = pod["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] in ports
    text = manifests["ConfigMap"]["data"]["millrace.toml"]
    assert f'bind = "*:{ports["web"]}"' in text
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["spec"]["volumes"]}
    drain = int(re.search(r'shutdown_timeout = "(\d+)s"', text).group(1))
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["spec"]["terminationGracePeriodSeconds"] > drain + pause


def test_the_pod_is_as_strict_as_can_be(manifests):
    spec = manifests["Deployment"]["spec"]["template"]["spec"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "Localhost", "localhostProfile": "millrace.json"}
    assert f'USER {spec["securityContext"]["runAsUser"]}:' in CONTAINERFILE
    security = spec["containers"][0]["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]} and not security["allowPrivilegeEscalation"]
    assert security["readOnlyRootFilesystem"]
