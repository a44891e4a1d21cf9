"""What kvd, or whoever stands in its place, says when it turns a client away: a sentence with the mend."""

from ssl import SSLCertVerificationError

import orjson

from kvd.client.address import Address
from kvd.client.errors import Refused, Unreachable


def turned_away(address: Address, status: int, message: str) -> Refused:
    """An HTTP status that no further attempt mends, and what was said with it."""
    said = message or "that is no kvd, or not the address of its stream"
    if status == 401 and address.token:
        said = "it does not know this token; give one of its own"
    elif status == 401:
        said = "it asks for a token; give token=..., or to a command KVD_TOKEN or --token-file"
    return Refused(f"{address.stream} refuses with HTTP {status}: {said[:300]}")


def untrusted(address: Address, error: SSLCertVerificationError) -> Refused:
    """A certificate of an authority that is not known here."""
    mend = "set SSL_CERT_FILE to that of its authority, or pass ssl=ssl.create_default_context(cafile=...)"
    return Refused(f"the certificate of {address.stream} is not trusted ({error.verify_message}): {mend}")


def unreachable(address: Address, reason: str) -> Unreachable:
    """Nobody there, or nobody who answers."""
    mend = "start it with `kvd run`, or name the address of another"
    return Unreachable(f"no kvd answers at {address.stream} ({reason[:200]}): {mend}")


def read_error(body: bytes | bytearray | None) -> tuple[str, str]:
    """The code and the message of an error as kvd words it; empty texts if it is none of kvd's."""
    try:
        error = orjson.loads(body or b"")
        return str(error["code"]), str(error["message"])
    except (ValueError, LookupError, TypeError):
        return "", ""
