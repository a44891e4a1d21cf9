"""SurfaceUpdate <-> bytes: the public schema of docs/protocol.md, version 1. Pure: no socket, no clock."""

from kvd.wire.body import Kind, iso
from kvd.wire.coding import SUBPROTOCOLS, Coding, reader
from kvd.wire.decode import Atm, Received, decode, decode_atm, decode_smile
from kvd.wire.encoder import Encoder, EncoderState, Lost
from kvd.wire.message import Message
from kvd.wire.moved import Moved
from kvd.wire.ring import Ring
from kvd.wire.topics import covers

__all__ = [
    "SUBPROTOCOLS", "Atm", "Coding", "Encoder", "EncoderState", "Kind", "Lost", "Message", "Moved", "Received", "Ring",
    "covers", "decode", "decode_atm", "decode_smile", "iso", "reader",
]  # fmt: skip
