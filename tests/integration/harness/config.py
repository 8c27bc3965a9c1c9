"""Configurations for the tests, written as TOML."""

import json


def toml_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return json.dumps(str(value))  # TOML's basic strings have JSON's escapes


def toml_table(name, table):
    lines = [f"[{name}]"] + [f"{key} = {toml_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def backend_entry(backend):
    """A backend of a pool: what the test gives, or the address and the name of a backend object."""
    if isinstance(backend, dict):
        return backend
    entry = {"address": backend.text}
    if backend.name:
        entry["name"] = backend.name
    return entry


def make_config(backends, *, runtime=None, listener=None, pool=None, health=None, passive=None, hash_=None,
                more_listeners=None, admin=None):
    """One listener `web` on a port of 127.0.0.1 that the kernel chooses, one pool `web`. Without probes unless asked.

    `more_listeners` has the tables of others, by name; they use the same pool.
    """
    pool_table = {"backends": [backend_entry(backend) for backend in backends]} | (pool or {})
    if hash_:
        pool_table["hash"] = hash_
    if passive:
        pool_table["passive"] = passive
    pool_table["health"] = health or {"type": "none"}
    return "\n".join([
        toml_table("runtime", {"workers": 2, "log_format": "json", "shutdown_timeout": "10s"} | (runtime or {})),
        toml_table("admin", {"socket": "", "http": ""} | (admin or {})),
        *(toml_table(f"listeners.{name}", {"bind": "127.0.0.1:0", "pool": "web"} | (table or {}))
          for name, table in {"web": listener, **(more_listeners or {})}.items()),
        toml_table("pools.web", pool_table),
    ])


# For tests in which backends go down and come back.
FAST_HEALTH = {"type": "tcp", "interval": "200ms", "timeout": "200ms", "rise": 2, "fall": 2, "jitter": 0.1}
# For tests in which none may, on a machine that has no time to spare.
PATIENT_HEALTH = {"type": "tcp", "interval": "500ms", "timeout": "500ms", "rise": 1, "fall": 5}
