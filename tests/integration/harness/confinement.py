"""Runs a command under a system call filter, as systemd's units and container runtimes do. Needs libseccomp.so.2."""

import ctypes
import ctypes.util
import json
import re
import shutil
import subprocess

# Runs first in the new process: the rules come as JSON, then the command.
_CONFINE = """
import ctypes, json, os, sys
rules, command = json.loads(sys.argv[1]), sys.argv[2:]
seccomp = ctypes.CDLL("libseccomp.so.2")
class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]
ALLOW = 0x7FFF0000
def action(errno):
    return ALLOW if errno is None else 0x00050000 | errno
seccomp.seccomp_init.restype = ctypes.c_void_p
seccomp.seccomp_init.argtypes = [ctypes.c_uint32]
seccomp.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
seccomp.seccomp_load.argtypes = [ctypes.c_void_p]
filter = seccomp.seccomp_init(action(rules["default_errno"]))
for rule in rules["rules"]:
    number = seccomp.seccomp_syscall_resolve_name(rule["name"].encode())
    if number < 0 or rule["errno"] == rules["default_errno"]:
        continue  # of another architecture, or unknown to this library; or says nothing new
    compares = (Compare * len(rule["args"]))(*[Compare(*one) for one in rule["args"]])
    result = seccomp.seccomp_rule_add_array(filter, action(rule["errno"]), number, len(compares), compares)
    assert result == 0, (rule, result)
result = seccomp.seccomp_load(filter)
assert result == 0, result
os.execv(command[0], command)
"""

_OPERATORS = {"SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5,
              "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7}
_EPERM = 1


def available():
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return True


def _rule(name, errno=None, args=()):
    return {"name": name, "errno": errno, "args": list(args)}


def allow_only(names):
    """Rules that allow these system calls; all others fail with EPERM."""
    return {"default_errno": _EPERM, "rules": [_rule(name) for name in sorted(names)]}


def from_profile(profile):
    """Rules of a profile for containers (Docker's format), for a container without any capability that it knows."""
    rules = []
    for entry in profile["syscalls"]:
        if entry.get("includes", {}).get("caps"):
            continue
        errno = None if entry["action"] == "SCMP_ACT_ALLOW" else entry.get("errnoRet", _EPERM)
        args = [(one["index"], _OPERATORS[one["op"]], one["value"], one.get("valueTwo", 0)) for one in entry.get("args", [])]
        rules += [_rule(name, errno, args) for name in entry["names"]]
    return {"default_errno": profile.get("defaultErrnoRet", _EPERM), "rules": rules}


def confined(rules, command, capabilities=("net_bind_service",)):
    """The command that runs `command` under the rules, with these capabilities and no others."""
    kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return [shutil.which("setpriv"), "--no-new-privs", f"--bounding-set={kept}", f"--inh-caps={kept}",
            "/usr/bin/python3", "-c", _CONFINE, json.dumps(rules), *command]


# The filter of a unit.


def _group(name, seen):
    if name in seen:
        return set()
    seen.add(name)
    listing = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    return _calls(re.findall(r"^\s+([@\w]+)$", listing.stdout, flags=re.MULTILINE), seen)


def _calls(words, seen):
    calls = set()
    for word in words:
        calls |= _group(word, seen) if word.startswith("@") else {word}
    return calls


def calls_of_unit(text):
    """All system calls that the SystemCallFilter= lines of a unit allow; systemd adds those of @default."""
    words = " ".join(re.findall(r"^SystemCallFilter=(.*)$", text, flags=re.MULTILINE)).split()
    return _calls(["@default", *words], set())


def rules_of_unit(text):
    rules = allow_only(calls_of_unit(text) - {"socket"})
    families = re.search(r"^RestrictAddressFamilies=(.*)$", text, flags=re.MULTILINE).group(1).split()
    numbers = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
    rules["rules"] += [_rule("socket", args=[(0, _OPERATORS["SCMP_CMP_EQ"], numbers[family], 0)]) for family in families]
    return rules
