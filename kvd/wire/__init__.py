"""SurfaceUpdate <-> bytes: the public schema of docs/protocol.md, version 1. Pure: no socket, no clock."""

from kvd.wire.body import Kind, iso
from kvd.wire.decode import Received, decode, decode_smile
from kvd.wire.encoder import Encoder, Lost
from kvd.wire.message import Message
from kvd.wire.ring import Ring

__all__ = ["Encoder", "Kind", "Lost", "Message", "Received", "Ring", "decode", "decode_smile", "iso"]
