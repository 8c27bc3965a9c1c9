"""The JSON Schema for editors: it accepts what the parser accepts, and refuses what is wrong with a single value."""

import json
import pathlib
import tomllib

import pytest

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]
BROKEN = PROJECT_ROOT / "tests" / "config" / "broken"
jsonschema = pytest.importorskip("jsonschema", reason="python3-jsonschema is missing; tools/install-deps test brings it")

# What a schema can see: keys, types, ranges, words, units. Files of these sorts must not validate …
STRUCTURAL = ("unknown-", "unbuilt-", "type-", "range-", "word-", "words-", "duration-", "unit-", "udp-", "protocol-",
              "place-", "missing-", "several-")
# … but for these, which break a rule that only the parser knows: about addresses, or about several values.
ONLY_THE_PARSER_KNOWS = {
    "protocol-keepalive-is-only-for-tcp-and-this-listener-2",  # the protocol is inherited
    "protocol-responses-is-only-for-udp-and-this-listener",  # the protocol is the default
    "missing-bind-is-missing-say-where-to-listen-for-exam",  # might be inherited
    "missing-bind-and-pool",
    "missing-pool-is-missing-name-the-pool-that-serves-it",
    "unit-too-long", "unit-order", "unit-twice",
    "duration-max_connection_duration-99999999999999999999",
    "udp-responses-expected-a-whole-number-found-a-nu",  # JSON takes 1.0 for 1
    "range-hash-load_factor-nan-is-out-of-range-use-0-0",  # and has no nan
}


@pytest.fixture(scope="module")
def validator():
    schema = json.loads((PROJECT_ROOT / "conf" / "millrace.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def structural_files():
    for path in sorted(BROKEN.glob("*.toml")):
        text = path.read_bytes()
        if not path.name.startswith(STRUCTURAL) or path.stem in ONLY_THE_PARSER_KNOWS or b"host names are" in text:
            continue
        try:
            yield pytest.param(tomllib.loads(text.decode("utf-8")), id=path.stem)
        except ValueError:
            pass  # no TOML at all


@pytest.mark.parametrize("path", sorted((PROJECT_ROOT / "conf").glob("**/*.toml")), ids=lambda path: path.name)
def test_examples_validate(validator, path):
    assert [error.message for error in validator.iter_errors(tomllib.loads(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize("path", sorted((PROJECT_ROOT / "conf").glob("**/*.toml")), ids=lambda path: path.name)
def test_effective_configurations_validate(command, validator, path):
    effective = tomllib.loads(command("check", "-c", path, "--effective").stdout)
    assert [error.message for error in validator.iter_errors(effective)] == []


@pytest.mark.parametrize("broken", structural_files())
def test_broken_files_do_not_validate(validator, broken):
    assert not validator.is_valid(broken)


def test_every_key_has_a_description(validator):
    for name, definition in validator.schema["definitions"].items():
        for key, value in definition["properties"].items():
            assert value["description"].endswith("."), f"{name}.{key}"
