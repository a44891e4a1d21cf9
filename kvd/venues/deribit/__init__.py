"""Deribit, public JSON-RPC over a websocket (docs.deribit.com, API v2).

Quirks this adapter knows: ticker vols are percent; a price, amount or vol of 0 (or null) is no quote, and 999 is a cap,
not a vol; a bid below intrinsic value has a price and no vol; tickers keep coming after expiry and say so only in
`estimated_delivery_price`; an ack lists channels in any order and leaves out what it refused; a request that is too
large is refused without an id; a request beyond the quota closes the session.
"""

from kvd.venues.deribit.names import NAME
from kvd.venues.deribit.session import Session

URL = "wss://www.deribit.com/ws/api/v2"

__all__ = ["NAME", "URL", "Session"]
