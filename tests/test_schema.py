"""The documents of the public messages: whole, described, valid, and true of their own examples."""

import json
import shutil
import subprocess
from math import sqrt
from pathlib import Path

import pytest
from documents import closed, name_of, page_validator
from jsonschema import Draft7Validator, Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from kvd.wire import decode_smile
from kvd.wire.schema import asyncapi, openapi

PARSE = Path(__file__).parent / "parse_asyncapi.cjs"
STREAM, PAGES = asyncapi(), openapi()
SCHEMAS = STREAM["components"]["schemas"] | PAGES["components"]["schemas"]
MESSAGES = STREAM["components"]["messages"]


def test_every_example_is_the_message_that_it_stands_for():
    for name, message in MESSAGES.items():
        assert [name_of(example["payload"]) for example in message["examples"]] == [name]


def test_the_numbers_of_the_example_agree_with_each_other():
    told = MESSAGES["SmileUpdate"]["examples"][0]["payload"]["smile"]
    smile = decode_smile(json.dumps(told))
    assert smile.vol(told["forward"]["value"]) == pytest.approx(told["atm_vol"], rel=1e-12)
    step = 1e-5
    root = smile.parameters.atm_vol * sqrt(smile.tau)
    slope = (smile.total_variance(step * root) - smile.total_variance(-step * root)) / (2 * step * root**2)
    assert slope / 2 == pytest.approx(told["skew"], rel=1e-6)
    assert [point["delta"] for point in told["points"]] == ["10p", "25p", "atm", "25c", "10c"]
    for point in told["points"]:
        assert smile.vol(point["strike"]) == pytest.approx(point["vol"], rel=1e-9)
    low, atm, high = (point["vol"] for point in told["points"][1:4])
    assert (told["rr25"], told["bf25"]) == pytest.approx((high - low, (high + low) / 2 - atm), rel=1e-9)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_and_every_field_is_described(name):
    Draft7Validator.check_schema(SCHEMAS[name])
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["description"].endswith(".")
    plain = {"type", "op", "topic"}  # the constants by which messages are told apart
    fields = SCHEMAS[name]["properties"]
    assert {f for f, schema in fields.items() if not schema.get("description", "").endswith(".")} <= plain


def test_the_document_promises_that_fields_may_be_added():
    assert "additionalProperties" not in json.dumps(SCHEMAS["Smile"])
    example = MESSAGES["SmileUpdate"]["examples"][0]["payload"]
    newer = json.loads(json.dumps(example)) | {"new": 1}
    newer["smile"]["svi"]["new"] = 1
    assert Draft7Validator({"$ref": "#/components/schemas/SmileUpdate", **STREAM}).is_valid(newer)
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
        for operation in STREAM["operations"].values()
        for part in (operation, operation.get("reply", {}))
        for reference in part.get("messages", ())
    }
    assert said == set(MESSAGES) == set(STREAM["channels"]["stream"]["messages"])


def test_the_document_of_the_pages_is_openapi():
    assert list(OpenAPIV31SpecValidator(PAGES).iter_errors()) == []


@pytest.mark.parametrize("path", PAGES["paths"])
def test_every_example_of_a_page_is_what_the_page_answers(path):
    validate = page_validator()
    answers = PAGES["paths"][path]["get"]["responses"]
    for answer in answers.values():
        for content in answer.get("content", {}).values():
            if "example" in content:
                validate(content["schema"], content["example"])


@pytest.fixture(scope="module")
def node():
    """The command of Node.js where it finds @asyncapi/parser."""
    command = shutil.which("node")
    if command is None:
        pytest.skip("Node.js is not installed")
    found = subprocess.run([command, "-e", "require.resolve('@asyncapi/parser')"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("Node.js finds no @asyncapi/parser: npm install it and set NODE_PATH to its node_modules")
    return command


@pytest.mark.node
def test_the_parser_of_asyncapi_finds_nothing_wrong(node):
    read = subprocess.run(
        [node, PARSE], input=json.dumps(STREAM), capture_output=True, text=True, check=True, timeout=60
    )
    found = json.loads(read.stdout)
    assert found["diagnostics"] == []
    assert sorted(found["messages"]) == sorted(MESSAGES)
    assert sorted(found["operations"]) == sorted(STREAM["operations"])
