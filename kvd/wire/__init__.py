"""SurfaceUpdate <-> bytes: the public schema of docs/protocol.md, version 1. Pure: no socket, no clock."""

from kvd.wire.body import Kind, iso
from kvd.wire.decode import Received, decode, decode_smile
from kvd.wire.encoder import Encoder, Message

__all__ = ["Encoder", "Kind", "Message", "Received", "decode", "decode_smile", "iso"]
