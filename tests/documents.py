"""The documents of the public messages as tests want them: closed, so that a field they do not name is an error."""

from functools import cache

from jsonschema import Draft7Validator, Draft202012Validator

from kvd.wire.schema import asyncapi, openapi


def closed(schema):
    """The same schema without room for more: an object has the properties that are named, and no others."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {name: closed(part) for name, part in schema.items()}
    return shut | ({"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {})


@cache
def stream():
    """A validator of each message of the stream, by its name, in the dialect of AsyncAPI."""
    document = asyncapi()
    parts = {"components": {"schemas": closed(document["components"]["schemas"])}}
    messages = document["components"]["messages"]
    return {name: Draft7Validator(message["payload"] | parts) for name, message in messages.items()}


def name_of(message):
    """Which message of the stream's document this is: exactly one allows it."""
    names = [name for name, validator in stream().items() if validator.is_valid(message)]
    if len(names) == 1:
        return names[0]
    first = {name: next(v.iter_errors(message)).message[:200] for name, v in stream().items() if name not in names}
    raise AssertionError(f"{names or 'no message'} of the document is {str(message)[:500]}: {first}")


def page_validator():
    """Validates a body by a schema of the pages' document, in the dialect of OpenAPI 3.1."""
    parts = {"components": {"schemas": closed(openapi()["components"]["schemas"])}}
    return lambda schema, body: Draft202012Validator(schema | parts).validate(body)
