"""The documents of the public messages: whole, described, valid, and true of their own examples."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from documents import closed, name_of
from jsonschema import Draft7Validator

from kvd.wire.schema import asyncapi

PARSER = Path(__file__).parent / "parse_asyncapi.cjs"
DOCUMENT = asyncapi()
SCHEMAS = DOCUMENT["components"]["schemas"]
MESSAGES = DOCUMENT["components"]["messages"]


def test_every_example_is_the_message_that_it_stands_for():
    for name, message in MESSAGES.items():
        assert [name_of(example["payload"]) for example in message["examples"]] == [name]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_and_every_field_is_described(name):
    Draft7Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["description"].endswith(".")
    plain = {"type", "op", "topic"}  # the constants by which messages are told apart
    fields = SCHEMAS[name]["properties"]
    assert {f for f, schema in fields.items() if not schema.get("description", "").endswith(".")} <= plain


def test_the_document_promises_that_fields_may_be_added():
    assert "additionalProperties" not in json.dumps(SCHEMAS["Smile"])
    example = MESSAGES["SmileUpdate"]["examples"][0]["payload"]
    newer = json.loads(json.dumps(example)) | {"new": 1}
    newer["smile"]["svi"]["new"] = 1
    assert Draft7Validator({"$ref": "#/components/schemas/SmileUpdate", **DOCUMENT}).is_valid(newer)
    with pytest.raises(AssertionError, match="no message of the document"):
        name_of(newer)


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        ("atm_vol", 0.0),
        ("atm_vol", None),
        ("atm_vol_sd", -1e-9),
        ("state", "fine"),
        ("inside", 1.5),
        ("expiry", "2026-12-25T08:00:00Z"),
        ("forward", {"value": 1.0, "sd": 0.0}),
        ("covariance", [[0.0] * 5] * 4),
    ],
)
def test_what_a_smile_must_not_say_is_refused(path, bad):
    smile = MESSAGES["SmileUpdate"]["examples"][0]["payload"]["smile"]
    schema = closed(SCHEMAS["Smile"]) | {"components": {"schemas": SCHEMAS}}
    assert Draft7Validator(schema).is_valid(smile)
    assert not Draft7Validator(schema).is_valid(smile | {path: bad})


def test_every_message_has_its_operation():
    said = {
        reference["$ref"].rpartition("/")[2]
        for operation in DOCUMENT["operations"].values()
        for part in (operation, operation.get("reply", {}))
        for reference in part.get("messages", ())
    }
    assert said == set(MESSAGES) == set(DOCUMENT["channels"]["stream"]["messages"])


@pytest.mark.node
def test_the_parser_of_asyncapi_finds_nothing_wrong():
    node, modules = shutil.which("node"), os.environ.get("KVD_NODE_MODULES")
    if node is None or modules is None:
        pytest.skip("wants Node.js and KVD_NODE_MODULES, a folder that holds @asyncapi/parser (.ci/run has both)")
    printed = subprocess.run(
        [node, PARSER], input=json.dumps(DOCUMENT), env={**os.environ, "NODE_PATH": modules},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    found = json.loads(printed.stdout)
    assert found["diagnostics"] == []
    assert sorted(found["messages"]) == sorted(MESSAGES)
    assert sorted(found["operations"]) == sorted(DOCUMENT["operations"])
