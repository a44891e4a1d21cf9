"""A compact line for what the adapter made of each captured message; run with the data's folder, this prints them.

The lines name the instrument, what it has, and a digest of every number; the numbers themselves stay with the data.
"""

import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from kvd.config import Deribit
from kvd.quotes import BadFrame, Quote
from kvd.venues import Reading, deribit

SIDES = ("bid", "bid_vol", "ask", "ask_vol")
GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "deribit.txt"


def captured(folder: Path) -> Iterator[tuple[str, bytes]]:
    with (folder / "messages" / "deribit.jsonl").open() as lines:
        for number, line in enumerate(lines, 1):
            yield f"deribit.jsonl:{number}", json.dumps(json.loads(line)["message"]).encode()
    for name in ("DERIBIT.ws.1.0.gz", "DERIBIT.0.gz"):
        with gzip.open(folder / "captures" / name, "rt") as lines:
            for number, line in enumerate(lines, 1):
                head, _, message = line.partition(": ")
                if message.startswith("{") and "<-" not in head and head != "configuration":
                    yield f"{name}:{number}", message.encode()


def digest(frame: bytes) -> str:
    """Parsed by a session of its own: what a message means must not depend on what came before."""
    try:
        reading = deribit.Session(Deribit()).parse(frame, 0)
    except BadFrame as error:
        return f"bad frame: {error}"
    return " ".join([*_events(reading), *_refusals(reading), *_control(reading)])


def lines(folder: Path) -> list[str]:
    return [f"{where} {digest(frame)}" for where, frame in captured(folder)]


def _events(reading: Reading) -> Iterator[str]:
    for event in reading.events:
        name = event.instrument.name if isinstance(event, Quote) else event.name
        has = ",".join(field for field in SIDES if getattr(event, field, None) is not None)
        yield f"{type(event).__name__} {name} [{has}] {_sha(event)}"


def _refusals(reading: Reading) -> Iterator[str]:
    reasons = [refusal.reason for refusal in reading.refusals]
    for reason in sorted(set(reasons)):
        yield f"refused {reason} x{reasons.count(reason)}"


def _control(reading: Reading) -> Iterator[str]:
    if reading.control is not None:
        control = reading.control
        fields = control._asdict() if isinstance(control, tuple) else msgspec.structs.asdict(control)
        sizes = [len(value) for value in fields.values() if isinstance(value, tuple | frozenset)]
        yield f"control {type(control).__name__} {sizes} {_sha(fields)}"


def _sha(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:12]


if __name__ == "__main__":
    print("\n".join(lines(Path(sys.argv[1]))))
