"""The public messages as described types, and the documents made of them: AsyncAPI for the stream, OpenAPI for the
pages.
"""

from kvd.wire.schema.asyncapi import asyncapi
from kvd.wire.schema.openapi import openapi

__all__ = ["asyncapi", "openapi"]
